"""Functions as users write them, right and wrong, for the tests of commands and of the gate."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function


class Right(Function):
    """A ReLU."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x.clamp(min=0)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(output)

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        return torch.where(y <= 0, 0, grad_output)


class Wrong(Right):
    """Its gradient is a thousandth too large."""

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        return torch.where(y <= 0, 0, grad_output * 1.001)


class OwnReLU(nn.Module):
    """A module around either."""

    def __init__(self, kind: str = "right") -> None:
        super().__init__()
        self.function = {"right": Right, "wrong": Wrong}[kind]

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.function.apply(x)
        return y
