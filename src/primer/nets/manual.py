"""The two-layer net with its gradient derived by hand, as one autograd function over the whole net."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function

from primer.errors import ConfigError
from primer.nets.weights import WeightInit, affine, draw_weights


class TwoLayerFunction(Function):
    """`y = relu(x w1 + b1) w2 + b2`, and the chain rule through it, line by line.

    Besides y it returns `h = x w1 + b1`: a tensor that backward needs has to be an input or an output, or
    autograd would not see it and a second derivative would silently lack its share.
    """

    generate_vmap_rule = True  # forward and backward are plain tensor operations

    @staticmethod
    def forward(
        x: Tensor, w1: Tensor, b1: Tensor | None, w2: Tensor, b2: Tensor | None, slope_at_zero: int
    ) -> tuple[Tensor, Tensor]:
        h = affine(x, w1, b1)  # (batch, hidden)
        h_relu = h.clamp(min=0)  # (batch, hidden)
        return affine(h_relu, w2, b2), h  # (batch, out)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        x, w1, _, w2, _, ctx.slope_at_zero = inputs
        _, h = output
        ctx.save_for_backward(x, w1, w2, h)

    @staticmethod
    def backward(ctx: Any, dy: Tensor, dh_direct: Tensor) -> tuple[Tensor | None, ...]:
        # Under autocast dy is bfloat16 while x and the weights are not; otherwise this changes nothing.
        x, w1, w2, h = (saved.to(dy.dtype) for saved in ctx.saved_tensors)
        needs_x, needs_w1, needs_b1, needs_w2, needs_b2, _ = ctx.needs_input_grad
        dh_relu = dy @ w2.T  # (batch, hidden)
        dead = h < 0 if ctx.slope_at_zero else h <= 0  # (batch, hidden)
        dh = torch.where(dead, 0, dh_relu) + dh_direct  # (batch, hidden)
        return (
            dh @ w1.T if needs_x else None,  # dL/dx: (batch, in)
            x.T @ dh if needs_w1 else None,  # dL/dw1: (in, hidden)
            dh.sum(0) if needs_b1 else None,  # dL/db1: (hidden,)
            h.clamp(min=0).T @ dy if needs_w2 else None,  # dL/dw2: (hidden, out)
            dy.sum(0) if needs_b2 else None,  # dL/db2: (out,)
            None,  # slope_at_zero is a convention, not a variable
        )


def relu_slope_at_zero(activation: nn.Module) -> int:
    """Slope at exactly 0, a convention, of an activation that is a ReLU: 0 or 1.

    Raises ConfigError if the activation is no ReLU. Why the convention matters: Bertoin et al. 2021,
    https://proceedings.neurips.cc/paper/2021/hash/043ab21fc5a1607b381ac3896176dac6-Abstract.html

    >>> relu_slope_at_zero(nn.ReLU())
    0
    """
    size = torch.logspace(-6, 6, steps=13, device="cpu")  # tells a GELU and a ReLU6 from a ReLU
    x = torch.cat([-size, size, torch.zeros(2, device="cpu")])[None].requires_grad_()  # (1, 28)
    has_parameters = any(True for _ in activation.parameters())  # a PReLU learns to be another function
    with torch.enable_grad():
        y = activation(x * 1)  # (1, 28), of a copy that an in-place activation may overwrite
        if not has_parameters and torch.equal(y, x.clamp(min=0)):
            (slope,) = torch.autograd.grad(y.sum(), x)  # (1, 28)
            at_zero = slope[0, -1].item()
            if at_zero in (0, 1) and torch.equal(slope, (x > 0) + at_zero * (x == 0)):
                return int(at_zero)
    raise ConfigError(
        f"net=manual: derives its gradient by hand for a ReLU; activation={type(activation).__name__}() "
        "is none; use relu, custom_relu, tutorial_relu or clamp"
    )


class Manual(nn.Module):
    """The net and weights of `Tensors`, with a backward pass written by hand instead of autograd's.

    `x: (batch, in_features)` -> `(batch, out_features)`. The activation is looked at once, here: it must be a
    ReLU, else ConfigError, and its slope at exactly 0 is taken over. Source: "A PyTorch Primer", see
    docs/article.md.

    >>> net = Manual(3, 2, nn.ReLU(), hidden_dim=4)
    >>> net(torch.ones(5, 3)).sum().backward()
    >>> net.b2.grad
    tensor([5., 5.])
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
        self.slope_at_zero = relu_slope_at_zero(activation)
        self.w1, self.b1 = draw_weights(in_features, hidden_dim, bias=bias, weight_init=weight_init)
        self.w2, self.b2 = draw_weights(hidden_dim, out_features, bias=bias, weight_init=weight_init)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor
        weights = self.w1, self.b1, self.w2, self.b2
        y, _ = TwoLayerFunction.apply(x, *weights, self.slope_at_zero)  # type: ignore[no-untyped-call]
        return y
