"""A ReLU whose slope below 0 is learned: a custom function of two tensors, each with its gradient."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function


class PReLUFunction(Function):
    """`x` where it is positive, `slope * x` elsewhere; one slope for all of x."""

    generate_vmap_rule = True  # forward and backward are plain tensor operations
    verify: Mapping[str, Any] = {
        "reference": nn.functional.prelu,
        "inputs": [{"shape": (5, 7)}, {"shape": (1,), "kind": "unit"}],
    }

    @staticmethod
    def forward(x: Tensor, slope: Tensor) -> Tensor:
        if not x.is_floating_point():
            raise NotImplementedError(f"custom_prelu: expected floating point numbers, found {x.dtype}")
        if slope.numel() != 1:
            raise ValueError(f"custom_prelu: expected one slope, found shape {tuple(slope.shape)}")
        # Without a dimension the slope changes neither x's shape nor its type, as under autocast.
        return torch.where(x > 0, x, slope.reshape(()) * x)  # (*)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, slope = ctx.saved_tensors
        needs_x, needs_slope = ctx.needs_input_grad
        grad_x = grad_slope = None
        if needs_x:
            grad_x = torch.where(x > 0, grad_output, slope.reshape(()) * grad_output)  # (*)
        if needs_slope:
            # Every entry was computed with the one slope, so its gradient is the sum over all of them, in
            # the slope's precision, not in that of the entries.
            share = torch.where(x > 0, 0, x * grad_output)  # (*)
            grad_slope = share.sum(dtype=slope.dtype).reshape(slope.shape)  # (1,) or ()
        return grad_x, grad_slope


def custom_prelu(x: Tensor, slope: Tensor) -> Tensor:
    """PReLU with its own backward: `x: (*)`, `slope: (1,)` or `()` -> `(*)`, as `torch.nn.functional.prelu`.

    The same bits as that, forward and in the gradient of x; in the slope's gradient up to rounding, since a
    sum has an order. The slope at exactly 0 is the learned one. Works under `torch.vmap`, `torch.func.grad`,
    double backward and `torch.compile(fullgraph=True)`; has no forward-mode derivative (`jvp`). The answer
    has the type of x, whatever the slope's. Raises ValueError for several slopes, NotImplementedError for an
    x of whole, boolean or complex numbers. Source: He et al. 2015, https://arxiv.org/abs/1502.01852

    >>> x = torch.tensor([-2.0, -1.0, 3.0], requires_grad=True)
    >>> slope = torch.tensor([0.25], requires_grad=True)
    >>> custom_prelu(x, slope).sum().backward()
    >>> x.grad, slope.grad
    (tensor([0.2500, 0.2500, 1.0000]), tensor([-3.]))
    """
    y: Tensor = PReLUFunction.apply(x, slope)  # type: ignore[no-untyped-call]
    return y


class CustomPReLU(nn.Module):
    """`custom_prelu` as a module: `x: (*)` -> `(*)`; its one weight `(1,)`, the slope, begins at `init`.

    Weight and name are those of `torch.nn.PReLU`, so either loads what the other saved.

    >>> CustomPReLU(init=0.5)(torch.tensor([-2.0, 3.0])).tolist()
    [-1.0, 3.0]
    """

    verify: Mapping[str, Any] = {"reference": "torch.nn.PReLU"}

    def __init__(self, init: float = 0.25) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((1,), float(init)))
        if init != 0.25:
            self.verify = {"reference": nn.PReLU(init=init)}

    def forward(self, x: Tensor) -> Tensor:
        return custom_prelu(x, self.weight)
