"""Other devices: are the answers and gradients there those of the CPU?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from primer.verify.calling import detached, reason
from primer.verify.comparing import (
    UNREPEATABLE,
    Difference,
    difference,
    is_repeatable,
    silence,
    telling,
    values_of,
)
from primer.verify.findings import Finding, failed, passed, skipped, together, warned
from primer.verify.subject import Subject, moved

# chosen: relative, and what is added to an entry's size. Matrix products and convolutions may use TF32, whose
# numbers are good to 5e-4; exponentials and the like differ between devices in the last bits.
ROUNDINGS = {torch.float64: (1e-9, 1e-3), torch.float32: (1e-4, 1e-1)}
PRODUCTS = {torch.float64: (1e-9, 1e-3), torch.float32: (5e-3, 1e-2)}


def devices(subject: Subject) -> Finding:
    """Whether each accelerator that is here (cuda, mps) gives what the CPU gives."""
    present = accelerators()
    if not present:
        return skipped("devices", "no other device here")
    if not is_repeatable(subject):
        return skipped("devices", UNREPEATABLE)
    return together([on_device(subject, device) for device in present])


def accelerators() -> list[torch.device]:
    """The kinds of device that this torch can use here, besides the CPU."""
    found = torch.accelerator.current_accelerator(check_available=True)
    return [] if found is None else [torch.device(found.type)]


def on_device(subject: Subject, device: torch.device) -> Finding:
    """What is found on one device."""
    dtypes = [torch.float32] if device.type == "mps" else [torch.float32, torch.float64]  # mps has no float64
    for dtype in dtypes:
        args, call = telling(subject, dtype), subject.at(dtype)
        expected = values_of(call, args, subject)
        try:
            with silence():
                found = values_of(moved(call, device), _sent(args, device), subject)
        except Exception as error:
            advice = "Make new tensors from the inputs (torch.zeros_like(x)), and keep others as buffers."
            return warned("devices", f"It raises on {device.type}.", reason(error), advice)
        rounding = (ROUNDINGS if subject.is_elementwise else PRODUCTS)[dtype]
        differs = difference(found, expected, subject, *rounding)
        if differs:
            return _wrong(subject, device, differs, args)
    return passed("devices", f"Answers and gradients on {device.type} are those of the CPU.")


def _wrong(subject: Subject, device: torch.device, differs: Difference, args: Sequence[Any]) -> Finding:
    sentence = f"On {device.type} it gives other numbers than on the CPU, without an error."
    advice = "Look at what it writes in place, and at code of its own for that device."
    return failed("devices", sentence, f"{device.type}: {differs.shown(subject, args)}", advice)


def _sent(args: Sequence[Any], device: torch.device) -> tuple[Any, ...]:
    """The same arguments there, leaves of their own."""
    return tuple(
        there.to(device).requires_grad_(arg.requires_grad) if isinstance(arg, Tensor) else arg
        for arg, there in zip(args, detached(args), strict=True)
    )
