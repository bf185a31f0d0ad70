"""The autograd Functions that a call goes through: in the graph behind its answer, and their code."""

from __future__ import annotations

import hashlib
import inspect
import os
import sys
import sysconfig
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.autograd import Function

from primer.verify.subject import tensors_of


def nodes(answers: Iterable[Tensor]) -> Iterator[Any]:
    """The graph behind these answers, leaves left out."""
    waiting: list[Any] = [answer.grad_fn for answer in answers]
    seen = set[Any]()
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen and not hasattr(node, "variable"):
            seen.add(node)
            yield node
            waiting += [following for following, _ in node.next_functions]


def custom_nodes(answers: Iterable[Tensor]) -> list[Any]:
    """The contexts (`ctx`) of the custom Functions that a backward from here would go through."""
    return [node for node in nodes(answers) if hasattr(node, "_forward_cls")]


def held(node: Any) -> dict[str, Tensor]:
    """The tensors that a context holds as attributes, by name: autograd knows nothing of them."""
    found: dict[str, Tensor] = {}
    waiting = list(vars(node).items())
    while waiting:
        name, value = waiting.pop(0)
        if isinstance(value, Tensor):
            found[f"{name}_{len(found)}" if name in found else name] = value
        elif isinstance(value, dict | list | tuple | set):
            waiting += [(name, part) for part in (value.values() if isinstance(value, dict) else value)]
    return found


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
    code = _loaded_code(lambda file: file.startswith(roots)) + "".join(map(_text, parts)).encode()
    return hashlib.sha256(code).hexdigest()[:16]


def code_hash() -> str:
    """16 hex digits of all Python code that is loaded, but for the standard library and installed packages.

    A verdict may depend on any of it: a helper in another folder, a reference in another module.
    """
    standard = sysconfig.get_path("stdlib")

    def is_own(file: str) -> bool:
        return not (file.startswith(standard) or "site-packages" in file or "dist-packages" in file)

    return hashlib.sha256(_loaded_code(is_own)).hexdigest()[:16]


def _loaded_code(is_meant: Callable[[str], bool]) -> bytes:
    """All Python files from which a module came and that are meant."""
    files = {str(getattr(module, "__file__", None)) for module in list(sys.modules.values())}
    code = b""
    for file in sorted(files):
        if file.endswith(".py") and is_meant(file):
            with suppress(OSError):
                code += Path(file).read_bytes()
    return code


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
