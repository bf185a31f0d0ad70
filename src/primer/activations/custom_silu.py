"""A SiLU that keeps its input only, and computes the sigmoid a second time on the way back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function


class SiLUFunction(Function):
    """`x * sigmoid(x)`, whose sigmoid is not kept: one tensor saved where autograd would save two."""

    generate_vmap_rule = True  # forward and backward are plain tensor operations
    verify: Mapping[str, Any] = {"reference": nn.functional.silu}

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        if not (x.is_floating_point() or x.is_complex()):
            raise NotImplementedError(f"custom_silu: expected real or complex numbers, found {x.dtype}")
        wide = _wide(x)  # (*)
        return (wide * torch.sigmoid(wide)).to(x.dtype)  # (*)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        # The sigmoid may not be saved: it is neither an input nor an output, so autograd would take it for a
        # constant, and a second derivative would silently lack its share.
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> Tensor:
        # As torch.ops.aten.silu_backward, which is one call but has no derivative of its own (torch 2.13).
        (x,) = ctx.saved_tensors
        wide = _wide(x)  # (*)
        sigmoid = torch.sigmoid(wide)  # (*)
        slope = sigmoid * (1 + wide * (1 - sigmoid))  # (*)
        return (grad_output * slope.conj()).to(grad_output.dtype)  # (*), conj() for complex numbers only


def _wide(x: Tensor) -> Tensor:
    """16-bit numbers as float32, or the sigmoid's rounding would come on top of the product's."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def custom_silu(x: Tensor) -> Tensor:
    """SiLU with its own backward: `x: (*)` -> `(*)`, `x / (1 + exp(-x))` as `torch.nn.functional.silu`.

    Equal to it up to rounding, forward and backward. Keeps half of what autograd keeps for
    `x * torch.sigmoid(x)`, for the price of a second sigmoid. Works under `torch.vmap`, `torch.func.grad`,
    double backward and `torch.compile(fullgraph=True)`; has no forward-mode derivative (`jvp`).
    Raises NotImplementedError for whole numbers and bool.
    Source: Elfwing, Uchibe and Doya 2017, https://arxiv.org/abs/1702.03118

    >>> x = torch.tensor([-1.0, 0.0, 1.0], requires_grad=True)
    >>> custom_silu(x).sum().backward()
    >>> x.grad
    tensor([0.0723, 0.5000, 0.9277])
    """
    y: Tensor = SiLUFunction.apply(x)  # type: ignore[no-untyped-call]
    return y


class CustomSiLU(nn.Module):
    """`custom_silu` as a module: `x: (*)` -> `(*)`.

    >>> CustomSiLU()(torch.tensor([-1.0, 0.0, 1.0]))
    tensor([-0.2689,  0.0000,  0.7311])
    """

    def forward(self, x: Tensor) -> Tensor:
        return custom_silu(x)
