"""Does it keep to what autograd and its caller take for granted?

Nothing of the caller's changes, and every backward gives the gradient of its own forward.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor

from primer.verify.calling import Trial, changed, forward, leaves_of, reason, trial, upstreams
from primer.verify.findings import Finding, failed, passed, skipped, together, warned
from primer.verify.functions import custom_nodes, held
from primer.verify.subject import Call, Subject, tensors_of
from primer.verify.telling import are_same, brief

X = "x = torch.tensor([-1.0, 2.0], requires_grad=True)"
# What a call or its backward may do to tensors that are not its own: in words, shown by, and what to do.
CHANGES = {
    "input": (
        "It changes its input, and autograd is not told: what else uses that tensor gets other numbers.",
        "x = torch.tensor([-1.0, 2.0]); f(x); x  # is another one",
        "Compute into a new tensor (no clamp_, x[...] = ...), or call ctx.mark_dirty(x).",
    ),
    "upstream": (
        "Its backward changes the gradient handed to it, which other parts of the net use, too.",
        f"{X}; g = torch.ones(2); f(x).backward(g); g  # is another one",
        "Compute into a new tensor: grad_output.clone() first, or torch.where(..., grad_output, 0).",
    ),
    "later": (
        "Its backward changes its input or its answer, which it keeps but does not own.",
        f"{X}; y = f(x); y.sum().backward(); x, y  # are others",
        "Write to a clone() of what ctx.saved_tensors holds.",
    ),
}


def purity(subject: Subject) -> Finding:
    """Inputs and upstream gradients stay as they are, and the answer is a tensor of its own."""
    call, args = subject.at(torch.float64), subject.sample()
    # without negative entries, too, for which a function may have a short cut
    positive = changed(args, lambda arg: arg.abs() if arg.is_floating_point() else arg)
    found = [_done(call, args), _done(call, positive)]
    allowed = _done_by_reference(subject, args)
    for done in found:
        for what, texts in CHANGES.items():
            if what in done - allowed:
                return failed("purity", *texts)
    if "in_place" in found[0]:
        return passed("purity", "It changes its input in place, and autograd knows of it.")
    shares = ["sharing" in done for done in found]
    if any(shares) and "sharing" not in allowed:
        what, tell = "Its answer shares memory with its input", warned
        if not all(shares):
            what, tell = "For some inputs its answer is the input itself", failed
        sentence = f"{what}: who writes to the one writes to the other."
        example = "x = torch.tensor([1.0, 2.0]); f(x).add_(1); x  # tensor([2., 3.])"
        return tell("purity", sentence, example, "Answer with x.clone().")
    return passed("purity", "It leaves its inputs and the gradients handed to it as they are.")


def _done_by_reference(subject: Subject, args: Sequence[Any]) -> set[str]:
    """Nothing, where there is none that takes these arguments; in place is allowed to both alike."""
    done = set[str]()
    if subject.reference:
        with suppress(Exception):  # other checks tell
            done = _done(subject.reference_at(torch.float64), args)
    return done | ({"input"} if "in_place" in done else set())


def _done(call: Call, args: Sequence[Any]) -> set[str]:
    """What of CHANGES it does; "in_place": one that autograd was told; "sharing": memory with its input."""
    # copies, which are no leaves, so that they can be changed
    inputs = [arg.clone() if isinstance(arg, Tensor) else arg for arg in args]
    tensors = tensors_of(inputs)
    histories, before = [tensor.grad_fn for tensor in tensors], _states(tensors)
    made = forward(call, inputs, leaves=leaves_of(call, args))
    is_told = [tensor.grad_fn is not history for tensor, history in zip(tensors, histories, strict=True)]
    is_changed = _are_changed(tensors, before)
    places = {tensor.untyped_storage().data_ptr() for tensor in tensors if tensor.numel()}
    done = {"in_place"} if any(is_told) else set[str]()
    # Of plain torch operations, autograd knows which answer is a view of which input.
    storages = [answer.untyped_storage() for answer in made.answers]
    if custom_nodes(made.answers) and any(storage.data_ptr() in places for storage in storages):
        done.add("sharing")
    if any(changed and not told for changed, told in zip(is_changed, is_told, strict=True)):
        return done | {"input"}
    if made.outputs and made.leaves:
        owned, given = [*tensors, *made.answers], upstreams(made.outputs)
        before, handed = _states(owned), _states(given)
        with suppress(Exception):  # backward_contract tells
            made.gradients(given)
        done |= {"later"} if any(_are_changed(owned, before)) else set()
        done |= {"upstream"} if any(_are_changed(given, handed)) else set()
    return done


def _states(tensors: Sequence[Tensor]) -> list[tuple[Tensor, int]]:
    """Values and how often each was written to."""
    return [(tensor.detach().clone(), tensor._version) for tensor in tensors]


def _are_changed(tensors: Sequence[Tensor], before: Sequence[tuple[Tensor, int]]) -> list[bool]:
    return [
        tensor._version != version or not bool(((value == tensor) | (value != value)).all())
        for tensor, (value, version) in zip(tensors, before, strict=True)
    ]


def backward_contract(subject: Subject) -> Finding:
    """Each backward gives the gradient of its own forward, once, in the input's shape and dtype."""
    call, args = subject.at(torch.float64), subject.sample()
    made = forward(call, args)
    if not made.outputs or not made.leaves:
        return skipped("backward_contract", "No gradient goes through it.")
    advice = "Return one gradient for each argument of forward, in its shape; None for what has none."
    try:
        found = trial(call, args).gradients
    except Exception as error:
        example = f"f(x).sum().backward()  # {reason(error)}"
        return failed("backward_contract", "Its backward fails.", example, advice)
    if all(gradient is None for gradient in found):
        sentence = "Its backward gives no gradient: no layer before it learns."
        return failed("backward_contract", sentence, "f(x).sum().backward(); x.grad  # None", advice)
    try:
        problems = [look(call, args, subject) for look in (_repeated, _two_uses, _accumulated)]
    except Exception as error:
        advice = "Let backward change nothing: neither what ctx keeps nor what it is given."
        example = f"y = f(x).sum(); y.backward(retain_graph=True); y.backward()  # {reason(error)}"
        return failed("backward_contract", "Its backward fails when it is used twice.", example, advice)
    sentence = "Its gradients are the same each time, add up, and have the shape and dtype of the input."
    return together([*problems, _as_returned(subject), passed("backward_contract", sentence)])


def _repeated(call: Call, args: Sequence[Any], subject: Subject) -> Finding | None:
    """A second backward through one answer: the same gradients, or, once freed, an error."""
    made = forward(call, args)
    given = upstreams(made.outputs)
    # clones: a backward may answer with the very tensor that it changes the next time
    first, *others = (_clones(made.gradients(given, retain_graph=keeps)) for keeps in (True, True, False))
    x = "x = torch.randn(3, requires_grad=True); y = f(x).sum()"
    if not all(are_same(first, other) for other in others):
        sentence = "A second backward through the same answer gives another gradient than the first."
        advice = "Let backward neither draw random numbers nor change what ctx keeps."
        example = f"{x}; y.backward(retain_graph=True); y.backward(retain_graph=True)"
        return failed("backward_contract", sentence, example, advice)
    if not any(held(node) for node in custom_nodes(made.outputs)):  # else torch raises, or nothing is kept
        return None
    try:
        made.gradients(given)
    except RuntimeError:
        return None
    words = "A second backward is not refused, as torch can't free what it keeps: gradients may count twice."
    advice = "Keep tensors by ctx.save_for_backward."
    return warned("backward_contract", words, f"{x}; y.backward(); y.backward()  # no error", advice)


def _clones(gradients: Sequence[Tensor | None]) -> list[Tensor | None]:
    return [None if gradient is None else gradient.clone() for gradient in gradients]


def _two_uses(call: Call, args: Sequence[Any], subject: Subject) -> Finding | None:
    """Two calls before any backward, as of one activation in two layers."""
    alone = _copied(trial(call, args))
    if not are_same(alone.answers, trial(call, args).answers):
        return None  # its answer depends on how often it was called, and so do its gradients
    other_args = subject.sample(seed=1)
    one, other = forward(call, args), forward(call, other_args)
    advice = "Keep what backward needs in ctx, not in a class, module or global, and answer with new tensors."
    calls = "y = f(x); z = f(2 * x)"
    if not are_same(alone.answers, one.answers):
        sentence = "A second call changes the answer of the first."
        return failed("backward_contract", sentence, f"{calls}; y  # is another one", advice)
    found = one.gradients()
    if not are_same(alone.gradients, found):
        sentence = "Called twice, it mixes the two up: the first answer gets the gradient of the second."
        return failed("backward_contract", sentence, f"{calls}; y.sum().backward()", advice)
    other.gradients()
    if not are_same(alone.gradients, found):
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
    for factor in (1, 3):
        made = forward(call, args)
        given = [factor * part for part in upstreams(made.outputs)]
        torch.autograd.backward(made.outputs, given, inputs=made.leaves)
    found = [leaf.grad for leaf in made.leaves]
    for leaf in made.leaves:
        leaf.grad = None
    if are_same(found, [None if gradient is None else 4 * gradient for gradient in once]):
        return None
    sentence = "Gradients of two uses do not add up."
    example = "x = torch.randn(3, requires_grad=True); (f(x) + 3 * f(x)).sum().backward(); x.grad"
    return failed("backward_contract", sentence, example, "Return a new tensor from backward each time.")


def _as_returned(subject: Subject) -> Finding | None:
    """The gradient that backward itself returns, before torch converts it."""
    for dtype in (torch.float64, torch.float32):
        args = subject.sample(dtype)
        outputs = forward(subject.at(dtype), args).outputs
        node: Any = outputs[0].grad_fn
        if len(outputs) > 1 or not custom_nodes(outputs) or node is not custom_nodes(outputs)[0]:
            continue
        try:
            with torch.no_grad():
                raw = node.apply(*upstreams(outputs))
        except Exception:  # it can't be asked without autograd
            continue
        raw = raw if isinstance(raw, tuple) else (raw,)
        for gradient, (leaf, _) in zip(raw, node.next_functions, strict=False):
            wanted = getattr(leaf, "variable", None)
            if isinstance(gradient, Tensor) and wanted is not None and gradient.dtype != wanted.dtype:
                one, other = brief(gradient.dtype), brief(wanted.dtype)
                words = (
                    f"Its backward gives a {one} gradient to a {other} input; torch converts it in silence."
                )
                example = f"f(torch.randn(3, dtype=torch.{other}, requires_grad=True)).sum().backward()"
                advice = "Keep the dtype of grad_output: no .float(), no .double()."
                return warned("backward_contract", words, example, advice)
    return None
