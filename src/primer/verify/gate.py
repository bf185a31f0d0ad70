"""The gate of a run: custom Functions of its net and criterion are verified before it trains.

Verdicts are kept by code, torch version and arguments, so that the same code is verified once.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from primer.verify.ask import undisturbed, verification_of
from primer.verify.calls import calls_in, inputs_of
from primer.verify.findings import Finding, Verdict, Verification
from primer.verify.functions import source_hash
from primer.verify.spec import Spec
from primer.verify.subjects import subject_of_function

# What ends a run under verification=require: its numbers would be wrong.
GRAVE = ("reference_forward", "reference_backward", "gradcheck", "linearity")
LARGEST = 512  # entries of all tensors of a function of several: finite differences take a call for each


def verifications_of(run: Callable[[], Any], cache: Path | None) -> list[Verification]:
    """Verify, fast, each custom Function that `run()` goes through; `cache` is a folder of known verdicts.

    Random generators, weights and gradients are left as they were.
    """
    with undisturbed():
        calls = calls_in(run)
        return [_verified(function, args, cache) for function, args in calls.items()]


def _verified(function: Any, args: Sequence[Any] | None, cache: Path | None) -> Verification:
    key = _key(function, args)
    known = _known(cache, key)
    if known:
        return known
    spec = Spec.of(getattr(function, "verify", None), function.__name__)
    if args is not None and spec.inputs is None and _size(args) <= LARGEST:
        spec = dataclasses.replace(spec, inputs=inputs_of(args))
    found = verification_of(subject_of_function(function, spec), fast=True)
    if cache:
        with suppress(OSError):
            cache.mkdir(parents=True, exist_ok=True)
            temporary = cache / f".{key}"
            temporary.write_text(found.to_json())
            temporary.replace(cache / f"{key}.json")
    return found


def _size(args: Sequence[Any]) -> int:
    return sum(arg.numel() for arg in args if isinstance(arg, Tensor))


def _key(function: Any, args: Sequence[Any] | None) -> str:
    from primer.verify import checks

    told = [(str(arg.dtype), list(arg.shape)) if isinstance(arg, Tensor) else repr(arg) for arg in args or ()]
    code = source_hash([function, checks.Check])
    words = json.dumps([function.__module__, function.__qualname__, code, torch.__version__, told])
    return hashlib.sha256(words.encode()).hexdigest()[:16]


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
