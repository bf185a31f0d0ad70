"""The small faults that can be planted in a module: one operator, constant, argument or statement each."""

from __future__ import annotations

import ast
import os
import random
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PAIRS = (
    *((ast.Lt, ast.LtE), (ast.Gt, ast.GtE), (ast.Eq, ast.NotEq), (ast.Is, ast.IsNot), (ast.In, ast.NotIn)),
    *((ast.Add, ast.Sub), (ast.Mult, ast.Div), (ast.And, ast.Or), (ast.Break, ast.Continue)),
)
SWAPPED: dict[type[ast.AST], type[ast.AST]] = {
    one: other for pair in PAIRS for one, other in (pair, pair[::-1])
}
SWAPPED[ast.FloorDiv] = ast.Mult
NAMES = {"min": "max", "max": "min", "any": "all", "all": "any"}
FIXED_ARGUMENTS = ("isinstance", "issubclass", "getattr", "setattr", "cast")  # to swap them raises at once
EQUIVALENT = re.compile(r"# (chosen|measured|by convention)|TYPE_CHECKING|^__all__")  # lines left as they are
TIMES = re.compile(r"_s$|timeout|strict")  # arguments of which no test could tell


@dataclass(frozen=True)
class Fault:
    """Bytes `start` to `end` of a file, `old`, are `new` instead."""

    path: str
    line: int
    start: int
    end: int
    kind: str
    old: str
    new: str


class Finder:
    """The faults that can be planted in a file."""

    def __init__(self, path: Path) -> None:
        self.path, self.content = path, path.read_bytes()
        self.lines = self.content.splitlines(keepends=True)
        self.starts = [sum(map(len, self.lines[:number])) for number in range(len(self.lines))]
        self.faults: list[Fault] = []
        for node in ast.parse(self.content).body:
            self.visit(node)

    def add(self, node: ast.AST, kind: str, new: str | ast.AST) -> None:
        """Put `new` in the place of a node."""
        text = new if isinstance(new, str) else ast.unparse(new)
        if EQUIVALENT.search(self.lines[node.lineno - 1].decode()):  # type: ignore[attr-defined]
            return
        start = self.starts[node.lineno - 1] + node.col_offset  # type: ignore[attr-defined]
        end = self.starts[node.end_lineno - 1] + node.end_col_offset  # type: ignore[attr-defined]
        old = self.content[start:end].decode()
        self.faults.append(Fault(str(self.path), node.lineno, start, end, kind, old, text))  # type: ignore[attr-defined]

    def visit(self, node: ast.AST, within: str = "") -> None:
        """Collect the faults of a node and of what is below it; `within`: the function that it is in."""
        if isinstance(node, ast.JoinedStr | ast.Assert | ast.Import | ast.ImportFrom | ast.Global):
            return  # of texts, and of what is there for mypy
        if isinstance(node, ast.FunctionDef):
            within = f"{node.name}->{ast.unparse(node.returns) if node.returns else ''}"
        for kind in (_operators, _constants, _calls, _statements):
            for name, new in kind(node, within):
                self.add(node, name, new)
        if isinstance(node, ast.If | ast.While) and isinstance(
            node.test, ast.Name | ast.Call | ast.Attribute
        ):
            self.add(node.test, "branch", f"(not {ast.unparse(node.test)})")
        for child in _below(node):
            self.visit(child, within)


def _below(node: ast.AST) -> Iterator[ast.AST]:
    """The children that compute: no annotations, decorators and docstrings."""
    if isinstance(node, ast.FunctionDef):
        for argument, default in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True):
            if default and not TIMES.search(argument.arg):
                yield default
        yield from (*node.args.defaults, *node.body)
    elif isinstance(node, ast.ClassDef):
        yield from node.body
    elif isinstance(node, ast.AnnAssign):
        yield from [node.value] if node.value else []
    else:
        yield from (child for child in ast.iter_child_nodes(node) if not isinstance(child, ast.arg))


def _operators(node: ast.AST, within: str) -> Iterator[tuple[str, ast.AST | str]]:
    """< for <=, + for -, `and` for `or`, one branch for the other."""
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        yield "compare", ast.Compare(node.left, [SWAPPED[type(node.ops[0])]()], node.comparators)  # type: ignore[list-item]
    if isinstance(node, ast.BinOp) and type(node.op) in SWAPPED:
        yield "arithmetic", ast.BinOp(node.left, SWAPPED[type(node.op)](), node.right)  # type: ignore[arg-type]
    if isinstance(node, ast.BoolOp):
        yield "and/or", f"({ast.unparse(ast.BoolOp(SWAPPED[type(node.op)](), node.values))})"  # type: ignore[arg-type]
    if isinstance(node, ast.IfExp) and not isinstance(node.test, ast.Compare):
        yield "branch", f"({ast.unparse(ast.IfExp(node.test, node.orelse, node.body))})"
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield "not", f"({ast.unparse(node.operand)})"


def _constants(node: ast.AST, within: str) -> Iterator[tuple[str, ast.AST | str]]:
    """Off by one; the other truth."""
    if isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield "truth", str(not node.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, int):
        yield "constant", str(node.value + 1)
        if node.value:
            yield "constant", str(node.value - 1)
    elif isinstance(node, ast.Constant) and isinstance(node.value, float):
        yield "constant", str(node.value * 2 or 1.0)


def _calls(node: ast.AST, within: str) -> Iterator[tuple[str, ast.AST | str]]:
    """Two arguments swapped; a keyword left out; `max` for `min`."""
    if not isinstance(node, ast.Call):
        return
    name = node.func.id if isinstance(node.func, ast.Name) else ""
    if name in NAMES:
        yield "function", ast.Call(ast.Name(NAMES[name]), node.args, node.keywords)
    plain = not any(isinstance(argument, ast.Starred) for argument in node.args[:2])
    is_fixed = name in (*FIXED_ARGUMENTS, *NAMES) or len({ast.dump(one) for one in node.args[:2]}) < 2
    if plain and not is_fixed:
        yield "swapped arguments", ast.Call(node.func, [*node.args[1::-1], *node.args[2:]], node.keywords)
    for keyword in node.keywords:
        if keyword.arg and not TIMES.search(keyword.arg):
            kept = [other for other in node.keywords if other is not keyword]
            yield "keyword left out", ast.Call(node.func, node.args, kept)


def _statements(node: ast.AST, within: str) -> Iterator[tuple[str, ast.AST | str]]:
    """A statement, or what a function returns, left out."""
    name, _, kind = within.partition("->")
    is_kept = isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Attribute | ast.Subscript)
    is_called = isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
    if is_called or (is_kept and name != "__init__") or isinstance(node, ast.AugAssign | ast.Delete):
        yield "statement left out", "pass"
    if isinstance(node, ast.Raise):
        yield "raise left out", "pass"
    if isinstance(node, ast.Break | ast.Continue):
        yield "loop", SWAPPED[type(node)]()
    if isinstance(node, ast.Return) and node.value and not isinstance(node.value, ast.Constant):
        for value in ("True", "False") if kind == "bool" else ("None",):
            yield "return", f"return {value}"


def faults_in(modules: Sequence[str]) -> list[Fault]:
    """All faults that can be planted in these files."""
    return [fault for name in modules for fault in Finder(Path(name)).faults]


def chosen(modules: Sequence[str], number: int, seed: int) -> list[Fault]:
    """So many of them at random, no two in one place."""
    faults = faults_in(modules)
    random.Random(seed).shuffle(faults)
    places = {(fault.path, fault.start): fault for fault in reversed(faults)}
    return sorted(list(places.values())[:number], key=lambda fault: (fault.path, fault.start))


def again(row: dict[str, Any]) -> Fault | None:
    """A fault of earlier results in the code as it is now, where that is still there."""
    same = [
        fault
        for fault in Finder(Path(row["path"])).faults
        if (fault.old, fault.new, fault.kind) == (row["old"], row["new"], row["kind"])
    ]
    return min(same, key=lambda fault: abs(fault.line - row["line"]), default=None)


@contextmanager
def planted(fault: Fault) -> Iterator[None]:
    """The fault is in src, until the end, whatever it is."""
    path = Path(fault.path)
    whole, known = path.read_bytes(), path.stat()
    assert whole[fault.start : fault.end].decode() == fault.old
    try:
        path.write_bytes(whole[: fault.start] + fault.new.encode() + whole[fault.end :])
        yield
    finally:
        path.write_bytes(whole)
        os.utime(path, ns=(known.st_atime_ns, known.st_mtime_ns))
