"""Does it work between layers that compute in half precision?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from primer.verify.calling import called, leaves_of, reason, unfit
from primer.verify.findings import Finding, failed, passed, skipped, together, warned
from primer.verify.subject import Call, Subject
from primer.verify.telling import brief

DTYPES = (torch.bfloat16, torch.float16)


@dataclass(frozen=True)
class Passage:
    """What came of a call between layers under autocast: dtypes of the answers, and how gradients are."""

    dtypes: tuple[str, ...]
    is_finite: bool
    num_missing: int


def autocast(subject: Subject) -> Finding:
    """Between layers under torch.autocast it works, answers in the reference's dtype and gives gradients."""
    args = subject.sample(torch.float32)
    reason_not = unfit(subject.at(torch.float32), args)
    num_tensors = len(leaves_of(None, args))
    if reason_not or not num_tensors:
        return skipped("autocast", reason_not or "None of its arguments can come from a layer.")
    looked_at, problems = [], []
    for dtype in DTYPES:
        if isinstance(_attempt(_first, args, dtype, num_tensors), Exception):
            continue  # the layers of this CPU do not compute in it
        looked_at.append(brief(dtype))
        # All arguments come from layers; or the first, and the others, as weights, are float32.
        problems += [_problem(subject, dtype, number) for number in dict.fromkeys((num_tensors, 1))]
    found = [problem for problem in problems if problem]
    if found:
        return together(found)
    if not looked_at:
        return skipped("autocast", "The layers of this CPU compute in no half precision.")
    return passed("autocast", f"It works between layers under torch.autocast in {' and '.join(looked_at)}.")


def _first(*args: Any) -> Any:
    return next(arg for arg in args if isinstance(arg, Tensor) and arg.requires_grad)


def _problem(subject: Subject, dtype: torch.dtype, num_layers: int) -> Finding | None:
    """What goes wrong in that dtype with so many arguments that come from a layer; None: nothing."""
    args, name = subject.sample(torch.float32), brief(dtype)
    found = _attempt(subject.at(torch.float32), args, dtype, num_layers)
    theirs = None
    if subject.reference:
        theirs = _attempt(subject.reference_at(torch.float32), args, dtype, num_layers)
    if isinstance(theirs, Exception):
        return None  # the reference is no better
    example = f"with torch.autocast('cpu', {dtype}): y = f({'linear(x)' if num_layers == 1 else '...'})"
    back = f"{example}  # then y.sum().backward()"
    if isinstance(found, Exception):
        if isinstance(found, NotImplementedError) and theirs is None:
            return None  # an operation of torch that this CPU lacks in half precision
        advice = "Decorate forward by torch.amp.custom_fwd(device_type=...), and backward by custom_bwd."
        sentence = f"It fails between layers under torch.autocast in {name}."
        return warned("autocast", sentence, f"{back}: {reason(found)}", advice)
    if theirs and found.num_missing > theirs.num_missing:
        sentence = f"Under torch.autocast in {name} no gradient arrives at the layer before it."
        advice = "Let backward return a gradient for half precision inputs, too."
        return failed("autocast", sentence, f"{back}: linear.weight.grad is None", advice)
    if not found.is_finite and (theirs is None or theirs.is_finite):
        sentence = f"Under torch.autocast in {name} its gradient is not finite."
        return failed("autocast", sentence, back, "Compute what overflows in float32: x.float().")
    return _other_dtype(subject, found, theirs, f"{example}; y.dtype") if theirs else None


def _other_dtype(subject: Subject, found: Passage, theirs: Passage, example: str) -> Finding | None:
    for ours, right in zip(found.dtypes, theirs.dtypes, strict=False):
        if ours != right:
            sentence = f"Under torch.autocast it answers in {ours}, and {subject.reference_name} in {right}."
            advice = "Half precision loses digits, float32 takes twice the memory: decide in custom_fwd."
            return warned("autocast", sentence, example, advice)
    return None


def _attempt(call: Call, args: Sequence[Any], dtype: torch.dtype, num_layers: int) -> Passage | Exception:
    """What came of it, or what was raised."""
    try:
        with torch.autocast("cpu", dtype=dtype):
            behind, left = [], num_layers
            for arg in args:
                is_from_layer = left > 0 and isinstance(arg, Tensor) and arg.requires_grad
                behind.append(_layer(arg) if is_from_layer else arg)
                left -= is_from_layer
            answers = called(call, behind)
            ends = [_layer(answer).float().sum() for answer in answers if answer.requires_grad]
        found = torch.autograd.grad(ends, leaves_of(call, args), allow_unused=True)
    except Exception as error:
        return error
    gradients = [gradient for gradient in found if gradient is not None]
    return Passage(
        dtypes=tuple(brief(answer.dtype) for answer in answers),
        is_finite=all(bool(gradient.isfinite().all()) for gradient in gradients),
        num_missing=len(found) - len(gradients),
    )


def _layer(x: Tensor) -> Tensor:
    """Through a linear layer that changes no number, and computes in half precision under autocast."""
    if not x.dim():
        return x
    return torch.nn.functional.linear(x, torch.eye(x.shape[-1], dtype=torch.float32))
