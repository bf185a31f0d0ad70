"""Which custom Functions a net goes through, with what arguments: each is verified as it is used."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from primer.verify.functions import functions_of
from primer.verify.spec import Input

Calls = dict[type[Function], tuple[Any, ...] | None]


def calls_in(run: Callable[[], Any]) -> Calls:
    """The custom Functions that `run()` goes through, each with the arguments of its first call.

    None for the arguments of one whose calls can't be seen, as of a bound `apply` kept elsewhere.
    """
    with torch.enable_grad():
        functions = [own for own in functions_of(run()) if not own.__module__.startswith("torch.")]
        calls: Calls = dict.fromkeys(functions)
        with _watched(functions, calls):
            run()
    return calls


@contextmanager
def _watched(functions: Sequence[type[Function]], calls: Calls) -> Iterator[None]:
    """Note the arguments of each first call of these Functions; the calls are what they would be."""
    for function in functions:
        function.apply = _noting(function, function.apply, calls)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for function in functions:
            del function.apply  # back to the inherited one


def _noting(function: type[Function], apply: Callable[..., Any], calls: Calls) -> Callable[..., Any]:
    def noting(*args: Any) -> Any:
        if calls[function] is None:
            calls[function] = tuple(_kept(arg) for arg in args)
        return apply(*args)

    return noting


def _kept(arg: Any) -> Any:
    """A copy that later changes in place do not reach."""
    return arg.detach().clone().requires_grad_(arg.requires_grad) if isinstance(arg, Tensor) else arg


def inputs_of(args: Sequence[Any]) -> tuple[Input, ...]:
    """Arguments like these: floating tensors drawn anew in their shapes, all else as it was."""
    return tuple(
        Input(tuple(arg.shape), grad=arg.requires_grad)
        if isinstance(arg, Tensor) and arg.is_floating_point()
        else Input(kind="constant", value=arg)
        for arg in args
    )
