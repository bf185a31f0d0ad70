"""What it does with NaN and infinity."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from primer.verify.calling import (
    answers_of,
    copies,
    differentiable,
    everywhere,
    leaf_names,
    leaves_of,
    pair,
    pulled,
)
from primer.verify.findings import Finding, failed, passed, skipped, together, warned
from primer.verify.subject import Call, Subject
from primer.verify.telling import allowed, call_text, told, worst

BAD = (torch.inf, -torch.inf, torch.nan)
HIDES = "Let NaN through: a number in its place hides where a training went wrong."
WHERE = "Choose by torch.where(mask, a, 0), not by a * mask: inf * 0 is NaN."
SWALLOWS = "Let NaN and infinity through where there is a slope: gradient scalers look for them."


def nonfinite_forward(subject: Subject) -> Finding:
    """NaN stays NaN, and infinity gives what it gives in the reference."""
    findings = []
    for dtype in (torch.float64, torch.float32, torch.bfloat16, torch.float16):
        call, reference = pair(subject, dtype)
        for bad, args in _planted(subject, dtype):
            try:
                theirs = answers_of(reference, args) if reference else None
                mine = answers_of(call, args)
            except Exception:  # loud; what takes no halves is told by `low_precision`
                continue
            findings.append(_answer(subject, bad, args, mine, theirs))
    if not findings:
        return skipped("nonfinite_forward", "It takes no floating-point numbers, or refuses these, loudly.")
    return together(findings)


def _answer(
    subject: Subject, bad: float, args: Sequence[Any], mine: Sequence[Tensor], theirs: Sequence[Tensor] | None
) -> Finding:
    """What comes of one bad number in the arguments."""
    check, ref, is_nan = "nonfinite_forward", subject.reference_name, bad != bad
    if theirs is None:
        floats = [answer for answer in mine if answer.is_floating_point()]
        if not is_nan or not floats or any(answer.isnan().any() for answer in floats):
            return passed(check, "NaN stays NaN.")
        # an index or a mask may leave it out, rightly, and a step has no slope that would tell
        tell = failed if subject.is_elementwise and subject.is_derivative else warned
        return tell(check, "It makes a number of NaN.", call_text(args, floats[0].flatten()[0]), HIDES)
    for ours, other in zip(mine, theirs, strict=False):
        one, two = (ours, other) if subject.is_elementwise else (_kind(ours), _kind(other))
        index = worst(one, two, allowed(subject, other))
        if index is None:
            continue
        a, b = ours.flatten()[index], other.flatten()[index]
        words = f"Given {told(bad)} it answers {told(a)}, and {ref} {told(b)}."
        example = call_text(args, a, b, ref)
        if (a if is_nan else b).isnan():  # it keeps a NaN that the reference hides, or makes none
            return warned(check, words, example, "Declare it, if it is meant; else do as the reference does.")
        advice = WHERE if a.isnan() else HIDES if b.isnan() else "See what forward computes."
        return failed(check, words, example, advice)
    return passed(check, f"NaN and infinity give what they give in {ref}.")


def nonfinite_backward(subject: Subject) -> Finding:
    """A gradient of NaN or infinity goes where there is a slope and only there; and slopes at such inputs."""
    check, (call, reference) = "nonfinite_backward", differentiable(subject, torch.float32)
    args: tuple[Any, ...] = subject.sample(torch.float32)
    if subject.is_elementwise and subject.inputs[0].kind == "normal":
        args = ((10 * args[0].detach()).round().div(10).requires_grad_(),)  # to tell plain numbers
    if not leaves_of(call, args):
        return skipped(check, "Nothing in it takes a gradient.")
    findings = [_poisoned(subject, call, reference, args, bad) for bad in BAD]
    for bad, planted in _planted(subject, torch.float32) if reference else ():
        try:
            pulls = [pulled(each, planted, everywhere(1.0))[1] for each in (call, reference) if each]
        except Exception:  # loud
            continue
        findings.append(_slope(subject, bad, planted, *pulls))
    return together(findings)


def _poisoned(
    subject: Subject, call: Call, reference: Call | None, args: Sequence[Any], bad: float
) -> Finding:
    """What comes of one bad number as the gradient of the answer."""
    check, ref = "nonfinite_backward", subject.reference_name
    mine, slopes = (pulled(call, args, everywhere(value))[1] for value in (bad, 1.0))
    theirs = pulled(reference, args, everywhere(bad))[1] if reference else []
    for place, (ours, slope) in enumerate(zip(mine, slopes, strict=True)):
        other = theirs[place] if place < len(theirs) else None
        is_dead = (slope == 0) & subject.is_piecewise_linear if other is None else other.isfinite()
        poisoned, lost = is_dead & (slope == 0) & ~ours.isfinite(), (slope != 0) & ~is_dead & ours.isfinite()
        wrong, advice = (poisoned, WHERE) if poisoned.any() else (lost, SWALLOWS)
        if not wrong.any():
            continue
        index = int(wrong.flatten().nonzero()[0])
        a, b = ours.flatten()[index], None if other is None else other.flatten()[index]
        name = leaf_names(subject)[place]
        words = f"Given {told(bad)} for the gradient of its answer, {name} gets {told(a)}"
        words += f" where its slope is {told(slope.flatten()[index])}"
        words += f"; {ref} gives {told(b)}." if b is not None else "."
        tell = warned if other is None and wrong is poisoned else failed
        shown = (args[0].detach().flatten()[index],) if subject.is_elementwise and place == 0 else args
        return tell(check, words, call_text(shown, a, b, ref, g=torch.tensor(bad)), advice)
    return passed(check, "A gradient of NaN or infinity goes where there is a slope, and only there.")


def _slope(
    subject: Subject, bad: float, args: Sequence[Any], mine: Sequence[Tensor], theirs: Sequence[Tensor]
) -> Finding:
    """The gradients where a bad number is among the arguments."""
    check, ref = "nonfinite_backward", subject.reference_name
    for ours, other in zip(mine, theirs, strict=False):
        index = worst(_kind(ours), _kind(other), torch.zeros_like(other))
        if index is not None:
            a, b = ours.flatten()[index], other.flatten()[index]
            words = f"Given {told(bad)} its gradient is {told(a)}, and that of {ref} {told(b)}."
            advice = "Harmless, unless one counts on it: nothing good comes of such an input."
            return warned(check, words, call_text(args, a, b, ref, g=torch.ones(())), advice)
    return passed(check, f"At NaN and infinity its gradients are those of {ref}.")


def _kind(numbers: Tensor) -> Tensor:
    """NaN, infinity, 0, or 1 for any other: which one, other checks compare."""
    return torch.where(numbers.isfinite(), (numbers != 0).to(numbers.dtype), numbers)


def _planted(subject: Subject, dtype: torch.dtype) -> Iterator[tuple[float, tuple[Any, ...]]]:
    """Arguments with one bad number in, or, elementwise, so many that vector code and its rest meet it."""
    for bad in BAD:
        if subject.is_elementwise:
            yield bad, (torch.full((67,), bad, dtype=dtype).requires_grad_(),)
            continue
        args = subject.sample(dtype)
        for place, arg in enumerate(args):
            if isinstance(arg, Tensor) and arg.is_floating_point() and arg.numel():
                planted = copies(args)
                with torch.no_grad():
                    planted[place].view(-1)[0] = bad
                yield bad, planted
