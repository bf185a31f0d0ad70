"""torch.export and ONNX: does the stored program answer as the function does, and what of the backward?"""

from __future__ import annotations

import importlib
import io
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from primer.verify.calling import detached, reason
from primer.verify.comparing import (
    LOW_ROUNDING,
    UNREPEATABLE,
    answers_of,
    as_module,
    difference,
    is_repeatable,
    silence,
    telling,
    values_of,
)
from primer.verify.findings import Finding, failed, passed, skipped, warned
from primer.verify.subject import Subject

ONNX = ("onnx", "onnxscript", "onnxruntime")


def export(subject: Subject) -> Finding:
    """Whether torch.export keeps the answers, and whether the derivative of what it keeps is the same."""
    if not is_repeatable(subject):
        return skipped("export", UNREPEATABLE)
    module, (args, others) = _module(subject, torch.float64), _two(subject, torch.float64)
    try:
        with silence():
            again = _reloaded(module, args)
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
    if not is_repeatable(subject):
        return skipped("onnx", UNREPEATABLE)
    module, (args, others) = _module(subject, torch.float32), _two(subject, torch.float32)
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


def _module(subject: Subject, dtype: torch.dtype) -> nn.Module:
    """A module that calls it, as it is when it answers rather than learns."""
    return as_module(subject.at(dtype)).eval()


def _two(subject: Subject, dtype: torch.dtype) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Arguments to export with and others to try: what was computed outside torch is stored as a constant."""
    if not subject.is_elementwise:
        return subject.sample(dtype, seed=1), subject.sample(dtype)
    (grid,) = telling(subject, dtype)
    return (grid.detach().flip(0).requires_grad_(),), (grid,)


def _reloaded(module: nn.Module, args: tuple[Any, ...]) -> nn.Module:
    stored = io.BytesIO()
    torch.export.save(torch.export.export(module, args), stored)
    return torch.export.load(io.BytesIO(stored.getvalue())).module()


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
