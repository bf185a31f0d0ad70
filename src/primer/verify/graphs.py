"""The graph behind an answer: its nodes that are custom, and what they keep."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from torch import Tensor


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
