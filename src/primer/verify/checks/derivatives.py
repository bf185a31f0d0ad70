"""Is its backward the derivative of its forward, linear, and the same each time?"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.gradcheck import GradcheckError

from primer.verify.calling import (
    Bound,
    bound,
    called,
    everywhere,
    leaf_names,
    leaves_of,
    line,
    pulled,
    reason,
    with_grad,
)
from primer.verify.findings import Finding, Skip, failed, passed, skipped, warned
from primer.verify.kinks import REACH
from primer.verify.subject import Call, Subject
from primer.verify.telling import call_text, is_single, told, worst

SEEDS = range(3)
STEP = 1e-5  # chosen: of differences; float64 makes them good to 1e-9
OFFSET = 0.00123  # chosen: so that no input of a line is a round number, where a small kink may be
LARGE = (64, 65)  # chosen: enough for vector code and its rest
TIGHT, LOOSE = 1e-7, 1e-6  # chosen: a wrong factor of 1 + 1e-4 is to be found
SURROGATE = "Its backward is declared to be a surrogate, not the derivative."
DERIVATIVE = "Return the derivative of forward, times grad_output; or declare gradient: surrogate."
TWICE = "f(x), and f(x) again"


def gradcheck(subject: Subject) -> Finding:
    """Backward is the derivative of forward, by finite differences in float64."""
    check = "gradcheck"
    if not subject.is_derivative:
        return skipped(check, SURROGATE)
    bounds = [bound(subject, seed=seed) for seed in SEEDS]
    for each in bounds:
        require_comparable(each)
    found = _along_line(subject) if subject.is_elementwise else None
    for each in bounds:
        found = found or _blamed(subject, each)
    if found:
        return found
    options = options_of(subject, bounds[0])
    try:
        torch.autograd.gradcheck(bounds[0].call, bounds[0].leaves, **options | {"check_undefined_grad": True})
    except Exception as error:  # whatever comes of None
        if "undefined" in str(error) or not isinstance(error, GradcheckError):
            words = f"Its backward can't take None, which set_materialize_grads asks for: {reason(error)}"
            return warned(check, words, None, "Look for None in backward, or leave out that call.")
        return failed(check, f"torch.autograd.gradcheck refuses it: {reason(error)}", None, DERIVATIVE)
    words = f"Finite differences confirm its gradients, to {options['rtol']:g} of their size."
    return passed(check, words, tolerance=options["rtol"])


def options_of(subject: Subject, each: Bound) -> dict[str, Any]:
    """How exact torch's checks are to be."""
    size = max([1.0, *(float(answer.abs().max()) for answer in each.answers if answer.numel())])
    rtol = TIGHT if subject.is_piecewise_linear else LOOSE
    # Along random directions, thirty times as fast; whether it is the same each time `determinism` tells.
    more = {"nondet_tol": LOOSE, "fast_mode": True, "check_undefined_grad": False}
    return more | {"atol": TIGHT * size, "rtol": rtol}


def require_comparable(each: Bound, *, is_second: bool = False) -> None:
    """Raise Skip where it, or with `is_second` its gradient, can't be compared with finite differences."""
    if not each.leaves or not each.answers:
        raise Skip("Nothing in it takes a gradient.")
    if not all(bool(answer.isfinite().all()) for answer in each.answers):
        words = "Its answers to drawn arguments are not finite: declare inputs, such as {'kind': 'positive'}."
        raise Skip(words)
    if is_second and not with_grad(each.call(*each.leaves)):
        raise Skip("No gradient goes through it.")
    if is_second and any(map(is_single, each.answers)):
        raise Skip("Its answers have float32 digits only, too few for differences of gradients.")


def _along_line(subject: Subject) -> Finding | None:
    """Where the slope of an elementwise function isn't that of its values, between -8 and 8."""
    call, x = subject.at(torch.float64), line(subject, torch.float64, OFFSET)
    x = x[x.abs() < REACH]
    with torch.no_grad():
        low2, low, middle, high, high2 = (called(call, (x + step * STEP,))[0] for step in (-2, -1, 0, 1, 2))
    right = _slope(low2, low, high, high2)
    slopes = pulled(call, (x.requires_grad_(),), everywhere(1.0))[1][0]
    rtol = TIGHT if subject.is_piecewise_linear else LOOSE
    margin = rtol * right.abs() + TIGHT * middle.abs().clamp(min=1.0)
    x, is_finite = x.detach(), (low2 + low + high + high2).isfinite()
    index = worst(slopes[is_finite], right[is_finite], margin[is_finite], x[is_finite])
    if index is None:
        return None
    at, a, b = (values[is_finite][index] for values in (x, slopes, right))
    example = call_text((at,), a, b, "its finite difference", torch.ones(()))
    words = f"At {told(at)} its slope is {told(a)}, and its values say {told(b)}."
    return _not_derivative(words, example, float(a), float(b), middle)


def _not_derivative(words: str, example: str, found: float, right: float, values: Tensor) -> Finding:
    single = "Its values have float32 digits only: compute in the dtype of the input, without .float()."
    advice = single if is_single(values) else DERIVATIVE
    return failed("gradcheck", words, example, advice, found=found, expected=right)


def _blamed(subject: Subject, each: Bound) -> Finding | None:
    """The gradient that is furthest from finite differences, along a drawn direction, if one is."""
    given = [drawn_like(answer, seed).sin() for seed, answer in enumerate(each.answers)]
    pairs = along(lambda leaves: dot(each.call(*leaves), given), each.leaves)
    size = max([1.0, *(float(torch.linalg.vector_norm(answer)) for answer in each.answers)])
    misses = [abs(found - right) / (size + abs(right)) for found, right in pairs]
    wrong = [place for place, miss in enumerate(misses) if not miss <= TIGHT]
    if not wrong:
        return None
    place = max(wrong, key=misses.__getitem__)
    found, right = map(told, pairs[place])
    name = leaf_names(subject)[place]
    words = f"Along a direction, the gradient of {name} is {found}, and its values say {right}."
    example = call_text(each.leaves[: each.num_args], found, right, "its finite difference", given[0])
    return _not_derivative(words, example, *pairs[place], each.answers[0])


def _slope(low2: Any, low: Any, high: Any, high2: Any) -> Any:
    """Of values at two steps before to two steps after: exact for polynomials of the fourth degree."""
    return (8 * (high - low) - (high2 - low2)) / (12 * STEP)


def drawn_like(like: Tensor, seed: int) -> Tensor:
    """Standard normal float64 numbers in a tensor's shape."""
    return torch.randn(like.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def dot(some: Sequence[Tensor], others: Sequence[Tensor]) -> Tensor:
    """The scalar product of two lists of tensors, pair by pair."""
    return torch.stack([(one * other).sum() for one, other in zip(some, others, strict=True)]).sum()


def along(function: Callable[..., Tensor], leaves: Sequence[Tensor]) -> list[tuple[float, float]]:
    """The slope of a number along a drawn direction of each leaf, as autograd has it, and by differences."""
    leaves = [leaf.detach().requires_grad_() for leaf in leaves]
    start, pairs = function(leaves), []
    if start.requires_grad:
        torch.autograd.backward(start)  # as users do: torch.autograd.grad may go round what would raise
    for place, leaf in enumerate(leaves):
        direction, values = drawn_like(leaf, place), []
        for step in (-2.0, -1.0, 1.0, 2.0):
            moved = [other.detach() for other in leaves]
            moved[place] = moved[place] + step * STEP * direction
            values.append(float(function(moved).detach()))
        slope = 0.0 if leaf.grad is None else float((leaf.grad * direction).sum())
        pairs.append((slope, _slope(*values)))
    return pairs


# What is given in place of a drawn gradient g of the answer, in words, and as factors of g and of another.
SMALLER = ("2**-40 times the upstream gradient", 2.0**-40, 0.0)
LARGER = ("2**40 times the upstream gradient", 2.0**40, 0.0)
SUM = ("twice the upstream gradient less half of another", 2.0, -0.5)


def linearity(subject: Subject) -> Finding:
    """Backward is linear in the gradient that it is given: nothing is clipped, squared or added."""
    check, call, args = "linearity", subject.at(torch.float64), subject.sample()
    if not leaves_of(call, args):
        return skipped(check, "Nothing in it takes a gradient.")
    first, second, again = (pulled(call, args, _mixed(*factors))[1] for factors in ((1, 0), (0, 1), (1, 0)))
    if not _are_equal(first, again):
        return skipped(check, "Its gradients differ each time, which `determinism` tells.")
    for text, a, b in (SUM, LARGER, SMALLER, ("an upstream gradient of 0", 0.0, 0.0)):
        found = pulled(call, args, _mixed(a, b))[1]
        for place, (ours, one, two) in enumerate(zip(found, first, second, strict=True)):
            right = a * one + b * two
            sizes = abs(a) * one.abs() + abs(b) * two.abs()
            size = torch.linalg.vector_norm(sizes.nan_to_num(0.0, 0.0, 0.0))
            index = worst(ours, right, (LOOSE * size).expand_as(right))
            if index is not None:
                values = told(ours.flatten()[index]), told(right.flatten()[index])
                name = leaf_names(subject)[place]
                words = f"Given {text}, {name} gets {values[0]} where {values[1]} is right."
                example = f"f(x).backward(g); f(x).backward(...), {text}: {values[0]}, not {values[1]}"
                advice = "Multiply grad_output by what doesn't depend on it; clip gradients in the trainer."
                return failed(check, words, example, advice)
    return passed(check, "Twice the upstream gradient gives twice the gradient, and sums give sums.")


def _mixed(a: float, b: float) -> Callable[[Tensor], Tensor]:
    return lambda drawn: a * drawn + b * (drawn.flatten().flip(0).reshape(drawn.shape) + 0.25)


def determinism(subject: Subject) -> Finding:
    """The same arguments give the same bits, forward and backward."""
    check, dtype = "determinism", torch.float32
    call, args = subject.at(dtype), subject.sample(dtype, shape=LARGE if subject.is_elementwise else None)
    first, other, again = (_seeded(call, args, seed) for seed in (0, 1, 0))
    advice = "Draw no random numbers, share no memory, and fill every entry of what torch.empty makes."
    if not _are_equal(first[0], again[0]):
        return failed(check, "The same arguments and seed give other answers each time.", TWICE, advice)
    if not _are_equal(first[0], other[0]):
        words = "Its answers are drawn at random: the same seed gives the same ones."
        return warned(check, words, TWICE, "As of dropout that is meant; if not, draw nothing in forward.")
    if not _are_equal(first[1], other[1]):
        return failed(check, "The same arguments give other gradients each time.", TWICE, advice)
    return passed(check, "The same arguments give the same bits, forward and backward.")


def _seeded(call: Call, args: Sequence[Any], seed: int) -> tuple[list[Tensor], list[Tensor]]:
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    return pulled(call, args, seed=seed)


def _are_equal(some: Sequence[Tensor], others: Sequence[Tensor]) -> bool:
    return all(worst(one, two, torch.zeros_like(one)) is None for one, two in zip(some, others, strict=True))
