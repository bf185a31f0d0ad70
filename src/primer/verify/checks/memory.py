"""What does it keep for its backward, how, and for how long?"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.multiprocessing.reductions import StorageWeakRef

from primer.verify.calling import (
    as_module,
    called,
    copies,
    forward,
    leaves_of,
    reason,
    require_gradients,
    trial,
)
from primer.verify.findings import Finding, failed, passed, warned
from primer.verify.functions import custom_nodes, held, nodes
from primer.verify.subject import Call, Subject, tensors_of
from primer.verify.telling import are_same

ROWS, COLUMNS = 32, 64  # chosen: so many entries that a saved number counts for nothing
SAVE = "Keep tensors by ctx.save_for_backward(x), and read them from ctx.saved_tensors."


def saved_tensors(subject: Subject) -> Finding:
    """All is kept by save_for_backward, its changes are noticed, and it is no more than need be."""
    call, args = subject.at(torch.float64), subject.sample()
    require_gradients(call, args)
    for name in (name for node in custom_nodes(called(call, args)) for name in held(node)):
        sentence = (
            f"It keeps a tensor as ctx.{name}, unseen by torch: its changes go unnoticed, a second backward "
            "is not refused, and checkpoints don't free it."
        )
        example = f"x = torch.randn(3, requires_grad=True); vars(f(x).grad_fn)  # holds {name!r}"
        return failed("saved_tensors", sentence, example, SAVE)
    changed = _changed_unnoticed(call, args)
    if changed:
        which = {"input": "x", "answer": "y", "weight": "f.weight"}[changed]
        sentence = f"If its {changed} is changed in place before backward, the gradient is wrong, silently."
        advice = (
            "Give save_for_backward the tensor itself, not x.data or x.numpy(), and keep nothing elsewhere."
        )
        example = f"y = f(x); {which}.detach().mul_(-2); y.sum().backward()  # no error"
        return failed("saved_tensors", sentence, example, advice)
    return _amount(subject)


def _changed_unnoticed(call: Call, args: Sequence[Any]) -> str | None:
    """What can be changed between forward and backward so that the gradient is wrong in silence."""
    right = trial(call, args).gradients
    weights = leaves_of(call, ())
    parts = ["input"] * len(tensors_of(args)) + ["weight"] * len(weights)
    parts += ["answer"] * len(called(call, args))
    for index, part in enumerate(parts):
        given = copies(args)
        made = forward(call, given)
        changing = [*tensors_of(given), *weights, *made.answers][index]
        before = changing.detach().clone()
        try:
            _change(changing)
            found = made.gradients()
        except Exception:  # noticed
            continue
        finally:
            if part == "weight":
                changing.data.copy_(before)
        if not are_same(found, right):
            return part
    return None


def _change(tensor: Tensor) -> None:
    with torch.no_grad():
        own = tensor.detach()  # counts writes together with the tensor
        if own.is_floating_point():
            own.mul_(-2)
        else:
            own.copy_(own.flatten().flip(0).reshape(own.shape))  # still valid classes


def _amount(subject: Subject) -> Finding:
    """How many bytes an entry are kept, compared with the reference."""
    found = _bytes_kept(subject, subject.at(torch.float32))
    between = " between two Linear layers" if subject.is_elementwise else ""
    kept, ref = f"It keeps {found:.3g} bytes an entry{between} in float32", subject.reference_name
    numbers = {"bytes_per_element": found}
    if subject.reference is None:
        return passed("saved_tensors", f"{kept}, all through save_for_backward.", **numbers)
    try:
        theirs = _bytes_kept(subject, subject.reference_at(torch.float32))
    except Exception as error:
        return passed("saved_tensors", f"{kept}; {ref} can't be asked ({reason(error)}).", **numbers)
    numbers["reference"] = theirs
    if found <= theirs * 1.01 + 0.01:  # chosen: more than a saved number or two
        return passed("saved_tensors", f"{kept}, no more than {ref}.", **numbers)
    advice = "Save what the next layer keeps anyway, as often the answer, or what is smaller, such as a mask."
    example = "nn.Sequential(nn.Linear(8, 64), f, nn.Linear(64, 8))" if subject.is_elementwise else None
    return warned("saved_tensors", f"{kept}, {ref} {theirs:.3g}.", example, advice, **numbers)


def _bytes_kept(subject: Subject, call: Call) -> float:
    """Per entry of the first tensor; weights and what comes from outside a net left out.

    Where it can stand between two layers it is asked there: what both keep, such as an answer that is the
    next layer's input, is there once.
    """
    args = subject.sample(torch.float32)
    first = next(arg for arg in args if isinstance(arg, Tensor))
    net: Callable[..., Any] = call
    if subject.is_elementwise:
        layers = nn.Linear(8, COLUMNS), nn.Linear(COLUMNS, 8)
        net = nn.Sequential(layers[0], as_module(call), layers[1])
        args, first = (torch.randn(ROWS, 8),), torch.empty(ROWS, COLUMNS)
    answers, kept = saved_by(net, args)
    kept += [tensor for node in custom_nodes(answers) for tensor in held(node).values()]
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in kept}
    outside = tensors_of(args) if subject.is_elementwise else []
    for tensor in (*outside, *leaves_of(net, ())):
        storages.pop(tensor.untyped_storage().data_ptr(), None)
    return sum(storages.values()) / max(first.numel(), 1)


def saved_by(call: Call, args: Sequence[Any]) -> tuple[list[Tensor], list[Tensor]]:
    """The answers, and what autograd keeps for their backward."""
    kept: list[Tensor] = []

    def pack(tensor: Tensor) -> Tensor:
        kept.append(tensor)  # alive, lest its place be taken by the next
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        return called(call, args), kept


class _Token:
    """Something that lives as long as the graph."""


def no_leak(subject: Subject) -> Finding:
    """Nothing of a call lives on when its answer is gone, without the help of Python's garbage collector."""
    call = subject.at(torch.float64)
    require_gradients(call, subject.sample())
    is_collecting = gc.isenabled()
    gc.disable()
    try:
        before = [_lives(call, subject.sample(seed=seed), goes_back=False) for seed in range(2)]
        after = [_lives(call, subject.sample(seed=seed), goes_back=True) for seed in range(2)]
    finally:
        if is_collecting:
            gc.enable()
        kept = _is_kept(call, subject.sample(seed=2))
    example = "gc.disable(); for _ in range(1000): f(x)  # more memory each time"
    if kept or any(token() is not None for token in (before[0], after[0])):
        sentence = "What it keeps of a call is not freed with its answer: memory grows with every step."
        advice = f"Something refers to itself (ctx.y = y) or is kept in a list outside. {SAVE}"
        return failed("no_leak", sentence, example, advice)
    if any(token() is not None for token in (before[1], after[1])):
        sentence = "It keeps its last graph alive until it is called again, and with it that batch's memory."
        advice = "Keep detached tensors only, or none: y.detach()."
        return warned("no_leak", sentence, "f(x)  # something in it refers to the answer", advice)
    return passed("no_leak", "What it keeps is freed at once when its answer is gone.")


def _is_kept(call: Call, args: Sequence[Any]) -> bool:
    """Whether the memory of an answer outlives it, and the answers of two more calls."""
    memories = []
    for _ in range(3):
        answers = called(call, args)
        own = {arg.untyped_storage().data_ptr() for arg in args if isinstance(arg, Tensor)}
        storages = [answer.untyped_storage() for answer in answers]
        memories.append([StorageWeakRef(one) for one in storages if one.data_ptr() not in own])  # type: ignore[no-untyped-call]
        del answers, storages
    return any(not reference.expired() for reference in memories[0])  # type: ignore[no-untyped-call]


def _lives(call: Call, args: Sequence[Any], *, goes_back: bool) -> weakref.ref[_Token]:
    """Call it, let go of everything, and give what tells whether the graph still lives."""
    made = forward(call, args)
    token = _Token()
    for node in nodes(made.outputs):
        node.metadata["primer"] = token
    if goes_back:
        made.gradients()
    return weakref.ref(token)


def checkpointing(subject: Subject) -> Finding:
    """torch.utils.checkpoint, which computes the forward again instead of keeping it, is no other net."""
    from torch.utils.checkpoint import checkpoint

    call, args = subject.at(torch.float64), subject.sample()
    require_gradients(call, args)
    num_calls = 0

    def counted(*given: Any) -> Any:
        nonlocal num_calls
        num_calls += 1
        return call(*given)

    example = "checkpoint(f, x, use_reentrant=False).sum().backward()"
    advice = (
        "Let every call compute and save the same, whatever was called before, and change nothing in place."
    )
    try:
        rerun = partial(checkpoint, counted, use_reentrant=False)
        found = trial(rerun, args, leaves=leaves_of(call, args))
    except Exception as error:
        sentence = "It fails under torch.utils.checkpoint."
        return failed("checkpointing", sentence, f"{example}  # {reason(error)}", advice)
    if not are_same(found.gradients, trial(call, args).gradients):
        sentence = "It gets a wrong gradient under torch.utils.checkpoint."
        return failed("checkpointing", sentence, example, advice)
    if num_calls < 2 and any(held(node) for node in custom_nodes(called(call, args))):
        sentence = "torch.utils.checkpoint saves no memory with it: what it keeps on ctx stays."
        return failed("checkpointing", sentence, f"{example}  # calls f once", SAVE, num_calls=num_calls)
    how = "; it keeps nothing to compute again" if num_calls < 2 else ", which computes its answer twice"
    sentence = f"Its gradient is right under torch.utils.checkpoint{how}."
    return passed("checkpointing", sentence, num_calls=num_calls)
