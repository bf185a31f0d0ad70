"""Is it in float32, in which it trains, and between layers in half precision, what it is in float64?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from primer.verify.calling import (
    called,
    copies,
    leaves_of,
    line,
    pulled,
    reason,
    require_gradients,
    with_grad,
)
from primer.verify.checks.values import simple
from primer.verify.findings import Finding, failed, passed, skipped, together, warned
from primer.verify.subject import Call, Subject
from primer.verify.telling import brief, told

FAR_OFF = 0.01  # chosen, relative: far more than rounding of a sum of some numbers
MOST_RIGHT = 0.1  # chosen: the share of entries that may lie beside a jump of the function
DTYPES = (torch.bfloat16, torch.float16)


def single_precision(subject: Subject) -> Finding:
    """In float32, in which it trains, it gives what it gives in float64: a reference tells that, too."""
    check, ref = "single_precision", subject.reference_name
    if ref is not None:
        return skipped(check, f"It is compared with {ref} in float32.")
    args: tuple[Any, ...] = subject.sample(torch.float32)
    if subject.is_elementwise:
        args = (line(subject, torch.float32).requires_grad_(),)
    upstream = simple if subject.is_elementwise else None
    call, exact = subject.at(torch.float32), subject.at(torch.float64)
    mine, right = pulled(call, args, upstream), pulled(exact, copies(args, torch.float64), upstream)
    num_values = 0
    for kind, ours, others in zip(("answer", "gradient"), mine, right, strict=True):
        for one, other in zip(ours, others, strict=False):
            if one.shape != other.shape or not other.is_floating_point() or not other.numel():
                continue
            size = other.abs().nan_to_num(0.0, 0.0, 0.0)
            is_far = ~((one.double() - other).abs() <= FAR_OFF * (size + size.mean()))
            is_far &= one.isfinite() & other.isfinite()
            num_values += other.numel()
            if is_far.double().mean() > MOST_RIGHT:
                place = int(is_far.flatten().nonzero()[0])
                a, b = one.flatten()[place], other.flatten()[place]
                words = f"In float32 its {kind} is another than in float64: {told(a)}, not {told(b)}."
                advice = "Do the same in every dtype, or declare a reference that tells which is right."
                return failed(check, words, None, advice)
    words = f"At {num_values:,} numbers it gives in float32 what it gives in float64, but for rounding."
    return passed(check, words, num_values=num_values)


@dataclass(frozen=True)
class Passage:
    """What came of a call between layers under autocast: dtypes of the answers, and how gradients are."""

    dtypes: tuple[str, ...]
    is_finite: bool
    num_missing: int


def autocast(subject: Subject) -> Finding:
    """Between layers under torch.autocast it works, answers in the reference's dtype and gives gradients."""
    args = subject.sample(torch.float32)
    require_gradients(subject.at(torch.float32), args)
    num_tensors = len(with_grad(args))
    if not num_tensors:
        return skipped("autocast", "None of its arguments can come from a layer.")
    looked_at, problems = [], []
    for dtype in DTYPES:
        if isinstance(_attempt(lambda *given: with_grad(given)[0], args, dtype, num_tensors), Exception):
            continue  # the layers of this CPU do not compute in it
        looked_at.append(brief(dtype))
        # All arguments come from layers; or the first, and the others, as weights, are float32.
        problems += [_problem(subject, dtype, number) for number in dict.fromkeys((num_tensors, 1))]
    if not looked_at:
        return skipped("autocast", "The layers of this CPU compute in no half precision.")
    sentence = f"It works between layers under torch.autocast in {' and '.join(looked_at)}."
    return together([*problems, passed("autocast", sentence)])


def _problem(subject: Subject, dtype: torch.dtype, num_layers: int) -> Finding | None:
    """What goes wrong in that dtype with so many arguments that come from a layer; None: nothing."""
    args, name = subject.sample(torch.float32), brief(dtype)
    found = _attempt(subject.at(torch.float32), args, dtype, num_layers)
    reference = subject.reference and subject.reference_at(torch.float32)
    theirs = _attempt(reference, args, dtype, num_layers) if reference else None
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
    for ours, right in zip(found.dtypes, theirs.dtypes, strict=False) if theirs else ():
        if ours != right:
            sentence = f"Under torch.autocast it answers in {ours}, and {subject.reference_name} in {right}."
            advice = "Half precision loses digits, float32 takes twice the memory: decide in custom_fwd."
            return warned("autocast", sentence, f"{example}; y.dtype", advice)
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
            ends = [_layer(answer).float().sum() for answer in with_grad(answers)]
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
