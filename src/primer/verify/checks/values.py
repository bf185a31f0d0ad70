"""Is it the same as its reference: its answers, its gradients, and both in half precision?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from primer.verify.calling import (
    answers_of,
    apart,
    changed,
    copies,
    everywhere,
    leaf_names,
    leaves_of,
    line,
    pair,
    pulled,
    reason,
)
from primer.verify.findings import Finding, failed, passed, skipped, warned
from primer.verify.subject import Call, Subject, moved
from primer.verify.telling import ROUNDING, allowed, brief, call_text, is_single, loud, told, worst

NO_REFERENCE = "There is nothing to compare it with: declare a reference, or name one."
SIMPLE = (1.0, -2.0, 0.3, 3.0)  # upstream gradients that are told easily; float32 has no 0.3
FEW_DIGITS = 4  # chosen: eps that each of a formula's operations may cost in half precision

LARGE = " for inputs a thousand times as large"

Look = Callable[[Call, Sequence[Any]], list[Tensor]]


class Case(NamedTuple):
    """Arguments to compare on; `words` say what is unusual about them, if anything is."""

    args: tuple[Any, ...]
    words: str = ""


def reference_forward(subject: Subject) -> Finding:
    """Its answers are those of the reference, in float64 and float32."""
    return _as_reference(subject, "reference_forward", answers_of)


def reference_backward(subject: Subject) -> Finding:
    """Its gradients are those of the reference away from kinks, for drawn gradients of its answer."""
    if not leaves_of(subject.call, subject.sample()):
        return skipped("reference_backward", "Nothing in it takes a gradient.")
    upstream = simple if subject.is_elementwise else None
    return _as_reference(subject, "reference_backward", lambda call, args: pulled(call, args, upstream)[1])


def _as_reference(subject: Subject, check: str, look: Look) -> Finding:
    """Compare what `look` sees of it and of the reference."""
    ref, largest, num_values = subject.reference_name, 0.0, 0
    for dtype in (torch.float64, torch.float32):
        call, reference = pair(subject, dtype)
        if reference is None:
            return skipped(check, NO_REFERENCE)
        for case in _cases(subject, dtype):
            try:
                theirs = look(reference, case.args)
            except Exception as error:  # NumPy has no gradient; a function of matrices takes no number
                if case.words:
                    continue
                words = f"{ref} can't be compared with: {reason(error)}"
                if check == "reference_backward":
                    return skipped(check, words)
                return warned(check, words, None, "Declare a reference that takes the same arguments.")
            try:
                mine = look(call, case.args)
            except Exception as error:
                if not case.words:
                    raise
                return loud(check, case.words, error)
            if case.words == LARGE and not all(other.isfinite().all() for other in theirs):
                continue
            is_first = num_values == 0  # a few numbers of a later case may all lie where it is flat
            is_flat = not subject.is_derivative and not any(bool(other.any()) for other in theirs)
            if check == "reference_backward" and is_first and is_flat:
                return skipped(check, f"Its backward is declared to be a surrogate, and {ref} has no slope.")
            for place, (ours, other) in enumerate(zip(mine, theirs, strict=False)):  # weights are the last
                found = _unlike(subject, check, place, ours, other, case)
                if found:
                    return found
                largest, num_values = max(largest, _difference(ours, other)), num_values + other.numel()
    what = "Its answers are" if check == "reference_forward" else "Its gradients away from kinks are"
    how = "bit for bit" if largest == 0 else f"but for rounding ({largest:.2g} at most)"
    words = f"{what} those of {ref} {how}, at {num_values:,} numbers in float64 and float32."
    return passed(check, words, largest_difference=largest, num_values=num_values)


def _unlike(
    subject: Subject, check: str, place: int, ours: Tensor, other: Tensor, case: Case
) -> Finding | None:
    """What is wrong with one answer or gradient, if anything is: its shape, its dtype, its numbers."""
    is_forward, ref = check == "reference_forward", subject.reference_name
    what = f"Answer {place + 1}" if place else "Its answer"
    what = what if is_forward else f"The gradient of {leaf_names(subject)[place]}"
    is_weight = not is_forward and place >= sum(given.has_grad for given in subject.inputs)
    if is_weight and ours.numel() == other.numel():
        other = other.reshape(ours.shape)  # one number may be kept as a vector of one
    if ours.shape != other.shape:
        words = f"{what} has the shape {tuple(ours.shape)}{case.words}, and in {ref} {tuple(other.shape)}."
        tell = warned if case.words else failed
        return tell(check, words, None, "Return a tensor of the shape that the reference has.")
    if ours.dtype != other.dtype:
        words = f"{what} comes in {brief(ours.dtype)} where that of {ref} comes in {brief(other.dtype)}."
        tell = failed if torch.promote_types(ours.dtype, other.dtype) == other.dtype else warned
        return tell(check, words, None, "Compute in the dtype of the input: x.new_tensor, not torch.tensor.")
    x = case.args[0].detach() if subject.is_elementwise and case.args[0].shape == ours.shape else None
    margin = allowed(subject, other, x.double().abs() if is_forward and x is not None else 1.0)
    index = worst(ours, other, margin, x)
    if index is None:
        return None
    a, b = ours.flatten()[index], other.flatten()[index]
    factor = _factor(ours, other)
    shown = case.args if x is None else (x.flatten()[index],)
    g = None if is_forward else torch.ones(()) if x is None else simple(ours).flatten()[index]
    words = f"{what} is not that of {ref}{case.words}: {told(a)}, not {told(b)}"
    if factor is not None:
        words += f"; each is {factor:.6g} times as large" if factor else "; all are 0"
    advice = _advice(ours, other, factor, is_forward=is_forward)
    example = call_text(shown, a, b, ref, g)
    return failed(check, f"{words}.", example, advice, largest_difference=_difference(ours, other))


def _advice(ours: Tensor, other: Tensor, factor: float | None, *, is_forward: bool) -> str:
    """What to do about numbers that differ."""
    single = ROUNDING[torch.float32] * (1 + _difference(other, 0 * other))
    if is_single(ours) and _difference(ours, other) <= single:
        return "It has float32 digits only: compute in the dtype of the input, without .float()."
    if factor == 0:
        return "Return it from backward, in the place of its argument; use no .detach() in forward."
    if factor is not None:
        return "A factor is missing or too much, as where a sum is taken for a mean."
    backward = "Return the slope times grad_output from backward."
    return "See what forward computes." if is_forward else backward


def low_precision(subject: Subject) -> Finding:
    """In bfloat16 and float16 it is right, at every number that there is where it is elementwise."""
    check, num_values, most, ref = "low_precision", 0, 0.0, subject.reference_name
    for dtype in (torch.bfloat16, torch.float16):
        args: tuple[Any, ...] = subject.sample(dtype)
        if subject.is_elementwise:
            args = (_every(subject, dtype).requires_grad_(),)
        found, times, is_taken = _half(subject, dtype, args)
        if found:
            return found
        most = max(most, times)
        sizes = [arg.numel() for arg in args if isinstance(arg, Tensor) and arg.dtype == dtype]
        num_values += is_taken * sum(sizes)
    if not num_values:
        return skipped(check, "Nothing in it is in bfloat16 or float16, or the reference refuses these.")
    if ref is None:
        words = "It answers bfloat16 in bfloat16, and float16 in float16."
        return passed(check, words, num_values=num_values)
    how = "no more than" if most <= 1 else f"at most {most:.2g} times as much as"
    words = f"In bfloat16 and float16 it errs {how} {ref}, at {num_values:,} numbers."
    return passed(check, words, num_values=num_values, times_reference_error=most)


def _half(subject: Subject, dtype: torch.dtype, args: Sequence[Any]) -> tuple[Finding | None, float, bool]:
    """What is wrong in a dtype; how many times the reference's error it errs; whether that takes it."""
    upstream = everywhere(1.0) if subject.is_elementwise else lambda drawn: drawn.to(dtype).to(drawn.dtype)
    call, reference = pair(subject, dtype)
    try:
        theirs = pulled(reference, args, upstream) if reference else None
    except Exception:  # then this needn't take it, either
        return None, 0.0, False
    try:
        mine = pulled(call, args, upstream)
    except Exception as error:
        return loud("low_precision", f" in {brief(dtype)}", error), 0.0, True
    found = _other_dtype(mine[0][0].dtype, theirs[0][0].dtype if theirs else dtype)
    if found or not theirs:
        return found, 0.0, True
    exact = pair(subject, torch.float64, moved(call, torch.float64))
    ours, rights = (pulled(each, copies(args, torch.float64), upstream) for each in exact if each)
    most = 0.0
    for place, kind in enumerate(("answer", "gradient")):
        for four in zip(mine[place], theirs[place], ours[place], rights[place], strict=False):
            if four[0].dtype == dtype:
                found, times = _errs(subject, kind, args, *four)
                most = max(most, times)
            if found:
                return found, most, True
    return None, most, True


def _other_dtype(found: torch.dtype, wanted: torch.dtype) -> Finding | None:
    """Whether it answers in another dtype than it should."""
    if found == wanted or not (found.is_floating_point and wanted.is_floating_point):
        return None
    words = f"It answers in {brief(found)} where {brief(wanted)} is expected."
    tell = failed if torch.finfo(found).eps > torch.finfo(wanted).eps else warned
    advice = "Return answer.to(x.dtype): the next layer has weights of that dtype."
    return tell("low_precision", words, None, advice)


def _errs(
    subject: Subject, kind: str, args: Sequence[Any], low: Tensor, theirs: Tensor, own: Tensor, right: Tensor
) -> tuple[Finding | None, float]:
    """Where it errs by more than twice what the reference does and some rounding; the ratio of their errors.

    `own` and `right` are what both give in float64: where these differ, other checks tell.
    """
    ref, info = subject.reference_name, torch.finfo(low.dtype)
    x = args[0].detach() if subject.is_elementwise and low.shape == args[0].shape else None
    beside = x.double().abs().clamp(max=1.0) if x is not None and kind == "answer" else torch.ones(())
    error, size = (theirs.double() - right).abs(), right.abs().nan_to_num(0.0, 0.0, 0.0)
    if x is None and error.numel():
        error, size = error.max().expand_as(error), size.max().expand_as(size)
    margin = 2 * error.nan_to_num(torch.inf) + FEW_DIGITS * info.eps * (size + beside + info.smallest_normal)
    is_same = (low == theirs) | (low.isnan() & theirs.isnan()) | ~((own - right).abs() <= margin)
    index = worst(torch.where(is_same, right, low.double()), right, margin, x)
    if index is None:
        theirs_most = _difference(theirs, right)
        return None, _difference(low, right) / theirs_most if theirs_most else 0.0
    a, b = low.flatten()[index], theirs.flatten()[index]
    words = f"In {brief(low.dtype)} its {kind} is far from that of {ref}: {told(a)}, not {told(b)}."
    advice = "Compute in float32 within, by x.float(), and return the answer in the dtype of the input."
    g = torch.ones(()) if kind == "gradient" else None
    shown = args if x is None else (x.flatten()[index],)
    return failed("low_precision", words, call_text(shown, a, b, ref, g), advice), 0.0


def _cases(subject: Subject, dtype: torch.dtype) -> Iterator[Case]:
    if subject.is_elementwise:
        yield Case((line(subject, dtype).requires_grad_(),))
        for shape in ((), (1,), (3, 1, 4)):
            yield Case(subject.sample(dtype, shape=shape), f" for a tensor of the shape {shape}")
        return
    for seed in range(3):
        yield Case(subject.sample(dtype, seed=seed))
    large = changed(subject.sample(dtype), lambda arg: 1000.0 * arg if arg.is_floating_point() else arg)
    yield Case(large, LARGE)
    yield Case(
        changed(subject.sample(dtype), _turned), " for tensors whose columns lie together, as after .T"
    )


def _turned(arg: Tensor) -> Tensor:
    order = tuple(reversed(range(arg.dim())))
    return arg.permute(order).contiguous().permute(order)


def _every(subject: Subject, dtype: torch.dtype) -> Tensor:
    """All finite numbers of a dtype of 16 bits that are no kinks, (entries,)."""
    x = torch.arange(-(2**15), 2**15).to(torch.int16).view(dtype)
    x = x[x.isfinite()]
    for place in subject.kinks:
        x = x[x != torch.tensor(place, dtype=dtype)]
    return apart(subject, x, by=0.0)


def simple(drawn: Tensor) -> Tensor:
    """An upstream gradient of a few numbers that are told easily."""
    values = torch.tensor(SIMPLE, dtype=drawn.dtype)
    return values[torch.arange(drawn.numel()) % len(SIMPLE)].reshape(drawn.shape)


def _factor(ours: Tensor, other: Tensor) -> float | None:
    """How many times as large all numbers are, if it is one factor."""
    a, b = ours.double().flatten(), other.double().flatten()
    is_told = b.isfinite() & (b.abs() > 1e-3 * b.abs().nan_to_num(0.0, 0.0, 0.0).max())
    ratios = a[is_told] / b[is_told]
    is_one = len(ratios) > 1 and bool(((ratios - ratios[0]).abs() <= 1e-6 * ratios[0].abs()).all())
    return float(ratios[0]) if is_one and abs(float(ratios[0]) - 1) > 1e-6 else None


def _difference(one: Tensor, other: Tensor) -> float:
    """The largest finite one."""
    error = (one.double() - other.double()).abs().nan_to_num(0.0, 0.0, 0.0)
    return float(error.max()) if error.numel() else 0.0
