"""What an object remembers besides its weights, as plain data that can be compared."""

from __future__ import annotations

import functools
import logging
import random
import types
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

PLAIN: tuple[type, ...] = (bool, int, str, bytes, type(None), torch.dtype, torch.device)
Snapshot = dict[str, Any]  # of each value that is found, by its path from the object


def snapshot(thing: Any) -> Snapshot:
    """All that a module, a function or another object holds, and what those hold.

    Of weights it has the shapes only, of what Python can't look into the type.

    >>> net = nn.Linear(2, 1)
    >>> before = snapshot(net)
    >>> net.scale = [0.5]
    >>> difference(before, snapshot(net))
    'scale'
    """
    found: Snapshot = {}
    seen: dict[int, tuple[str, Any]] = {}  # by id, and kept alive, for ids are used again
    left = [("", thing)]
    while left:
        path, value = left.pop()
        if id(value) in seen and not isinstance(value, (*PLAIN, float, complex)):
            found[path] = "as", seen[id(value)][0]
            continue
        seen[id(value)] = path, value
        found[path] = _leaf(value)
        left += [(f"{path}.{name}".lstrip("."), part) for name, part in dict(_parts(value)).items()]
    return found


def difference(one: Snapshot, other: Snapshot) -> str | None:
    """The first path at which two snapshots differ, if there is one."""
    paths = dict.fromkeys((*one, *other))
    missing = object()
    return next((path for path in paths if one.get(path, missing) != other.get(path, missing)), None)


def _leaf(value: Any) -> Any:
    """What can be said of a value without its parts."""
    if isinstance(value, nn.Parameter):
        return "weight", value.shape, value.dtype, value.requires_grad
    if isinstance(value, Tensor):
        return value.shape, value.dtype, value.requires_grad, _bytes(value)
    if isinstance(value, np.ndarray):
        return value.shape, value.dtype, value.tobytes()
    if isinstance(value, PLAIN):
        return type(value), value
    if isinstance(value, torch.Generator):
        return _bytes(value.get_state())
    if isinstance(value, type | types.ModuleType | types.BuiltinFunctionType | types.FunctionType):
        return getattr(value, "__module__", ""), getattr(value, "__qualname__", value.__name__)
    if isinstance(value, float | complex | set | frozenset | np.generic):
        return type(value), repr(value)  # equal for NaN, too
    return type(value), list(map(repr, value)) if isinstance(value, Mapping) else None


def _bytes(value: Tensor) -> bytes:
    if value.layout != torch.strided:
        return repr(value).encode()
    return bytes(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    """What a value consists of, or refers to, by name."""
    if isinstance(value, (*PLAIN, Tensor, np.ndarray, type, types.ModuleType, logging.Logger)):
        return
    if isinstance(value, Mapping):
        yield from ((str(name), part) for name, part in value.items())
    elif isinstance(value, list | tuple):
        yield from ((str(number), part) for number, part in enumerate(value))
    elif isinstance(value, types.FunctionType):
        cells = zip(value.__code__.co_freevars, value.__closure__ or (), strict=True)
        yield from ((name, cell.cell_contents) for name, cell in cells)
        yield "defaults", (value.__defaults__, value.__kwdefaults__)
    elif isinstance(value, types.MethodType):
        yield from (("func", value.__func__), ("self", value.__self__))
    elif isinstance(value, functools.partial):
        yield from (("func", value.func), ("args", value.args), ("keywords", value.keywords))
    elif isinstance(value, random.Random):
        yield "state", value.getstate()
    elif isinstance(value, np.random.Generator):
        yield "state", value.bit_generator.state
    slots = (name for kind in type(value).__mro__ for name in getattr(kind, "__slots__", ()))
    yield from ((name, getattr(value, name)) for name in slots if hasattr(value, name))
    yield from getattr(value, "__dict__", {}).items()
