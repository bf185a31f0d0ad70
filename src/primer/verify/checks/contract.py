"""Does it keep to what autograd and its caller take for granted?

Nothing of the caller's changes, and every backward gives the gradient of its own forward.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from primer.verify.calling import Trial, called, leaves_of, reason, trial, upstreams
from primer.verify.findings import Finding, failed, passed, skipped, together, warned
from primer.verify.graphs import custom_nodes, held
from primer.verify.subject import Call, Subject
from primer.verify.telling import brief, same


@dataclass(frozen=True)
class Trace:
    """What a call and its backward did to tensors that are not their own."""

    changes_input: bool = False
    is_in_place: bool = False  # and autograd was told
    shares_memory: bool = False
    changes_later: bool = False  # an input or answer, in the backward
    changes_upstream: bool = False


def purity(subject: Subject) -> Finding:
    """Inputs and upstream gradients stay as they are, and the answer is a tensor of its own."""
    call, args = subject.at(torch.float64), subject.sample()
    found = [_trace(call, args), _trace(call, _positive(args))]
    allowed = _of_reference(subject, args)
    changed = next((problem for trace in found if (problem := _changed(trace, allowed))), None)
    if changed:
        return changed
    if found[0].is_in_place:
        return passed("purity", "It changes its input in place, and autograd knows of it.")
    shares = [trace.shares_memory for trace in found]
    if any(shares) and not allowed.shares_memory:
        return _shared(is_always=all(shares))
    return passed("purity", "It leaves its inputs and the gradients handed to it as they are.")


def _positive(args: Sequence[Any]) -> tuple[Any, ...]:
    """The same without negative entries, for which a function may have a short cut."""
    return tuple(
        arg.detach().abs().requires_grad_(arg.requires_grad)
        if isinstance(arg, Tensor) and arg.is_floating_point()
        else arg
        for arg in args
    )


def _of_reference(subject: Subject, args: Sequence[Any]) -> Trace:
    """What the reference does; nothing, where there is none that takes these arguments."""
    if subject.reference is None:
        return Trace()
    try:
        return _trace(subject.reference_at(torch.float64), args)
    except Exception:  # other checks tell
        return Trace()


def _trace(call: Call, args: Sequence[Any]) -> Trace:
    """Call it and go back, with copies of the arguments, which are no leaves, so that they can be changed."""
    inputs = [arg.clone() if isinstance(arg, Tensor) else arg for arg in args]
    tensors = [arg for arg in inputs if isinstance(arg, Tensor)]
    histories, before = [tensor.grad_fn for tensor in tensors], _states(tensors)
    answers = called(call, inputs)
    after = _states(tensors)
    told = [tensor.grad_fn is not history for tensor, history in zip(tensors, histories, strict=True)]
    is_changed = [not _are_equal([old], [new]) for old, new in zip(before, after, strict=True)]
    places = {tensor.untyped_storage().data_ptr() for tensor in tensors if tensor.numel()}
    trace = Trace(
        changes_input=any(changed and not known for changed, known in zip(is_changed, told, strict=True)),
        is_in_place=any(told),
        # Of plain torch operations, autograd knows which answer is a view of which input.
        shares_memory=bool(custom_nodes(answers))
        and any(answer.untyped_storage().data_ptr() in places for answer in answers),
    )
    outputs, leaves = [answer for answer in answers if answer.requires_grad], leaves_of(call, args)
    if trace.changes_input or not outputs or not leaves:
        return trace
    given = upstreams(outputs)
    owned = [*tensors, *answers]
    before, handed = _states(owned), _states(given)
    with suppress(Exception):  # backward_contract tells
        torch.autograd.grad(outputs, leaves, given, allow_unused=True)
    later, upstream = not _are_equal(before, _states(owned)), not _are_equal(handed, _states(given))
    return Trace(False, trace.is_in_place, trace.shares_memory, later, upstream)


def _states(tensors: Sequence[Tensor]) -> list[tuple[Tensor, int]]:
    """Values and how often each was written to."""
    return [(tensor.detach().clone(), tensor._version) for tensor in tensors]


def _are_equal(some: Sequence[tuple[Tensor, int]], others: Sequence[tuple[Tensor, int]]) -> bool:
    return all(
        version == other_version and _is_equal(value, other)
        for (value, version), (other, other_version) in zip(some, others, strict=True)
    )


def _is_equal(one: Tensor, other: Tensor) -> bool:
    return torch.equal(one, other) or bool(((one == other) | (one != one)).all())


def _changed(found: Trace, allowed: Trace) -> Finding | None:
    """What it changes that the reference does not; None: nothing."""
    x = "x = torch.tensor([-1.0, 2.0], requires_grad=True)"
    if found.changes_input and not (allowed.changes_input or allowed.is_in_place):
        sentence = (
            "It changes its input, and autograd is not told: what else uses that tensor gets other numbers."
        )
        advice = "Compute into a new tensor (no clamp_, x[...] = ...), or call ctx.mark_dirty(x)."
        return failed("purity", sentence, "x = torch.tensor([-1.0, 2.0]); f(x); x  # is another one", advice)
    if found.changes_upstream and not allowed.changes_upstream:
        sentence = "Its backward changes the gradient handed to it, which other parts of the net use, too."
        advice = "Compute into a new tensor: grad_output.clone() first, or torch.where(..., grad_output, 0)."
        example = f"{x}; g = torch.ones(2); f(x).backward(g); g  # is another one"
        return failed("purity", sentence, example, advice)
    if found.changes_later and not allowed.changes_later:
        sentence = "Its backward changes its input or its answer, which it keeps but does not own."
        advice = "Write to a clone() of what ctx.saved_tensors holds."
        return failed("purity", sentence, f"{x}; y = f(x); y.sum().backward(); x, y  # are others", advice)
    return None


def _shared(*, is_always: bool) -> Finding:
    writes = "who writes to the one writes to the other."
    example, advice = (
        "x = torch.tensor([1.0, 2.0]); f(x).add_(1); x  # tensor([2., 3.])",
        "Answer with x.clone().",
    )
    if is_always:
        return warned("purity", f"Its answer shares memory with its input: {writes}", example, advice)
    return failed("purity", f"For some inputs its answer is the input itself: {writes}", example, advice)


def backward_contract(subject: Subject) -> Finding:
    """Each backward gives the gradient of its own forward, once, in the input's shape and dtype."""
    call, args = subject.at(torch.float64), subject.sample()
    outputs, leaves = [answer for answer in called(call, args) if answer.requires_grad], leaves_of(call, args)
    if not outputs or not leaves:
        return skipped("backward_contract", "No gradient goes through it.")
    advice = "Return one gradient for each argument of forward, in its shape; None for what has none."
    try:
        gradients = trial(call, args).gradients
    except Exception as error:
        example = f"f(x).sum().backward()  # {reason(error)}"
        return failed("backward_contract", "Its backward fails.", example, advice)
    if all(gradient is None for gradient in gradients):
        example = "f(x).sum().backward(); x.grad  # None"
        return failed(
            "backward_contract", "Its backward gives no gradient: no layer before it learns.", example, advice
        )
    try:
        problems = [look(call, args, subject) for look in (_repeated, _two_uses, _accumulated)]
    except Exception as error:
        advice = "Let backward change nothing: neither what ctx keeps nor what it is given."
        example = f"y = f(x).sum(); y.backward(retain_graph=True); y.backward()  # {reason(error)}"
        return failed("backward_contract", "Its backward fails when it is used twice.", example, advice)
    found = [problem for problem in (*problems, _as_returned(subject)) if problem]
    if found:
        return together(found)
    sentence = "Its gradients are the same each time, add up, and have the shape and dtype of the input."
    return passed("backward_contract", sentence)


def _repeated(call: Call, args: Sequence[Any], subject: Subject) -> Finding | None:
    """A second backward through one answer: the same gradients, or, once freed, an error."""
    answers, leaves = called(call, args), leaves_of(call, args)
    outputs = [answer for answer in answers if answer.requires_grad]
    given = upstreams(outputs)
    # clones: a backward may answer with the very tensor that it changes the next time
    first, *others = (_clones(_gradients(outputs, leaves, given, retain_graph=True)) for _ in range(2))
    last = _clones(_gradients(outputs, leaves, given))
    x = "x = torch.randn(3, requires_grad=True); y = f(x).sum()"
    if not _are_same(first, others[0]) or not _are_same(first, last):
        sentence = "A second backward through the same answer gives another gradient than the first."
        advice = "Let backward neither draw random numbers nor change what ctx keeps."
        example = f"{x}; y.backward(retain_graph=True); y.backward(retain_graph=True)"
        return failed("backward_contract", sentence, example, advice)
    if not any(held(node) for node in custom_nodes(answers)):  # else torch raises, or nothing is kept
        return None
    try:
        _gradients(outputs, leaves, given)
    except RuntimeError:
        return None
    sentence = (
        "A second backward is not refused, as torch can't free what it keeps: gradients may count twice."
    )
    advice = "Keep tensors by ctx.save_for_backward."
    return warned("backward_contract", sentence, f"{x}; y.backward(); y.backward()  # no error", advice)


def _clones(gradients: Sequence[Tensor | None]) -> list[Tensor | None]:
    return [None if gradient is None else gradient.clone() for gradient in gradients]


def _two_uses(call: Call, args: Sequence[Any], subject: Subject) -> Finding | None:
    """Two calls before any backward, as of one activation in two layers."""
    alone = _copied(trial(call, args))
    if not _are_same(alone.answers, trial(call, args).answers):
        return None  # its answer depends on how often it was called, and so do its gradients
    other_args = subject.sample(seed=1)
    answers, leaves = called(call, args), leaves_of(call, args)
    others, other_leaves = called(call, other_args), leaves_of(call, other_args)
    outputs, later = ([part for part in parts if part.requires_grad] for parts in (answers, others))
    advice = "Keep what backward needs in ctx, not in a class, module or global, and answer with new tensors."
    calls = "y = f(x); z = f(2 * x)"
    if not _are_same(alone.answers, answers):
        sentence = "A second call changes the answer of the first."
        return failed("backward_contract", sentence, f"{calls}; y  # is another one", advice)
    found = _gradients(outputs, leaves, upstreams(outputs))
    if not _are_same(alone.gradients, found):
        sentence = "Called twice, it mixes the two up: the first answer gets the gradient of the second."
        return failed("backward_contract", sentence, f"{calls}; y.sum().backward()", advice)
    _gradients(later, other_leaves, upstreams(later))
    if not _are_same(alone.gradients, found):
        sentence = "A second backward changes the gradient that the first one gave."
        example = f"{calls}; g, = torch.autograd.grad(y.sum(), x); z.sum().backward(); g  # is another one"
        return failed("backward_contract", sentence, example, advice)
    return None


def _copied(one: Trial) -> Trial:
    """Out of reach of a function that answers with the same tensor each time."""
    return Trial([answer.clone() for answer in one.answers], _clones(one.gradients))


def _accumulated(call: Call, args: Sequence[Any], subject: Subject) -> Finding | None:
    """Gradients of two backwards add up in .grad, whatever was handed to each."""
    once = _copied(trial(call, args)).gradients
    leaves = leaves_of(call, args)
    for factor in (1, 3):
        outputs = [answer for answer in called(call, args) if answer.requires_grad]
        torch.autograd.backward(outputs, [factor * given for given in upstreams(outputs)], inputs=leaves)
    found = [leaf.grad for leaf in leaves]
    for leaf in leaves:
        leaf.grad = None
    if _are_same(found, [None if gradient is None else 4 * gradient for gradient in once]):
        return None
    sentence = "Gradients of two uses do not add up."
    example = "x = torch.randn(3, requires_grad=True); (f(x) + 3 * f(x)).sum().backward(); x.grad"
    return failed("backward_contract", sentence, example, "Return a new tensor from backward each time.")


def _as_returned(subject: Subject) -> Finding | None:
    """The gradient that backward itself returns, before torch converts it."""
    for dtype in (torch.float64, torch.float32):
        args = subject.sample(dtype)
        outputs = [answer for answer in called(subject.at(dtype), args) if answer.requires_grad]
        node: Any = outputs[0].grad_fn
        if len(outputs) > 1 or not custom_nodes(outputs) or node is not custom_nodes(outputs)[0]:
            continue
        try:
            with torch.no_grad():
                raw = node.apply(*upstreams(outputs))
        except Exception:  # it can't be asked without autograd
            continue
        for gradient, (leaf, _) in zip(
            raw if isinstance(raw, tuple) else (raw,), node.next_functions, strict=False
        ):
            wanted = getattr(leaf, "variable", None)
            if isinstance(gradient, Tensor) and wanted is not None and gradient.dtype != wanted.dtype:
                return _converted(gradient.dtype, wanted.dtype)
    return None


def _converted(given: torch.dtype, wanted: torch.dtype) -> Finding:
    names = [brief(dtype) for dtype in (given, wanted)]
    sentence = (
        f"Its backward gives a {names[0]} gradient to a {names[1]} input; torch converts it in silence."
    )
    advice = "Keep the dtype of grad_output: no .float(), no .double()."
    example = f"f(torch.randn(3, dtype=torch.{names[1]}, requires_grad=True)).sum().backward()"
    return warned("backward_contract", sentence, example, advice)


def _gradients(
    outputs: Sequence[Tensor],
    leaves: Sequence[Tensor],
    given: Sequence[Tensor],
    *,
    retain_graph: bool = False,
) -> list[Tensor | None]:
    return list(torch.autograd.grad(outputs, leaves, given, allow_unused=True, retain_graph=retain_graph))


def _are_same(some: Sequence[Tensor | None], others: Sequence[Tensor | None]) -> bool:
    return len(some) == len(others) and all(same(*pair) for pair in zip(some, others, strict=True))
