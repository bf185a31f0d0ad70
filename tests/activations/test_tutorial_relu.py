"""tutorial_relu computes what the article's function computes, and only its gradient at 0 leaves relu's."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import Function

from primer.activations import tutorial_relu


class ArticleReLU(Function):
    """The way of the article: one forward with ctx, an index by a mask."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        grad_input = grad_output.clone()
        grad_input[x < 0] = 0
        return grad_input


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_is_the_articles_function_on_every_16_bit_number(dtype: torch.dtype) -> None:
    x = torch.arange(-(2**15), 2**15, dtype=torch.int16).view(dtype).requires_grad_()
    ours, theirs = tutorial_relu(x), ArticleReLU.apply(x)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0, equal_nan=True)
    for g in (torch.ones_like(x), x.detach().flip(0)):
        (our_grad,) = torch.autograd.grad(ours, x, g, retain_graph=True)
        (their_grad,) = torch.autograd.grad(theirs, x, g, retain_graph=True)
        torch.testing.assert_close(our_grad, their_grad, rtol=0, atol=0, equal_nan=True)


def test_slope_is_1_at_0_and_that_of_relu_elsewhere() -> None:
    x = torch.tensor([-1.0, -0.0, 0.0, 1.0, torch.inf, -torch.inf], requires_grad=True)
    tutorial_relu(x).sum().backward()
    assert x.grad.tolist() == [0, 1, 1, 1, 1, 0]


def test_derivatives_agree_with_differences() -> None:
    x = torch.randn(5, 4, dtype=torch.float64)
    x = (x + 0.1 * x.sign()).requires_grad_()
    assert torch.autograd.gradcheck(tutorial_relu, x, atol=1e-7, rtol=1e-7)
    assert torch.autograd.gradgradcheck(lambda x: tutorial_relu(x) ** 3, x, atol=1e-7, rtol=1e-7)


def test_saves_its_input_and_leaves_the_gradient_alone() -> None:
    x, g = torch.tensor([-1.0, 2.0], requires_grad=True), torch.ones(2)
    y = tutorial_relu(x)
    assert y.grad_fn.saved_tensors[0] is x
    y.backward(g)
    assert g.tolist() == [1, 1]


# Dynamo itself instantiates a Function: https://github.com/pytorch/pytorch/issues/128439
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
def test_can_be_mapped_over_and_compiled() -> None:
    x = torch.cat([torch.randn(3, 4), torch.zeros(1, 4)])
    slope = (x >= 0).float()
    per_row = torch.vmap(torch.func.grad(lambda row: tutorial_relu(row).sum()))
    assert torch.equal(per_row(x), slope)
    shared_gradient = torch.vmap(lambda row: torch.func.vjp(tutorial_relu, row)[1](torch.ones(4))[0])
    assert torch.equal(shared_gradient(x), slope)
    x.requires_grad_()
    torch.compile(tutorial_relu, fullgraph=True, backend="aot_eager")(x).sum().backward()
    assert torch.equal(x.grad, slope)
