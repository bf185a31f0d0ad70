"""The autograd Functions that a call goes through, and where their code is."""

from __future__ import annotations

import hashlib
import inspect
import os
import sys
import sysconfig
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from torch.autograd import Function

from primer.verify.graphs import custom_nodes
from primer.verify.subject import tensors_of


def functions_of(answer: Any) -> tuple[type[Function], ...]:
    """The Functions, each once, whose backward a gradient of this answer would call.

    >>> functions_of([])
    ()
    """
    return tuple(dict.fromkeys(type(node)._forward_cls for node in custom_nodes(tensors_of(answer))))


def source_hash(parts: Iterable[Any]) -> str:
    """16 hex digits of the code that these classes and functions come from.

    All of the user's own code beside it counts, since a helper in another file may be what changed: every
    module loaded from the folder of a part's top package, or of its file.
    """
    roots = tuple({f"{root}{os.sep}" for part in parts if (root := _root(part))})
    files = {str(getattr(module, "__file__", None)) for module in list(sys.modules.values())}
    digest = hashlib.sha256()
    for file in sorted(file for file in files if file.startswith(roots) and file.endswith(".py")):
        with suppress(OSError):
            digest.update(Path(file).read_bytes())
    for part in parts:
        digest.update(_text(part).encode())
    return digest.hexdigest()[:16]


def code_hash() -> str:
    """16 hex digits of all Python code that is loaded, but for the standard library and installed packages.

    A verdict may depend on any of it: a helper in another folder, a reference in another module.
    """
    standard = sysconfig.get_path("stdlib")
    files = {str(getattr(module, "__file__", None)) for module in list(sys.modules.values())}
    digest = hashlib.sha256()
    for file in sorted(file for file in files if file.endswith(".py")):
        if "site-packages" not in file and "dist-packages" not in file and not file.startswith(standard):
            with suppress(OSError):
                digest.update(Path(file).read_bytes())
    return digest.hexdigest()[:16]


def _root(part: Any) -> Path | None:
    """The folder of a part's code: of its top package, else of its file; None for what came with Python."""
    module = sys.modules.get(getattr(part, "__module__", "") or "")
    file = getattr(module, "__file__", None)
    if module is None or file is None or "site-packages" in file:
        return None
    depth = module.__name__.count(".")
    return Path(file).parents[depth] if depth < len(Path(file).parents) else Path(file).parent


def _text(part: Any) -> str:
    try:
        return inspect.getsource(part)
    except (OSError, TypeError):  # typed at a prompt, or not Python
        return repr(part)
