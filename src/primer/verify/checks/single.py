"""Is it in float32, in which it trains, what it is in float64, in which its gradient is looked at?"""

from __future__ import annotations

from typing import Any

import torch

from primer.verify.calling import copies, line, pulled
from primer.verify.checks.values import simple
from primer.verify.findings import Finding, failed, passed, skipped
from primer.verify.subject import Subject
from primer.verify.telling import told

FAR_OFF = 0.01  # chosen, relative: far more than rounding of a sum of some numbers
MOST_RIGHT = 0.1  # chosen: the share of entries that may lie beside a jump of the function


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
