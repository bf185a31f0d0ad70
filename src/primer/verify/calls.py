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
    """The custom Functions that `run()` goes through, each with arguments that it was called with.

    Of several calls that in which most arguments take a gradient. None for the arguments of one whose calls
    can't be seen, as of a bound `apply` kept elsewhere.
    """
    with torch.enable_grad():
        functions = [own for own in functions_of(run()) if not own.__module__.startswith("torch.")]
        calls: Calls = dict.fromkeys(functions)
        with _watched(functions, calls):
            run()
    return calls


@contextmanager
def _watched(functions: Sequence[type[Function]], calls: Calls) -> Iterator[None]:
    """Note the arguments of calls of these Functions; the calls are what they would be."""
    own = {function: vars(function).get("apply") for function in functions}  # a user may have written one
    applies = {function: function.apply for function in functions}  # before any is another
    for function, apply in applies.items():
        function.apply = _noting(function, apply, calls)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for function, before in own.items():
            if before is None:
                del function.apply  # back to the inherited one
            else:
                function.apply = before  # type: ignore[method-assign]


def _noting(function: type[Function], apply: Callable[..., Any], calls: Calls) -> Callable[..., Any]:
    def noting(*args: Any, **keywords: Any) -> Any:
        if not keywords and _num_grads(args) > _num_grads(calls[function] or ()) - (calls[function] is None):
            calls[function] = tuple(_kept(arg) for arg in args)
        return apply(*args, **keywords)

    return staticmethod(noting)


def _num_grads(args: Sequence[Any]) -> int:
    return sum(isinstance(arg, Tensor) and arg.requires_grad for arg in args)


def _kept(arg: Any) -> Any:
    """A copy that later changes in place do not reach."""
    return arg.detach().clone().requires_grad_(arg.requires_grad) if isinstance(arg, Tensor) else arg


def inputs_of(args: Sequence[Any], *, largest: int) -> tuple[Input, ...]:
    """Arguments like these: floating tensors drawn anew, all else as it was, each dimension up to `largest`.

    Dimensions that are equal stay so.
    """
    sizes = sorted({size for arg in args if isinstance(arg, Tensor) for size in arg.shape if size > largest})
    smaller = {size: largest + place for place, size in enumerate(sizes)}
    return tuple(_input_of(arg, smaller) for arg in args)


def _input_of(arg: Any, smaller: dict[int, int]) -> Input:
    if not isinstance(arg, Tensor):
        return Input(kind="constant", value=arg)
    shape = tuple(smaller.get(size, size) for size in arg.shape)
    if arg.is_floating_point():
        return Input(shape, grad=arg.requires_grad)
    return Input(kind="constant", value=arg[tuple(slice(size) for size in shape)].cpu())
