"""Where the slope jumps: its value there, and the numbers right beside."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from primer.verify.calling import apart, called, differentiable, everywhere, pulled
from primer.verify.findings import Finding, failed, passed, skipped, together, warned
from primer.verify.kinks import REACH
from primer.verify.subject import Subject
from primer.verify.telling import allowed, brief, call_text, told, worst

DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
STEP = 1e-5  # chosen: of differences beside a kink, whose place is known to less than that
SLACK = 1e-3  # chosen: relative; by how much a slope may change over a few steps
EVERYDAY = (-2.0, -0.2, 0.2, 2.0)
ADVICE = "Compare with the kink itself, not with a number near it, and avoid powers of large numbers."
NOT_ELEMENTWISE = "It isn't elementwise on one tensor: nothing is known of where its slope jumps."

Pulled = tuple[list[Tensor], list[Tensor]]


class Sides(NamedTuple):
    """The values and slopes right before and after a kink, of forward alone."""

    values: tuple[float, float]
    slopes: tuple[float, float]

    @property
    def is_step(self) -> bool:
        """Whether the value jumps, too."""
        left, right = self.values
        return abs(right - left) > 100 * STEP * (1 + max(map(abs, self.slopes)))

    def may_be(self, slope: float) -> bool:
        """Whether that is a subgradient: a slope between those of the sides."""
        low, high = min(self.slopes), max(self.slopes)
        slack = SLACK * (1 + max(abs(low), abs(high)))
        return low - slack <= slope <= high + slack


def kink(subject: Subject) -> Finding:
    """The slope at each kink is one of a side or between, and that of the reference where there is one."""
    check, ref = "kink", subject.reference_name
    if not subject.is_elementwise:
        return skipped(check, NOT_ELEMENTWISE)
    if not subject.kinks:
        return passed(check, f"Its slope jumps nowhere between {-REACH:g} and {REACH:g}.")
    sentences, numbers, is_alike = list[str](), dict[str, float](), True
    for place in subject.kinks:
        sides = _sides(subject, place)
        found, slopes = _at_kink(subject, place, sides)
        if found:
            return found
        is_alike &= _is_alike(subject, place)
        if not slopes:
            return skipped(check, "A surrogate may have any slope at a kink; no reference tells which.")
        left, right = (told(slope) for slope in sides.slopes)
        jump = f"; its value jumps from {told(sides.values[0])} to {told(sides.values[1])}"
        beside = f"{left} before, {right} after" + (jump if sides.is_step else "")
        sentences.append(f"at {told(place)} its slope is {told(slopes[0])} ({beside})")
        numbers |= {f"slope_at_{told(place)}": slopes[0]}
    words = "; ".join(sentences) + (f", as that of {ref}." if ref and is_alike else ".")
    return passed(check, words[0].upper() + words[1:], **numbers)


def _is_alike(subject: Subject, place: float) -> bool:
    """Whether its slope there is the reference's, and not one that other checks find wrong around it, too."""
    call, reference = differentiable(subject, torch.float64)
    if reference is None:
        return False
    x = torch.tensor([place], dtype=torch.float64, requires_grad=True)
    ours, others = (pulled(each, (x,), everywhere(1.0))[1][0] for each in (call, reference))
    return worst(ours, others, allowed(subject, others)) is None


def _at_kink(subject: Subject, place: float, sides: Sides) -> tuple[Finding | None, list[float]]:
    """What is wrong at a kink in any dtype, if anything is; its slope there."""
    slopes: list[float] = []
    for dtype in DTYPES:
        step = max(STEP, 8 * torch.finfo(dtype).eps * abs(place))
        x = torch.tensor([place, -place if place == 0 else place, place - step, place + step], dtype=dtype)
        if float(x[0]) != place:  # the dtype has no such number
            continue
        call, reference = differentiable(subject, dtype)
        try:
            theirs = pulled(reference, (x.requires_grad_(),), everywhere(1.0)) if reference else None
            mine = pulled(call, (x.requires_grad_(),), everywhere(1.0))
        except Exception:
            if dtype in DTYPES[:2]:
                raise
            continue  # told by `low_precision`
        if theirs:
            found = _unlike(subject, x.detach(), mine, theirs, sides)
        elif subject.is_derivative:
            found = _improper(x[:2].detach(), mine[1][0][:2], sides)
        else:
            return None, []
        if found:
            return found, slopes
        slopes.append(float(mine[1][0][0]))
    return None, slopes


def _unlike(subject: Subject, x: Tensor, mine: Pulled, theirs: Pulled, sides: Sides) -> Finding | None:
    """What differs from the reference at a kink."""
    ref = subject.reference_name
    for place, kind in enumerate(("value", "slope")):
        ours, others = mine[place][0], theirs[place][0]
        index = worst(ours[:2], others[:2], allowed(subject, others[:2]))
        is_beside = worst(ours[2:], others[2:], allowed(subject, others[2:])) is not None  # other checks tell
        is_same_side = bool((_side(ours) & _side(others)).any())
        if index is None or (is_beside and (is_same_side or kind == "value")):
            continue
        a, b, at = ours[index], others[index], told(x[index])
        words = f"At {at} its {kind} is {told(a)}, and that of {ref} {told(b)}"
        if kind == "slope":
            beside = f", {told(sides.slopes[0])} before it and {told(sides.slopes[1])} after"
            words += ": a unit at exactly that input learns otherwise" if sides.may_be(float(a)) else beside
        advice = f"Put x == {at} on the side where {ref} has it: x <= {at} for x < {at}, or the reverse."
        example = call_text((x[index],), a, b, ref, g=torch.ones(()) if kind == "slope" else None)
        return failed("kink", f"{words}.", example, advice, **{kind: float(a), f"reference_{kind}": float(b)})
    return None


def _side(slopes: Tensor) -> Tensor:
    """Whether the slope at the kink is that before it, and whether it is that after it, `(2,)`.

    Where the reference takes the same side, a difference is one of the sides, which other checks tell.
    """
    return (slopes[0] - slopes[2:]).abs() <= SLACK * (1 + slopes[2:].abs())


def _improper(x: Tensor, slopes: Tensor, sides: Sides) -> Finding | None:
    """What is wrong with the slope at a kink where there is no reference."""
    for at, slope in zip(x, slopes, strict=True):
        if not sides.may_be(float(slope)):
            left, right = (told(side) for side in sides.slopes)
            words = f"At {told(at)} its slope is {told(slope)}: not from {left} before to {right} after it."
            advice = "Give it the slope of one of the sides, or one between."
            return failed("kink", words, call_text((at,), slope, g=torch.ones(())), advice)
    return None


def _sides(subject: Subject, place: float) -> Sides:
    steps = torch.tensor([-2.0, -1.0, 1.0, 2.0], dtype=torch.float64) * STEP
    with torch.no_grad():
        values = called(subject.at(torch.float64), (place + steps,))[0].tolist()
    return Sides((values[1], values[2]), ((values[1] - values[0]) / STEP, (values[3] - values[2]) / STEP))


def neighbours(subject: Subject) -> Finding:
    """The numbers beside each kink, and the smallest and largest of all, are treated as their like."""
    check = "neighbours"
    if not subject.is_elementwise:
        return skipped(check, NOT_ELEMENTWISE)
    has_reference = differentiable(subject, torch.float64)[1] is not None
    if not has_reference and (not subject.kinks or not subject.is_derivative):
        return skipped(check, "There is no reference, and no kink beside which its slope would be known.")
    look = _as_reference if has_reference else _as_further_away
    return together([look(subject, dtype) for dtype in DTYPES[:2]])


def _as_reference(subject: Subject, dtype: torch.dtype) -> Finding:
    """Values and slopes of extreme numbers are those of the reference; of signs of zeros it warns."""
    check, ref, (call, reference) = "neighbours", subject.reference_name, differentiable(subject, dtype)
    assert reference
    extremes, everyday = _extremes(subject, dtype), apart(subject, torch.tensor(EVERYDAY, dtype=dtype))
    x, count = torch.cat([extremes, everyday]), len(extremes)
    found = [pulled(each, (x.clone().requires_grad_(),), everywhere(1.0)) for each in (call, reference)]
    for place, kind in enumerate(("value", "slope")):
        ours, other = (part[place][0] for part in found)
        margin = allowed(subject, other, x.double().abs() if kind == "value" else 1.0)
        index = worst(ours, other, margin, x)
        if index is None:
            continue
        if worst(ours[count:], other[count:], margin[count:]) is not None:
            return skipped(check, f"It differs from {ref} for everyday numbers, too: see the checks before.")
        a, b, at = ours[index], other[index], told(x[index])
        words = f"At {at} in {brief(dtype)} its {kind} is {told(a)}, and that of {ref} {told(b)}."
        is_huge = abs(float(x[index])) > 1e4 and not subject.is_piecewise_linear  # no training gets there
        g, tell = torch.ones(()) if kind == "slope" else None, warned if is_huge else failed
        return tell(check, words, call_text((x[index],), a, b, ref, g), ADVICE)
    x = torch.tensor([-1.0, 0.0, -0.0, 1.0, *subject.kinks], dtype=dtype)
    signs = [called(each, (x,))[0].detach().signbit() for each in (call, reference)]
    index = worst(signs[0], signs[1], torch.zeros_like(x), x)
    if index is not None:
        own, right = ("-0.0", "0.0") if signs[0][index] else ("0.0", "-0.0")
        words = f"At {told(x[index])} it answers {own}, and {ref} {right}: equal, but printed differently."
        return warned(check, words, call_text((x[index],), own, right, ref), "Harmless; see torch.where.")
    return passed(check, f"Beside kinks, and for the smallest and largest of numbers, it does as {ref}.")


def _extremes(subject: Subject, dtype: torch.dtype) -> Tensor:
    """The numbers beside kinks, the smallest and the largest, (entries,); none is a kink."""
    info = torch.finfo(dtype)
    sizes = torch.tensor([0.0, info.tiny, info.tiny / 4, info.max], dtype=dtype)
    places = torch.cat([torch.tensor(_exact_kinks(subject, dtype), dtype=dtype), torch.zeros(1, dtype=dtype)])
    infinity = torch.full_like(places, torch.inf)
    beside = torch.nextafter(places, infinity), torch.nextafter(places, -infinity)
    return apart(subject, torch.cat([sizes, -sizes, *beside]), by=0.0)


def _exact_kinks(subject: Subject, dtype: torch.dtype) -> list[float]:
    """Kinks that are numbers of that dtype, and known to the last digit: declared ones and round ones."""
    known = [place for place in subject.kinks if subject.spec.kinks is not None or (64 * place).is_integer()]
    return [place for place in known if float(torch.tensor(place, dtype=dtype)) == place]


def _as_further_away(subject: Subject, dtype: torch.dtype) -> Finding:
    """The slope right beside a kink is that a bit further from it, on the same side."""
    check, call = "neighbours", subject.at(dtype)
    for place in _exact_kinks(subject, dtype):
        kink = torch.tensor(place, dtype=dtype)
        for sign in (-1.0, 1.0):
            beside = torch.nextafter(kink, kink + sign)
            x = torch.stack([beside, kink + sign * STEP / 8, kink + sign * STEP])
            slopes = pulled(call, (x.requires_grad_(),), everywhere(1.0))[1][0]
            slack = SLACK * (1 + float(slopes[2].abs()))
            is_settled = float((slopes[1] - slopes[2]).abs()) <= slack  # else it goes to infinity
            if is_settled and not float((slopes[0] - slopes[2]).abs()) <= slack:
                a, b = told(slopes[0]), told(slopes[2])
                words = f"Right beside its kink at {told(place)} its slope is {a}, and {b} further away."
                return failed(check, words, call_text((beside,), slopes[0], g=torch.ones(())), ADVICE)
    return passed(check, "Right beside each kink the slope is that a bit further away.")
