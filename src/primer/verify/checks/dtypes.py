"""Which tensors does it take, and for which of its inputs does it give a gradient?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from primer.verify.calling import called, forward, leaves_of, reason, require_gradients, trial, upstreams
from primer.verify.findings import Finding, failed, passed, skipped, together, warned
from primer.verify.subject import Call, Subject
from primer.verify.telling import are_same, brief

DTYPES = (torch.int64, torch.int32, torch.uint8, torch.bool, torch.complex64)


def integers(subject: Subject) -> Finding:
    """Whole numbers, bool and complex are taken or refused, and answered, as the reference does."""
    if subject.reference is None:
        return skipped("integers", "There is no reference to tell which dtypes it should take.")
    num_drawn = sum(given.kind != "constant" for given in subject.inputs)
    if num_drawn != 1 or len(leaves_of(None, subject.sample())) != 1:
        return skipped("integers", "It takes several tensors; this is asked of functions of one.")
    call, reference = subject.at(torch.float64), subject.reference_at(torch.float64)
    differing = []
    for dtype in DTYPES:
        args = [_cast(arg, dtype) for arg in subject.sample(requires_grad=False)]
        ours, theirs = _outcome(call, args), _outcome(reference, args)
        if not _is_alike(ours, theirs):
            differing.append((brief(dtype), _in_words(ours), _in_words(theirs)))
    name = subject.reference_name
    if not differing:
        sentence = f"It takes whole numbers, bool and complex ones, or refuses them, as {name} does."
        return passed("integers", sentence)
    told = "; ".join(
        f"given {dtype} it {ours}" + (f" where {name} {theirs}" if ours != theirs else ", but other numbers")
        for dtype, ours, theirs in differing
    )
    advice = "Raise TypeError for dtypes that it is not made for, or let it be: nets rarely meet them."
    example = f"f(torch.ones(2, dtype=torch.{differing[0][0]}))"
    return warned("integers", f"Unlike {name}: {told}.", example, advice, num_differing=len(differing))


def _cast(arg: Any, dtype: torch.dtype) -> Any:
    if not isinstance(arg, Tensor) or not arg.is_floating_point():
        return arg
    whole = (3 * arg).round()
    return (whole.abs() if dtype in (torch.uint8, torch.bool) else whole).to(dtype)


def _outcome(call: Call, args: Sequence[Any]) -> Tensor | Exception:
    try:
        with torch.no_grad():
            return called(call, args)[0]
    except Exception as error:
        return error


def _is_alike(ours: Tensor | Exception, theirs: Tensor | Exception) -> bool:
    if isinstance(ours, Exception) or isinstance(theirs, Exception):
        return isinstance(ours, Exception) and isinstance(theirs, Exception)
    if ours.dtype != theirs.dtype or ours.shape != theirs.shape:
        return False
    return torch.equal(ours, theirs) or (
        ours.dtype != torch.bool and torch.allclose(ours, theirs, equal_nan=True)
    )


def _in_words(outcome: Tensor | Exception) -> str:
    if isinstance(outcome, Exception):
        return f"raises {type(outcome).__name__}"
    return f"answers {brief(outcome.dtype)}"


class _Unused(Function):
    """Takes answers and hands no gradient back, as a loss does that does not depend on them."""

    @staticmethod
    def forward(ctx: Any, *answers: Tensor) -> Tensor:
        ctx.num_answers = len(answers)
        return answers[0].new_zeros(())

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Any:
        return (None,) * ctx.num_answers


def parts_of_inputs(subject: Subject) -> Finding:
    """A gradient for some inputs or weights only is the right one, also where an answer is not used."""
    call, args = subject.at(torch.float64), subject.sample()
    require_gradients(call, args)
    num_leaves = len(leaves_of(call, args))
    problems = [_without_any(call, args), *_unused(call, args)]
    problems += _alone(call, args) if num_leaves > 1 else []
    which = "each of its inputs and weights alone is right" if num_leaves > 1 else "its input is right"
    sentence = f"A gradient for {which}, with and without a use of its answer."
    return together([*problems, passed("parts_of_inputs", sentence, num_leaves=num_leaves)])


def _compared(
    look: Callable[[], Sequence[Tensor | None]],
    right: Sequence[Tensor | None],
    fails: str,
    wrong: str,
    example: str,
    advice: str,
) -> Finding | None:
    """What is wrong with what `look` sees, which should be as `right`: it raises, or is another."""
    try:
        found = look()
    except Exception as error:
        return failed("parts_of_inputs", fails, f"{example}  # {reason(error)}", advice)
    return None if are_same(found, right) else failed("parts_of_inputs", wrong, example, advice)


def _alone(call: Call, args: Sequence[Any]) -> list[Finding | None]:
    """Each input or weight, while the others ask for no gradient, as frozen ones do."""
    problems = []
    leaves, whole = leaves_of(call, args), trial(call, args).gradients
    num_args = len(leaves_of(None, args))
    advice = "Return None for an argument only where ctx.needs_input_grad is False for that very one."
    for index, (leaf, right) in enumerate(zip(leaves, whole, strict=True)):
        part = f"input {index + 1}" if index < num_args else f"weight {index - num_args + 1}"
        for other in leaves:
            other.requires_grad_(other is leaf)
        example = f"all but {part}: .requires_grad_(False); f(...).sum().backward()"
        fails = f"It fails where a gradient is asked for {part} only, the others being frozen."
        wrong = f"Where a gradient is asked for {part} only, the others being frozen, it is wrong."
        problems.append(
            _compared(lambda: trial(call, args).gradients, [right], fails, wrong, example, advice)
        )
    for leaf in leaves:
        leaf.requires_grad_(True)
    return problems


def _without_any(call: Call, args: Sequence[Any]) -> Finding | None:
    """As in evaluation."""
    right = trial(call, args).answers
    try:
        with torch.no_grad():
            found = called(call, args)
    except Exception as error:
        advice = "Save only what there is: nothing may need a gradient."
        example = f"with torch.no_grad(): f(x)  # {reason(error)}"
        return failed("parts_of_inputs", "It fails where no gradient is asked for.", example, advice)
    if are_same(found, right):
        return None
    sentence = "It answers otherwise where no gradient is asked for, as in evaluation."
    example, advice = "with torch.no_grad(): f(x)", "Compute the same in both cases."
    return failed("parts_of_inputs", sentence, example, advice)


def _unused(call: Call, args: Sequence[Any]) -> list[Finding | None]:
    """An answer that nobody used: none of them, then all but one."""
    problems = []
    num_outputs = len(forward(call, args).outputs)
    advice = "After ctx.set_materialize_grads(False) a gradient may be None: return None for it."
    for used in [None, *(range(num_outputs) if num_outputs > 1 else ())]:
        which = "its answer is not used in the loss" if used is None else f"only answer {used + 1} is used"
        example = "backward(ctx, None)" if used is None else f"f(x)[{used}].sum().backward()"
        right = _gradients_with(call, args, used, is_zero=True)
        look = partial(_gradients_with, call, args, used, is_zero=False)
        fails, wrong = f"Its backward fails where {which}.", f"Its gradient is wrong where {which}."
        problems.append(_compared(look, right, fails, wrong, example, advice))
    return problems


def _gradients_with(
    call: Call, args: Sequence[Any], used: int | None, *, is_zero: bool
) -> Sequence[Tensor | None]:
    """The gradients where one answer, or none, is used: others are handed zeros, or, as in a net, nothing."""
    made = forward(call, args)
    given = upstreams(made.outputs)
    if is_zero:
        zeros = [g if index == used else torch.zeros_like(g) for index, g in enumerate(given)]
        return made.gradients(zeros)
    if used is not None:
        return torch.autograd.grad(made.outputs[used], made.leaves, given[used], allow_unused=True)
    end: Tensor = _Unused.apply(*made.outputs)  # type: ignore[no-untyped-call]
    return torch.autograd.grad(end, made.leaves, allow_unused=True)
