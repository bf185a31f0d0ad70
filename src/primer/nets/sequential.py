"""The two-layer net declared in one expression."""

from __future__ import annotations

from torch import nn


def sequential(
    in_features: int, out_features: int, activation: nn.Module, *, hidden_dim: int, bias: bool = True
) -> nn.Sequential:
    """Chains two linear layers and an activation: `x: (batch, in_features)` -> `(batch, out_features)`.

    Computes, bit for bit, what `TwoLayer` does. Source: https://docs.pytorch.org/docs/stable/nn.html

    >>> sequential(3, 2, nn.ReLU(), hidden_dim=4)
    Sequential(
      (0): Linear(in_features=3, out_features=4, bias=True)
      (1): ReLU()
      (2): Linear(in_features=4, out_features=2, bias=True)
    )
    """
    return nn.Sequential(
        nn.Linear(in_features, hidden_dim, bias=bias),
        activation,
        nn.Linear(hidden_dim, out_features, bias=bias),
    )
