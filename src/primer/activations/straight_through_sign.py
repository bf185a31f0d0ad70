"""The sign, with a gradient that is not its derivative on purpose: what binary nets are trained by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function


def sign_by_autograd(x: Tensor) -> Tensor:
    """The same by autograd alone, for comparison: what is added is 0, but its gradient counts."""
    if x.dtype == torch.bool:  # has no minus
        return torch.sign(x)
    passed = torch.where(x.abs() > 1, 0, x)  # (*)
    sign = torch.where(x.isnan(), x, torch.sign(x)).detach()  # (*)
    return sign + (passed - passed.detach())  # (*)


class StraightThroughSignFunction(Function):
    """A step forward, a hard tanh backward."""

    generate_vmap_rule = True  # forward and backward are plain tensor operations
    verify: Mapping[str, Any] = {
        "reference": sign_by_autograd,
        "kinks": [-1.0, 0.0, 1.0],
        "gradient": "surrogate",
    }

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        # torch.sign makes 0 of NaN, and a run that went wrong would look as if it trained.
        return torch.where(x.isnan(), x, torch.sign(x))  # (*)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return torch.where(x.abs() > 1, 0, grad_output)  # (*)


def straight_through_sign(x: Tensor) -> Tensor:
    """Sign with a straight-through gradient: `x: (*)` -> `(*)`, gradient passed where |x| <= 1.

    The derivative of a step is 0 wherever it is defined, so nothing would learn; backward gives that of
    `hardtanh` instead, at -1 and 1 included. 0 stays 0, as for `torch.sign`, where the paper has 1; NaN stays
    NaN, where `torch.sign` has 0. Works under `torch.vmap`, `torch.func.grad` and
    `torch.compile(fullgraph=True)`; a second derivative is that of `hardtanh` too, 0. An exported model
    keeps the forward only. Raises NotImplementedError for complex numbers.
    Source: Hubara et al. 2016, https://arxiv.org/abs/1602.02830

    >>> x = torch.tensor([-2.0, -0.5, 0.5, 1.0], requires_grad=True)
    >>> y = straight_through_sign(x)
    >>> y.sum().backward()
    >>> y.tolist(), x.grad.tolist()
    ([-1.0, -1.0, 1.0, 1.0], [0.0, 1.0, 1.0, 1.0])
    """
    y: Tensor = StraightThroughSignFunction.apply(x)  # type: ignore[no-untyped-call]
    return y


class StraightThroughSign(nn.Module):
    """`straight_through_sign` as a module: `x: (*)` -> `(*)`.

    >>> StraightThroughSign()(torch.tensor([-2.0, 0.0, 0.5])).tolist()
    [-1.0, 0.0, 1.0]
    """

    def forward(self, x: Tensor) -> Tensor:
        return straight_through_sign(x)
