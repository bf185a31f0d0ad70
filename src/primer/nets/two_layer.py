"""The two-layer net as a class, the usual way to write one."""

from __future__ import annotations

from torch import Tensor, nn


class TwoLayer(nn.Module):
    """Two linear layers, `hidden` and `output`: `x: (batch, in_features)` -> `(batch, out_features)`.

    Source: "A PyTorch Primer", see docs/article.md.

    >>> import torch
    >>> net = TwoLayer(3, 2, nn.ReLU(), hidden_dim=4)
    >>> net(torch.ones(5, 3)).shape
    torch.Size([5, 2])
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        activation: nn.Module,
        *,
        hidden_dim: int,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.hidden = nn.Linear(in_features, hidden_dim, bias=bias)
        self.activation = activation
        self.output = nn.Linear(hidden_dim, out_features, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        h_relu = self.activation(self.hidden(x))  # (batch, hidden)
        y: Tensor = self.output(h_relu)  # (batch, out)
        return y
