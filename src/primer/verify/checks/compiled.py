"""torch.compile: does the compiled function answer as the plain one does, backward included?

With the backend aot_eager, which traces forward and backward as the usual one does, and needs no C compiler.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, fx

from primer.verify.calling import changed, reason, weights_of
from primer.verify.comparing import (
    Difference,
    difference,
    loss_of,
    require_repeatable,
    silence,
    telling,
    values_of,
    wanted_of,
)
from primer.verify.findings import Finding, failed, passed, skipped, warned
from primer.verify.subject import Subject

SIZES = (5, 6, 9, 10, 13, 14)  # chosen: fewer than the 8 graphs after which torch 2.13 gives up
ISSUE = "https://github.com/pytorch/pytorch/issues/193279"  # 192985 is the same for jvp


def compile(subject: Subject) -> Finding:
    """Whether a compiled call gives the answers and gradients of a plain one, and how often it compiles."""
    require_repeatable(subject)
    with _compiling():
        try:
            differs = _differs(subject, fullgraph=True)
        except Exception as error:
            return _refused(subject, error)
        return _wrong(subject, differs) if differs else _sizes(subject)


def _differs(subject: Subject, *, fullgraph: bool) -> Difference | None:
    call, args = subject.at(torch.float64), telling(subject)
    # a built-in can't be compiled by itself
    compiled = torch.compile(lambda *given: call(*given), fullgraph=fullgraph, backend="aot_eager")
    expected = values_of(call, args, subject)
    return difference(values_of(compiled, args, subject, weights_of(call)), expected, subject)


def _wrong(subject: Subject, differs: Difference) -> Finding:
    sentence = "Compiled, it gives other numbers than uncompiled, without an error."
    example = f"torch.compile(f): {differs.shown(subject, telling(subject))}"
    advice = "Write forward and backward as torch operations without side effects, in-place ones included."
    return failed("compile", sentence, example, advice)


def _refused(subject: Subject, error: Exception) -> Finding:
    """What is said of a function that is no single graph, after another try in parts."""
    torch.compiler.reset()
    try:
        differs = _differs(subject, fullgraph=False)
    except Exception as second:
        sentence = "torch.compile can't compile it, nor leave it out: a net with it has to stay uncompiled."
        return warned("compile", sentence, reason(second), _advice(str(second)))
    if differs:
        return _wrong(subject, differs)
    sentence = "torch.compile(fullgraph=True) refuses it; without fullgraph it stays uncompiled, and right."
    return warned("compile", sentence, reason(error), _advice(str(error)))


def _advice(text: str) -> str:
    if "jvp" in text:
        other = "call the one without it if torch.compiler.is_compiling(), else the other."
        return f"Write two classes, one with jvp and one without; {other}"
    if "duplicate tensor" in text:
        return "Don't pass the same tensor twice to apply(); give the second as x.clone()."
    return "Stay with torch operations: no .item(), no print, torch.where instead of an if on values."


def _sizes(subject: Subject) -> Finding:
    """How many graphs several batch sizes take: each is compiled in the middle of a training."""
    call, num_graphs = subject.at(torch.float64), 0

    def counting(graph: fx.GraphModule, inputs: list[Tensor]) -> Callable[..., Any]:
        nonlocal num_graphs
        num_graphs += 1
        return graph.forward

    is_same = "torch.compile(fullgraph=True) gives the same answers and gradients"
    batches = [_of_size(subject, size) for size in SIZES]
    try:
        for args in batches:
            call(*args)
    except Exception:  # its first dimension is no batch
        return passed("compile", f"{is_same}.")
    torch.compiler.reset()
    compiled = torch.compile(lambda *given: call(*given), backend=counting)
    try:
        for args in batches:
            compiled(*args)
    except Exception as error:
        sentence = "Compiled for one batch size, it raises at another."
        return warned("compile", sentence, reason(error), _advice(str(error)))
    if num_graphs < len(SIZES):
        words = f"{is_same}; {len(SIZES)} batch sizes take {num_graphs} graphs."
        return passed("compile", words, num_graphs=num_graphs)
    sentence = "It is compiled anew for every batch size, which takes longer than it saves."
    example = f"{len(SIZES)} batch sizes: {num_graphs} graphs"
    advice = "Don't make text or dict keys of x.shape, and take sizes from tensors (torch.zeros_like(x))."
    return warned("compile", sentence, example, advice, num_graphs=num_graphs)


def _of_size(subject: Subject, size: int) -> tuple[Any, ...]:
    """Arguments with that many rows: of each tensor with as many as the first has."""
    if subject.is_elementwise:
        return subject.sample(shape=(size, 7), requires_grad=False)
    args = subject.sample(requires_grad=False)
    tensors = [arg for arg in args if isinstance(arg, Tensor) and arg.dim()]
    num_rows = len(tensors[0]) if tensors else 0

    def sized(arg: Tensor) -> Tensor:
        return arg[torch.arange(size) % num_rows] if arg.dim() and len(arg) == num_rows else arg

    return changed(args, sized)


def compile_transforms(subject: Subject) -> Finding:
    """Whether torch.compile(torch.func.grad(f)) gives the gradient that torch.func.grad(f) gives."""
    check = "compile_transforms"
    require_repeatable(subject)
    args = telling(subject)
    gradient, wanted = _gradient(subject, args)
    if not wanted:
        return skipped(check, "no gradient goes to its arguments")
    with _compiling():
        try:
            expected = gradient(*wanted.values())
        except Exception as error:
            return skipped(check, f"torch.func.grad raises uncompiled already: {reason(error)}")
        advice = "Compile a plain loss and call .backward(), or leave torch.func.grad uncompiled."
        try:
            found = torch.compile(gradient, backend="aot_eager")(*wanted.values())
        except Exception as error:
            return warned(check, "torch.compile(torch.func.grad(f)) raises.", reason(error), advice)
    found, expected = (dict(zip(wanted, gradients, strict=True)) for gradients in (found, expected))
    differs = difference(found, expected, subject)
    if not differs:
        return passed(check, "torch.compile(torch.func.grad(f)) gives the same gradient as uncompiled.")
    sentence = "torch.compile(torch.func.grad(f)) leaves out the custom backward in silence: a bug of torch"
    example = f"torch.compile(torch.func.grad(f)): {differs.shown(subject, args)}"
    return warned(check, f"{sentence} {torch.__version__} ({ISSUE}).", example, advice)


def _gradient(subject: Subject, args: Sequence[Any]) -> tuple[Callable[..., Any], dict[str, Tensor]]:
    """torch.func.grad of the arguments that take a gradient, and those."""
    call = subject.at(torch.float64)
    wanted = {name: arg.detach() for name, arg in wanted_of(args, {}).items()}
    places = [place for place, arg in enumerate(args) if isinstance(arg, Tensor) and arg.requires_grad]

    def loss(*tensors: Tensor) -> Tensor:
        given = list(args)
        for place, tensor in zip(places, tensors, strict=True):
            given[place] = tensor
        return loss_of(call(*given), subject)

    return torch.func.grad(loss, tuple(range(len(places)))), wanted


@contextmanager
def _compiling() -> Iterator[None]:
    """Compile from scratch, in silence; nothing of it stays."""
    torch.compiler.reset()
    try:
        with silence():
            yield
    finally:
        torch.compiler.reset()
