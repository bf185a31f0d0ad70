"""Build the object that a config node names: `_target_` is the registry.

A small stand-in for `hydra.utils.instantiate`, which returns a private partial that costs 107
microseconds a call (measured) and needs OmegaConf in the worker.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from primer.config.wording import did_you_mean
from primer.errors import ConfigError


def import_from_here() -> None:
    """Let the parts in the working directory be found; last, so that none hides a library."""
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))


def locate(path: str, group: str) -> Callable[..., Any]:
    """The callable at a dotted path; `group` is the part that names it, for messages.

    >>> locate("collections.OrderedDict", "mapping")
    <class 'collections.OrderedDict'>
    """
    place = f"{group}._target_={path}"
    module_name, _, name = path.rpartition(".")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if not f"{module_name}.".startswith(f"{error.name}."):
            raise  # a missing import inside the user's own module: show where
        raise ConfigError(f"{place}: no module {error.name!r}") from None
    if not hasattr(module, name):
        raise ConfigError(f"{place}: no {name!r} in {module_name!r}{did_you_mean(name, dir(module))}")
    found = getattr(module, name)
    if not callable(found):
        raise ConfigError(f"{place}: expected a class or function, found {type(found).__name__}")
    return found  # type: ignore[no-any-return]


def build(node: dict[str, Any], group: str, /, *args: Any, **given: Any) -> Any:
    """Call the node's `_target_` with `args`, `given` and the node's own keys.

    A call that the target's signature refuses is a ConfigError that names both sides.

    >>> build({"_target_": "fractions.Fraction", "denominator": 4}, "number", numerator=3)
    Fraction(3, 4)
    """
    target = locate(node["_target_"], group)
    own = {name: value for name, value in node.items() if name != "_target_"}
    try:
        inspect.signature(target).bind(*args, **{**given, **own})
    except TypeError as error:
        passed = ", ".join([*(type(arg).__name__ for arg in args), *given, *own])
        raise ConfigError(
            f"{group}._target_={node['_target_']}: {error}; primer calls it with ({passed})"
        ) from None
    return target(*args, **{**given, **own})


def accepts(node: dict[str, Any], group: str, name: str) -> bool:
    """Whether the node's `_target_` takes a keyword of that name.

    >>> accepts({"_target_": "fractions.Fraction"}, "number", "numerator")
    True
    """
    return name in inspect.signature(locate(node["_target_"], group)).parameters
