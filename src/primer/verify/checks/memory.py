"""What does it keep for its backward, how, and for how long?"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.multiprocessing.reductions import StorageWeakRef

from primer.verify.calling import called, copies, leaves_of, reason, trial, unfit, upstreams
from primer.verify.comparing import as_module
from primer.verify.findings import Finding, failed, passed, skipped, warned
from primer.verify.graphs import custom_nodes, held, nodes
from primer.verify.subject import Call, Subject
from primer.verify.telling import same

ROWS, COLUMNS = 32, 64  # chosen: so many entries that a saved number counts for nothing
SAVE = "Keep tensors by ctx.save_for_backward(x), and read them from ctx.saved_tensors."


def saved_tensors(subject: Subject) -> Finding:
    """All is kept by save_for_backward, its changes are noticed, and it is no more than need be."""
    call, args = subject.at(torch.float64), subject.sample()
    reason_not = unfit(call, args)
    if reason_not:
        return skipped("saved_tensors", reason_not)
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
    num_tensors = sum(isinstance(arg, Tensor) for arg in args)
    num_answers, num_weights = len(called(call, args)), len(leaves_of(call, ()))
    for index in range(num_tensors + num_weights + num_answers):
        given = copies(args)
        answers = called(call, given)
        weights = leaves_of(call, ())
        tensors = [*(arg for arg in given if isinstance(arg, Tensor)), *weights, *answers]
        changing = tensors[index]
        before = changing.detach().clone()
        outputs = [answer for answer in answers if answer.requires_grad]
        try:
            _change(changing)
            leaves = leaves_of(call, given)
            found = torch.autograd.grad(outputs, leaves, upstreams(outputs), allow_unused=True)
        except Exception:  # noticed
            continue
        finally:
            if num_tensors <= index < num_tensors + num_weights:
                changing.data.copy_(before)
        if not all(same(*pair) for pair in zip(found, right, strict=True)):
            part = "input" if index < num_tensors else "weight"
            return part if index < num_tensors + num_weights else "answer"
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
    kept = f"{found:.3g} bytes an entry" + (" between two Linear layers" if subject.is_elementwise else "")
    if subject.reference is None:
        sentence = f"It keeps {kept} in float32, all through save_for_backward."
        return passed("saved_tensors", sentence, bytes_per_element=found)
    try:
        theirs = _bytes_kept(subject, subject.reference_at(torch.float32))
    except Exception as error:
        sentence = f"It keeps {kept} in float32; {subject.reference_name} can't be asked ({reason(error)})."
        return passed("saved_tensors", sentence, bytes_per_element=found)
    if found <= theirs * 1.01 + 0.01:  # chosen: more than a saved number or two
        sentence = f"It keeps {kept} in float32, no more than {subject.reference_name}."
        return passed("saved_tensors", sentence, bytes_per_element=found, reference=theirs)
    sentence = f"It keeps {kept} in float32, {subject.reference_name} {theirs:.3g}."
    advice = "Save what the next layer keeps anyway, as often the answer, or what is smaller, such as a mask."
    example = "nn.Sequential(nn.Linear(8, 64), f, nn.Linear(64, 8))" if subject.is_elementwise else None
    return warned("saved_tensors", sentence, example, advice, bytes_per_element=found, reference=theirs)


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
    kept: list[Tensor] = []

    def pack(tensor: Tensor) -> Tensor:
        kept.append(tensor)  # alive, lest its place be taken by the next
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        answers = called(net, args)
    outside = [*args, *leaves_of(net, ())] if subject.is_elementwise else leaves_of(net, ())
    places = {tensor.untyped_storage().data_ptr() for tensor in outside if isinstance(tensor, Tensor)}
    kept += [tensor for node in custom_nodes(answers) for tensor in held(node).values()]
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in kept}
    return sum(size for place, size in storages.items() if place not in places) / max(first.numel(), 1)


class _Token:
    """Something that lives as long as the graph."""


def no_leak(subject: Subject) -> Finding:
    """Nothing of a call lives on when its answer is gone, without the help of Python's garbage collector."""
    call = subject.at(torch.float64)
    reason_not = unfit(call, subject.sample())
    if reason_not:
        return skipped("no_leak", reason_not)
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
        memories.append([_watched(one) for one in storages if one.data_ptr() not in own])
        del answers, storages
    return any(not is_gone() for is_gone in memories[0])


def _watched(storage: torch.UntypedStorage) -> Callable[[], bool]:
    """What tells whether memory was freed."""
    reference: Any = StorageWeakRef(storage)  # type: ignore[no-untyped-call]
    return lambda: bool(reference.expired())


def _lives(call: Call, args: Sequence[Any], *, goes_back: bool) -> weakref.ref[_Token]:
    """Call it, let go of everything, and give what tells whether the graph still lives."""
    answers = called(call, args)
    outputs = [answer for answer in answers if answer.requires_grad]
    token = _Token()
    for node in nodes(outputs):
        node.metadata["primer"] = token
    if goes_back:
        torch.autograd.grad(outputs, leaves_of(call, args), upstreams(outputs), allow_unused=True)
    return weakref.ref(token)


def checkpointing(subject: Subject) -> Finding:
    """torch.utils.checkpoint, which computes the forward again instead of keeping it, is no other net."""
    from torch.utils.checkpoint import checkpoint

    call, args = subject.at(torch.float64), subject.sample()
    reason_not = unfit(call, args)
    if reason_not:
        return skipped("checkpointing", reason_not)
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
        found = trial(lambda *given: checkpoint(counted, *given, use_reentrant=False), args, weights=call)
    except Exception as error:
        sentence = "It fails under torch.utils.checkpoint."
        return failed("checkpointing", sentence, f"{example}  # {reason(error)}", advice)
    if not all(same(*pair) for pair in zip(found.gradients, trial(call, args).gradients, strict=True)):
        return failed(
            "checkpointing", "It gets a wrong gradient under torch.utils.checkpoint.", example, advice
        )
    if num_calls < 2 and any(held(node) for node in custom_nodes(called(call, args))):
        sentence = "torch.utils.checkpoint saves no memory with it: what it keeps on ctx stays."
        return failed("checkpointing", sentence, f"{example}  # calls f once", SAVE, num_calls=num_calls)
    sentence = "Its gradient is right under torch.utils.checkpoint, which computes its answer twice."
    if num_calls < 2:
        sentence = "Its gradient is right under torch.utils.checkpoint; it keeps nothing to compute again."
    return passed("checkpointing", sentence, num_calls=num_calls)
