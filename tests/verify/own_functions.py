"""Functions as users write them, right and wrong, for the tests of commands and of the gate."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.utils.checkpoint import checkpoint


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


class Leaky(Function):
    """Right for the slope 0 alone."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, slope: float) -> Tensor:
        ctx.save_for_backward(x)
        return torch.where(x > 0, x, slope * x)

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return torch.where(x > 0, grad_output, 0), None


class Float32Only(Wrong):
    """As a kernel that was written for one dtype."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        if x.dtype != torch.float32:
            raise TypeError("float32 only")
        return x.clamp(min=0)


class Misdeclared(Right):
    verify = {"referense": torch.relu}  # noqa: RUF012


class NaN(Right):
    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> Tensor:
        return grad_output * torch.nan


class OwnReLU(nn.Module):
    """A module around one of them."""

    def __init__(self, kind: str = "right") -> None:
        super().__init__()
        kinds = {
            "right": Right,
            "wrong": Wrong,
            "float32": Float32Only,
            "misdeclared": Misdeclared,
            "nan": NaN,
        }
        self.function = kinds[kind]

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.function.apply(x)
        return y


class LeakyTwice(nn.Module):
    """Of two calls the second one is wrong."""

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = Leaky.apply(Leaky.apply(x, 0.0), 0.5)
        return y


class Checkpointed(nn.Module):
    """Out of sight of the graph."""

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = checkpoint(Wrong.apply, x, use_reentrant=True)
        return y
