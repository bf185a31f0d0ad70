"""Which custom Functions a net goes through, with what arguments: each is verified as it is used."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from primer.verify.calling import copies, with_grad
from primer.verify.functions import functions_of
from primer.verify.spec import Input

MAX_CALLS = 4  # chosen: of one Function, that differ in more than their numbers
Known = list[tuple[Any, ...]]  # arguments of calls
Calls = dict[type[Function], Known]


def calls_in(run: Callable[[], Any]) -> Calls:
    """The custom Functions that `run()` goes through, each with arguments of calls that differ in kind.

    Of calls that differ in numbers alone that in which most arguments take a gradient. None are known of a
    Function whose calls can't be seen, as of a bound `apply` kept elsewhere, or take no gradient where they
    are made, as in a reentrant checkpoint.
    """
    with torch.enable_grad():
        calls: Calls = {}
        with _watched(Function, calls):
            answer = run()
        missed = [own for own in functions_of(answer) if _is_own(own) and own not in calls]
        calls |= {function: [] for function in missed}
        for function in missed:  # one that has written its own apply
            with _watched(function, calls):
                run()
    return calls


def _is_own(function: type[Function]) -> bool:
    return not function.__module__.startswith("torch.")


@contextmanager
def _watched(place: type[Function], calls: Calls) -> Iterator[None]:
    """Note the arguments of calls of a Function, or of those that inherit from it."""
    before = vars(place).get("apply")
    apply = inspect.getattr_static(place, "apply")  # a classmethod, or what somebody wrote in its place

    def noting(function: type[Function], *args: Any, **keywords: Any) -> Any:
        if _is_own(function):
            _note(calls.setdefault(function, []), args, keywords)
        return apply.__get__(None, function)(*args, **keywords)

    place.apply = classmethod(noting)  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        if before is None:
            del place.apply  # back to the inherited one
        else:
            place.apply = before  # type: ignore[method-assign]


def _note(known: Known, args: tuple[Any, ...], keywords: dict[str, Any]) -> None:
    if keywords or not torch.is_grad_enabled():
        return
    kept = copies(args)  # which later changes in place do not reach
    for place, other in enumerate(known):
        if _manner(other) == _manner(kept):
            if len(with_grad(kept)) > len(with_grad(other)):
                known[place] = kept
            return
    if len(known) < MAX_CALLS:
        known.append(kept)


def _manner(args: Sequence[Any]) -> list[str]:
    """What of a call is no tensor's numbers: its other arguments, and how many dimensions tensors have."""
    return [f"{arg.dtype} {arg.dim()}" if isinstance(arg, Tensor) else repr(arg) for arg in args]


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
