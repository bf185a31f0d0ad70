"""The two-layer net on raw weight tensors; autograd derives the gradient."""

from __future__ import annotations

from torch import Tensor, nn

from primer.nets.weights import WeightInit, affine, draw_weights


class Tensors(nn.Module):
    """Weights `w1: (in_features, hidden_dim)`, `w2: (hidden_dim, out_features)`, biases `b1`, `b2` or None.

    `x: (batch, in_features)` -> `(batch, out_features)`. `weight_init` is "linear" (what `nn.Linear` draws)
    or "normal" (as the article), else ConfigError. Source: "A PyTorch Primer", see docs/article.md.

    >>> import torch
    >>> net = Tensors(3, 2, nn.ReLU(), hidden_dim=4)
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
        weight_init: WeightInit = "linear",
    ) -> None:
        super().__init__()
        self.w1, self.b1 = draw_weights(in_features, hidden_dim, bias=bias, weight_init=weight_init)
        self.w2, self.b2 = draw_weights(hidden_dim, out_features, bias=bias, weight_init=weight_init)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        h = affine(x, self.w1, self.b1)  # (batch, hidden)
        h_relu = self.activation(h)  # (batch, hidden)
        return affine(h_relu, self.w2, self.b2)  # (batch, out)
