"""Taken elsewhere, does it answer the same? A module around it copied, stored and exported, other devices."""

from __future__ import annotations

import copy
import importlib
import io
import pickle
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from primer.verify.calling import as_module, changed, detached, reason
from primer.verify.comparing import (
    LOW_ROUNDING,
    answers_of,
    difference,
    require_repeatable,
    silence,
    telling,
    values_of,
)
from primer.verify.findings import Finding, failed, passed, skipped, together, warned
from primer.verify.subject import Subject, moved

ONNX = ("onnx", "onnxscript", "onnxruntime")
# chosen: relative, and what is added to an entry's size. Matrix products and convolutions may use TF32, whose
# numbers are good to 5e-4; exponentials and the like differ between devices in the last bits.
ROUNDINGS = {torch.float64: (1e-9, 1e-3), torch.float32: (1e-4, 1e-1)}
PRODUCTS = {torch.float64: (1e-9, 1e-3), torch.float32: (5e-3, 1e-2)}


def module(subject: Subject) -> Finding:
    """Whether a module around it can be copied, pickled, stored and shown, and answers the same then."""
    require_repeatable(subject)
    whole = as_module(subject.at(torch.float64))
    args = telling(subject)
    expected = values_of(whole, args, subject)
    found = [_unseen(whole)]
    for way, (again, advice) in WAYS.items():
        try:
            differs = difference(values_of(again(whole), args, subject), expected, subject)
        except Exception as error:
            found.append(warned("module", f"It can't be {way}: {reason(error)}", None, advice))
            continue
        if differs:
            sentence = f"A module around it answers differently after it was {way}."
            found.append(failed("module", sentence, differs.shown(subject, args), advice))
    return together(found)


def _unseen(whole: nn.Module) -> Finding:
    """Tensors that are neither parameters nor buffers, which no optimizer or checkpoint sees."""
    attributes = [pair for each in whole.modules() for pair in vars(each).items()]
    plain = {name: part for name, part in attributes if isinstance(part, Tensor)}
    learned = [name for name, part in plain.items() if part.requires_grad]
    if learned:
        sentence = f"self.{learned[0]} is a plain tensor that takes a gradient: no optimizer changes it."
        example = f"{learned[0]!r} in dict(module.named_parameters())  # False"
        return failed("module", sentence, example, f"self.{learned[0]} = nn.Parameter(...) makes it learn.")
    if plain:
        name = next(iter(plain))
        sentence = f"self.{name} is a plain tensor: not in the checkpoint, and left behind by .to(device)."
        return warned("module", sentence, None, f"Use self.register_buffer({name!r}, ...).")
    return passed("module", "A module around it can be copied, pickled, stored as state_dict, and shown.")


def _reloaded(whole: nn.Module) -> nn.Module:
    """A copy with other weights into which the stored ones are loaded, as a checkpoint is."""
    stored = io.BytesIO()
    torch.save(whole.state_dict(), stored)
    again = copy.deepcopy(whole)
    for value in again.state_dict().values():
        value.zero_()
    again.load_state_dict(torch.load(io.BytesIO(stored.getvalue()), weights_only=True))
    return again


def _shown_again(whole: nn.Module) -> nn.Module:
    repr(whole)
    return whole


WAYS: dict[str, tuple[Callable[[nn.Module], nn.Module], str]] = {
    "deep-copied": (copy.deepcopy, "Keep only plain values, parameters and buffers on the module."),
    "pickled": (
        lambda whole: pickle.loads(pickle.dumps(whole)),
        "Give it a name at the top level of a file (no lambda, nothing inside a function): "
        "worker processes and torch.save look it up by that name.",
    ),
    "reloaded from its state_dict": (
        _reloaded,
        "Keep learned weights as nn.Parameter and other tensors as buffers.",
    ),
    "shown by repr()": (_shown_again, "Mend its extra_repr or __repr__."),
}


def export(subject: Subject) -> Finding:
    """Whether torch.export keeps the answers, and whether the derivative of what it keeps is the same."""
    require_repeatable(subject)
    module, (args, others) = as_module(subject.at(torch.float64)).eval(), _two(subject, torch.float64)
    stored = io.BytesIO()
    try:
        with silence():
            torch.export.save(torch.export.export(module, args), stored)
            again = torch.export.load(io.BytesIO(stored.getvalue())).module()
    except Exception as error:
        sentence = "torch.export can't export a module that calls it; training is not affected."
        return warned("export", sentence, reason(error), _PLAIN)
    found, expected = (values_of(each, others, subject) for each in (again, module))
    differs = difference(found, expected, subject)
    if differs and differs.what.startswith("answer"):
        sentence = "The program of torch.export, stored and loaded, gives other numbers, without an error."
        return failed("export", sentence, f"exported: {differs.shown(subject, others)}", _PLAIN)
    kept = "torch.export keeps the answers, but no backward: who trains the stored program further does so"
    if differs:
        example = f"exported: {differs.shown(subject, others)}"
        advice = "Use the stored program for answers only; train from the code and a checkpoint."
        return warned("export", f"{kept} with the forward's own derivative, which differs.", example, advice)
    return passed("export", f"{kept} with the forward's own derivative, here the same.")


_PLAIN = "Stay with torch operations in forward: no .item(), no numpy, no if on values of a tensor."


def onnx(subject: Subject) -> Finding:
    """Whether onnxruntime answers the same from what torch.onnx.export wrote, in float32."""
    missing = [name for name in ONNX if find_spec(name) is None]
    if missing:
        return skipped("onnx", f"needs other packages: pip install {' '.join(missing)}")
    require_repeatable(subject)
    module, (args, others) = as_module(subject.at(torch.float32)).eval(), _two(subject, torch.float32)
    try:
        with silence():
            answers = _answered(module, detached(args), detached(others))
    except Exception as error:
        sentence = "It can't be written as ONNX, or onnxruntime can't run it; training is not affected."
        return warned("onnx", sentence, reason(error.__cause__ or error), _PLAIN)
    with torch.no_grad():
        expected = answers_of(module(*others))
    differs = difference(dict(zip(expected, answers, strict=True)), expected, subject, *LOW_ROUNDING)
    if not differs:
        return passed("onnx", "Written as ONNX, onnxruntime gives the same answers.")
    sentence = "Written as ONNX, onnxruntime gives other numbers, without an error."
    return failed("onnx", sentence, f"onnxruntime: {differs.shown(subject, others)}", _PLAIN)


def _two(subject: Subject, dtype: torch.dtype) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Arguments to export with and others to try: what was computed outside torch is stored as a constant."""
    if not subject.is_elementwise:
        return subject.sample(dtype, seed=1), subject.sample(dtype)
    grid = telling(subject, dtype)
    return changed(grid, lambda points: points.flip(0)), grid


def _answered(module: nn.Module, args: tuple[Any, ...], others: tuple[Any, ...]) -> list[Tensor]:
    """What onnxruntime answers for the others."""
    onnxruntime: Any = importlib.import_module("onnxruntime")
    program = torch.onnx.export(module, args, dynamo=True, verbose=False)
    assert program
    written = program.model_proto.SerializeToString()
    session = onnxruntime.InferenceSession(written, providers=["CPUExecutionProvider"])
    tensors = [arg.numpy() for arg in others if isinstance(arg, Tensor)]
    names = [given.name for given in session.get_inputs()]
    return [torch.as_tensor(answer) for answer in session.run(None, dict(zip(names, tensors, strict=True)))]


def devices(subject: Subject) -> Finding:
    """Whether the accelerator that is here (cuda, mps) gives what the CPU gives."""
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    if accelerator is None:
        return skipped("devices", "no other device here")
    require_repeatable(subject)
    device = torch.device(accelerator.type)
    dtypes = [torch.float32] if device.type == "mps" else [torch.float32, torch.float64]  # mps has no float64
    for dtype in dtypes:
        args, call = telling(subject, dtype), subject.at(dtype)
        expected = values_of(call, args, subject)
        try:
            with silence():
                there = changed(args, partial(Tensor.to, device=device))
                found = values_of(moved(call, device), there, subject)
        except Exception as error:
            advice = "Make new tensors from the inputs (torch.zeros_like(x)), and keep others as buffers."
            return warned("devices", f"It raises on {device.type}.", reason(error), advice)
        rounding = (ROUNDINGS if subject.is_elementwise else PRODUCTS)[dtype]
        differs = difference(found, expected, subject, *rounding)
        if differs:
            sentence = f"On {device.type} it gives other numbers than on the CPU, without an error."
            advice = "Look at what it writes in place, and at code of its own for that device."
            return failed("devices", sentence, f"{device.type}: {differs.shown(subject, args)}", advice)
    return passed("devices", f"Answers and gradients on {device.type} are those of the CPU.")
