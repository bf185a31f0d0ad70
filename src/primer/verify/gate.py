"""The gate of a run: custom Functions of its net and criterion are verified before it trains.

Verdicts are kept by code, torch version and arguments, so that the same code is verified once.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import json
import pkgutil
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from primer.errors import ConfigError, RunError
from primer.files import write_atomically
from primer.verify.ask import undisturbed, verification_of
from primer.verify.calls import calls_in, inputs_of
from primer.verify.findings import Finding, Verdict, Verification, failed, on_purpose
from primer.verify.functions import code_hash, source_hash
from primer.verify.spec import CALLED, Spec
from primer.verify.subjects import subject_of_function

# What ends a run under verification=require: its numbers would be wrong.
GRAVE = ("reference_forward", "reference_backward", "single_precision", "gradcheck", "linearity", CALLED)
AS_THEY_ARE = 1 << 40
LARGEST = 5  # chosen: of a dimension; finite differences take a call for each entry


def verifications_of(run: Callable[[], Any], cache: Path | None) -> list[Verification]:
    """Verify, fast, each custom Function that `run()` goes through; `cache` is a folder of known verdicts.

    Random generators, weights and gradients are left as they were.
    """
    with undisturbed():
        calls = calls_in(run)
        kinds: list[tuple[Any, Sequence[Any] | None]] = []
        for function, known in calls.items():
            kinds += [(function, args) for args in known] or [(function, None)]
        found = [_verified(function, args, cache) for function, args in kinds]
    return sorted(found, key=lambda one: one.verdict is Verdict.FAIL)  # of one name the wrong one counts


def _verified(function: Any, args: Sequence[Any] | None, cache: Path | None) -> Verification:
    key = _key(function, args)
    known = _known(cache, key)
    if known:
        return known
    found = _looked_at(function, args)
    if cache:
        with suppress(OSError, RunError):
            cache.mkdir(parents=True, exist_ok=True)
            write_atomically(cache / f"{key}.json", found.to_json().encode())
    return found


def _looked_at(function: Any, args: Sequence[Any] | None) -> Verification:
    """What the fast checks find, with arguments like the given ones, small if it takes such."""
    because = None
    try:
        spec = Spec.of(getattr(function, "verify", None), function.__name__)
        because = spec.because.get(CALLED)
        specs = [spec]
        if args is not None and spec.inputs is None:
            like = [inputs_of(args, largest=largest) for largest in (LARGEST, AS_THEY_ARE)]
            specs = [dataclasses.replace(spec, inputs=inputs) for inputs in like]
        for spec in specs:
            try:
                return verification_of(subject_of_function(function, spec), fast=True)
            except ConfigError as error:
                problem = str(error)
    except ConfigError as error:  # of what is declared
        problem = str(error)
    words, advice = f"It could not be verified: {problem}", "Declare its inputs, or why it can't be called."
    finding = on_purpose(failed(CALLED, words, None, advice), because)
    versions = {"torch": str(torch.__version__)}
    return Verification(function.__name__, None, {}, source_hash([function]), versions, 0.0, (finding,))


def _captured(function: Any) -> list[str]:
    """What a class knows that its code does not tell: numbers of its own, and of where it was made."""
    known = [f"{name}={_told(value)}" for name, value in vars(function).items() if not name.startswith("__")]
    methods = [getattr(value, "__func__", value) for value in vars(function).values()]
    cells = [cell for method in methods for cell in getattr(method, "__closure__", None) or ()]
    return [re.sub(r" at 0x[0-9a-f]+", "", text) for text in [*known, *map(_content, cells)]]


def _content(cell: Any) -> str:
    try:
        return _told(cell.cell_contents)
    except ValueError:  # not filled yet
        return ""


def _told(value: Any) -> str:
    """A value, whole: a large tensor prints some of its entries."""
    if isinstance(value, Tensor) and value.layout is torch.strided and not value.is_quantized:
        data = value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
        return f"{value.dtype} {tuple(value.shape)} {hashlib.sha256(data).hexdigest()}"
    return repr(value)


def _key(function: Any, args: Sequence[Any] | None) -> str:
    with suppress(ImportError, AttributeError, ValueError):  # else the verdict tells
        reference = (getattr(function, "verify", None) or {}).get("reference")
        pkgutil.resolve_name(reference) if isinstance(reference, str) else None  # its code counts, too
    told = [_kind(arg) for arg in args or ()]
    versions = [torch.__version__, importlib.metadata.version("torch-primer")]
    words = json.dumps(
        [function.__module__, function.__qualname__, code_hash(), versions, told, _captured(function)]
    )
    return hashlib.sha256(words.encode()).hexdigest()[:16]


def _kind(arg: Any) -> Any:
    if isinstance(arg, Tensor):
        return str(arg.dtype), list(arg.shape), arg.requires_grad
    return _told(arg)


def _known(cache: Path | None, key: str) -> Verification | None:
    if cache is None:
        return None
    try:
        fields = json.loads((cache / f"{key}.json").read_text())
        fields.pop("verdict")
        fields["findings"] = tuple(
            Finding(**one | {"verdict": Verdict(one["verdict"])}) for one in fields["findings"]
        )
        return Verification(**fields)
    except (OSError, ValueError, TypeError, KeyError):  # not there, or not whole
        return None


def grave(found: Verification) -> list[Finding]:
    """What of it makes a training wrong."""
    return [one for one in found.findings if one.verdict is Verdict.FAIL and one.check in GRAVE]
