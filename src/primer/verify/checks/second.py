"""Second derivatives: right, or refused with an error; and a penalty on a gradient."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.autograd.gradcheck import GradcheckError

from primer.verify.calling import Bound, bound, reason
from primer.verify.checks.derivatives import (
    LOOSE,
    SURROGATE,
    along,
    dot,
    drawn_like,
    options_of,
    require_comparable,
)
from primer.verify.findings import Finding, Verdict, failed, passed, skipped, together, warned
from primer.verify.subject import Subject
from primer.verify.telling import told

SMALL = (2, 3)  # chosen: its second derivatives are computed one by one
SECOND = "g, = torch.autograd.grad(f(x).sum(), x, create_graph=True); g.sum().backward(); x.grad"
PENALTY = "g, = torch.autograd.grad(f(x * w).sum(), x, create_graph=True); (g * g).sum().backward(); w.grad"
UNDETACHED = (
    "Compute backward from what save_for_backward kept, by tensor operations, undetached; or let it refuse: "
    "`if torch.is_grad_enabled(): raise ...`, since once_differentiable lets some pass."
)


def gradgradcheck(subject: Subject) -> Finding:
    """Its second derivative is that of its first, by finite differences in float64, or 0."""
    check = "gradgradcheck"
    if not subject.is_derivative:
        return skipped(check, SURROGATE)
    if subject.spec.once_differentiable:
        return skipped(check, "It is declared to have no second derivative.")
    each = bound(subject, shape=SMALL if subject.is_elementwise else None)
    require_comparable(each, is_second=True)
    options = options_of(subject, each)
    try:
        torch.autograd.gradgradcheck(each.call, each.leaves, **options)
    except RuntimeError as error:
        refusal = _refusal(each) if isinstance(error, GradcheckError) else reason(error)
        if refusal:
            advice = "Declare once_differentiable, or compute backward by tensor operations."
            return warned(check, f"It has no second derivative, and says so: {refusal}", SECOND, advice)
        return failed(check, "Its second derivative is wrong, and no error says so.", SECOND, UNDETACHED)
    return passed(check, f"Its second derivative is right, to {options['rtol']:g} of its size.")


def _refusal(each: Bound) -> str | None:
    """The error of a second backward, as once_differentiable raises; torch's check takes it for zeros."""
    answers = each.call(*each.leaves)
    above = [torch.ones_like(answer, requires_grad=True) for answer in answers]
    found = torch.autograd.grad(answers, each.leaves, above, create_graph=True, materialize_grads=True)
    try:
        if any(gradient.requires_grad for gradient in found):
            torch.autograd.backward(dot(found, found))
    except RuntimeError as error:
        return reason(error)
    return None


def gradient_penalty(subject: Subject) -> Finding:
    """A penalty on its gradient trains rightly, or is refused with an error; it is never wrong in silence."""
    each = bound(subject)
    if not each.num_args:
        return skipped("gradient_penalty", "No argument takes a gradient.")
    require_comparable(each, is_second=True)
    # A layer after it makes the gradient of its answer depend on weights, too.
    found = together([_penalised(each, has_layer_after=after) for after in (True, False)])
    if found.verdict is Verdict.FAIL and subject.spec.once_differentiable:  # it says what torch lets pass
        return dataclasses.replace(found, verdict=Verdict.WARN)
    return found


def _penalised(each: Bound, *, has_layer_after: bool) -> Finding:
    """Whether the gradient of a penalty on its gradient is right, behind a layer: arguments are x * w."""
    check, args, own = "gradient_penalty", each.leaves[: each.num_args], each.leaves[each.num_args :]
    layer = [1 + 0.1 * drawn_like(arg, 7 + seed).sin() for seed, arg in enumerate(args)]
    after = [drawn_like(answer, seed) for seed, answer in enumerate(each.answers)]
    inputs = [(arg.detach() / w).requires_grad_() for arg, w in zip(args, layer, strict=True)]
    end = len(layer) + len(own)

    def penalty(weights: Sequence[Tensor]) -> Tensor:
        given = [x * w for x, w in zip(inputs, weights, strict=False)]
        answers = each.call(*given, *weights[len(layer) : end])
        loss = dot(answers, weights[end:] or after)
        gradients = torch.autograd.grad(loss, inputs, create_graph=True, materialize_grads=True)
        return dot(gradients, gradients)

    weights = [*layer, *own, *(after if has_layer_after else ())]
    try:
        size = max(1.0, float(penalty(weights).detach()))
        pairs = along(penalty, weights)
    except RuntimeError as error:
        return passed(check, f"It refuses a penalty on its gradient with an error: {reason(error)}")
    for found, right in pairs:
        if not abs(found - right) <= LOOSE * (abs(right) + size):
            numbers = f"{told(found)}, not {told(right)}"
            words = f"Along a direction, a penalty on its gradient has the slope {numbers}, without an error."
            return failed(check, words, f"{PENALTY}  # {numbers}", UNDETACHED, found=found, expected=right)
    return passed(check, "A penalty on its gradient gets the right gradient.")
