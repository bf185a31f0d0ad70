"""Raw weights of one layer: how they are drawn, and what the layer computes with them."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from primer.errors import ConfigError

WeightInit = Literal["linear", "normal"]


def draw_weights(
    fan_in: int, fan_out: int, *, bias: bool, weight_init: WeightInit
) -> tuple[nn.Parameter, nn.Parameter | None]:
    """Draws a weight `(fan_in, fan_out)` and a bias `(fan_out,)` or None from torch's global seed.

    "linear" draws what `nn.Linear` draws, transposed; "normal" a standard normal weight and a bias of zeros,
    as "A PyTorch Primer" does. Raises ConfigError for any other `weight_init`.

    >>> weight, bias = draw_weights(3, 2, bias=False, weight_init="normal")
    >>> weight.shape, bias
    (torch.Size([3, 2]), None)
    """
    if weight_init == "linear":
        layer = nn.Linear(fan_in, fan_out, bias=bias)
        return nn.Parameter(layer.weight.detach().T.contiguous()), layer.bias
    if weight_init == "normal":
        weight = nn.Parameter(torch.randn(fan_in, fan_out))
        return weight, nn.Parameter(torch.zeros(fan_out)) if bias else None
    raise ConfigError(f"net.weight_init: got {weight_init!r}, expected linear or normal")


def affine(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """`x @ weight + bias`: `(batch, fan_in), (fan_in, fan_out), (fan_out,)` -> `(batch, fan_out)`.

    >>> affine(torch.ones(1, 2), torch.eye(2), torch.tensor([0.0, 5.0]))
    tensor([[1., 6.]])
    """
    # One operation, as in nn.Linear: under autocast a separate `+ bias` would leave bfloat16 again.
    return x @ weight if bias is None else torch.addmm(bias, x, weight)
