"""What was recorded once computes what the function does, in no more operations than it takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from primer.errors import CantFuse
from primer.training.layout import Layout
from primer.training.traced import LARGE_FLOPS, LINEAR, NUM_CLASSES, traced


class Seen(TorchDispatchMode):
    """The operations that torch runs."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(func.__name__)
        return func(*args, **(kwargs or {}))


def operations(function: Callable[..., Any], *tensors: Tensor) -> list[str]:
    """What a call runs, in its order."""
    with Seen() as seen:
        function(*tensors)
    return seen.names


def draw(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=dtype)


def test_what_computes_nothing_is_left_out_and_what_is_constant_computed_once() -> None:
    def function(x: Tensor) -> Tensor:
        ones = torch.ones_like(x) + torch.zeros(3) * 2
        return torch.ops.aten.mul.Scalar(x.view(4, 3).detach(), 1).reshape(4, 3) + ones.exp()

    run = traced(function, torch.zeros(4, 3))
    assert operations(run, torch.zeros(4, 3)) == ["add.Tensor"]
    x = draw(4, 3)
    assert torch.equal(run(x), function(x))
    assert torch.equal(run(x + 1), function(x + 1))


def test_what_changes_a_shape_a_type_or_a_number_stays() -> None:
    def function(x: Tensor) -> Tensor:
        return (x.view(12).expand(2, 12) * 2).to(torch.float64) * (
            torch.ones((), dtype=torch.int64) * x.sum()
        )

    run, x = traced(function, torch.zeros(4, 3)), draw(4, 3)
    found = run(x)
    assert (found.dtype, found.shape) == (torch.float64, (2, 12))
    assert torch.equal(found, function(x))
    widened = traced(lambda x: torch.ops.aten.mul.Scalar(x, 1.0), torch.zeros(3, dtype=torch.int64))
    assert widened(torch.arange(3)).dtype == torch.float32


def test_constants_of_several_answers_and_products_with_constants_are_right() -> None:
    def function(x: Tensor) -> tuple[Tensor, ...]:
        halves = torch.ones(2, 201, 202) * 0.5
        return x.sum() + torch.arange(6.0).view(3, 2).max(1).values.sum(), x @ halves

    x, place = draw(2, 200, 201), torch.zeros(2, 200, 202)
    run = traced(function, x, places=[place])
    first, second = function(x)
    assert torch.equal(run(x), first)
    torch.testing.assert_close(place, second)


def test_what_is_drawn_is_drawn_at_each_call() -> None:
    run = traced(lambda x: x + torch.rand(3), torch.zeros(3))
    assert not torch.equal(run(torch.zeros(3)), run(torch.zeros(3)))


def test_answers_are_written_where_they_are_wanted_and_carry_no_gradient() -> None:
    weight = torch.ones(3, requires_grad=True)

    def function(weight: Tensor) -> tuple[Tensor, ...]:
        loss = (weight * weight).sum()
        return loss, *torch.autograd.grad(loss, weight), weight + 1

    places = [torch.zeros(3), torch.zeros(3)]
    run = traced(function, weight, places=places)
    for factor in (1.0, 3.0):
        found = run(factor * weight)
        assert (float(found), found.requires_grad) == (3 * factor**2, False)
        assert [place.tolist() for place in places] == [[2 * factor] * 3, [factor + 1] * 3]


def test_what_changes_tensors_in_place_is_refused() -> None:
    for function in (lambda x: (x * 2).add_(1), lambda x: torch.zeros(3).copy_(x)):
        with pytest.raises(CantFuse, match="in place"):
            traced(function, torch.zeros(3))


@pytest.mark.parametrize("num_classes", [2, NUM_CLASSES - 1, NUM_CLASSES])
def test_a_log_softmax_of_few_classes_is_computed_by_its_parts(num_classes: int) -> None:
    def function(x: Tensor) -> tuple[Tensor, ...]:
        loss = torch.nn.functional.cross_entropy(x, torch.tensor([0, 1, 1]))
        return loss, *torch.autograd.grad(loss, x)

    x = 300 * draw(3, num_classes, dtype=torch.float64).requires_grad_()  # no overflow where it is large
    x = x.detach().requires_grad_()
    run = traced(function, x)
    for found, expected in zip(run(x), function(x), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)
    is_whole = any("log_softmax" in name for name in operations(run, x))
    assert is_whole == (num_classes >= NUM_CLASSES)
    half = traced(lambda x: x.half().log_softmax(1, dtype=torch.float32), x.detach().float())
    assert half(x.detach().float()).dtype == torch.float32


def gradient(weight: Tensor, x: Tensor) -> tuple[Tensor, ...]:
    """As of a stacked net: x (members, rows, in), weight (members, out, in)."""
    loss = (x @ weight.transpose(1, 2)).square().sum()
    return loss, *torch.autograd.grad(loss, weight)


@pytest.mark.skipif(LINEAR is None, reason="this torch has no oneDNN")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [8, 160])
def test_products_are_right_and_the_large_ones_are_onednns(size: int, dtype: torch.dtype) -> None:
    weight, x = (
        draw(2, size, size + 1, dtype=dtype).requires_grad_(),
        draw(2, size + 2, size + 1, dtype=dtype),
    )
    place = torch.zeros(2, size, size + 1, dtype=dtype)
    run = traced(gradient, weight, x, places=[place])
    loss, expected = gradient(weight, x)
    for factor in (1.0, 2.0):
        torch.testing.assert_close(run(factor * weight, x), factor**2 * loss.detach())
        torch.testing.assert_close(place, factor * expected)
    is_large = dtype == torch.float32 and size == 160
    assert (2 * size * (size + 1) * (size + 2) >= LARGE_FLOPS) == (size == 160)
    names = operations(run, weight, x)
    assert any("_linear_pointwise" in name for name in names) == is_large
    assert names.count("bmm.default") == (1 if is_large else 2)


def test_a_product_that_others_need_is_computed_for_them() -> None:
    def function(a: Tensor, b: Tensor) -> tuple[Tensor, ...]:
        product = a @ b
        return product.sum(), product

    a, b, place = draw(2, 200, 201), draw(2, 201, 202), torch.zeros(2, 200, 202)
    run = traced(function, a, b, places=[place])
    torch.testing.assert_close(run(a, b), (a @ b).sum())
    torch.testing.assert_close(place, a @ b)


def test_a_row_holds_the_weights_in_their_order() -> None:
    weights = [draw(2, 3), draw(2), draw()]
    layout = Layout(weights)
    rows = torch.stack([layout.row(weights), layout.row([2 * weight for weight in weights])])
    assert (len(layout), rows.shape) == (3, (2, 9))
    for found, weight in zip(layout.weights(rows), weights, strict=True):
        assert torch.equal(found, torch.stack([weight, 2 * weight]))
        found += 1  # views
    assert torch.equal(rows[0], layout.row(weights) + 1)
    assert Layout([]).row([]).shape == (0,)
    with pytest.raises(CantFuse, match="several types"):
        Layout([draw(2), draw(2, dtype=torch.float64)])
