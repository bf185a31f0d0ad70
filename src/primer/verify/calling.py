"""Calls of what is verified, and of its reference: answers, gradients, and arguments of their own."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from primer.verify.subject import Call, Subject, tensors_of

LONGEST = 160  # chosen: letters of an error that are told


@dataclass(frozen=True)
class Trial:
    """All tensors that a call answered, and the gradient of each leaf that asks for one."""

    answers: list[Tensor]
    gradients: list[Tensor | None]


def trial(
    call: Call,
    args: Sequence[Any],
    upstream: Callable[[Tensor], Tensor] | None = None,
    *,
    seed: int = 0,
    weights: Call | None = None,
) -> Trial:
    """Call it and go back; `upstream` makes of each upstream gradient another one, say with other strides.

    `weights` is what has the weights, where it is not the call itself.
    """
    answers = called(call, args, seed=seed)
    outputs = [answer for answer in answers if answer.requires_grad]
    leaves = leaves_of(weights or call, args)
    gradients: list[Tensor | None] = [None] * len(leaves)
    if outputs and leaves:
        given = [upstream(part) if upstream else part for part in upstreams(outputs)]
        gradients = list(torch.autograd.grad(outputs, leaves, given, allow_unused=True))
    return Trial([answer.detach() for answer in answers], gradients)


def called(call: Call, args: Sequence[Any], *, seed: int = 0) -> list[Tensor]:
    """The tensors that it answers; what draws random numbers draws the same each time."""
    torch.manual_seed(seed)
    return tensors_of(call(*args))


def leaves_of(call: Call | None, args: Sequence[Any]) -> list[Tensor]:
    """The arguments, then the weights, that ask for a gradient."""
    own = [arg for arg in args if isinstance(arg, Tensor) and arg.requires_grad]
    return [*own, *weights_of(call).values()]


def upstreams(outputs: Sequence[Tensor]) -> list[Tensor]:
    """A gradient for each output, drawn, in its dtype and strides; the same values for the same shapes."""
    generator = torch.Generator().manual_seed(1)
    drawn = [torch.randn(output.shape, generator=generator) for output in outputs]
    return [torch.empty_like(output.detach()).copy_(g) for output, g in zip(outputs, drawn, strict=True)]


def unfit(call: Call, args: Sequence[Any]) -> str | None:
    """Why nothing more can be asked about its gradients; None: it can."""
    outputs = [answer for answer in called(call, args) if answer.requires_grad]
    if not outputs or not leaves_of(call, args):
        return "No gradient goes through it."
    try:
        trial(call, args)
    except Exception as error:
        return f"Its backward fails ({type(error).__name__}), as backward_contract tells."
    return None


def reason(error: BaseException) -> str:
    """What an error says, in short: its name and first line."""
    text = re.sub(r" at 0x[0-9a-f]+|\x1b\[[0-9;]*m", "", str(error))  # addresses and colours
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    line = ": ".join([type(error).__name__, *lines[:1]])
    return line if len(line) <= LONGEST else f"{line[:LONGEST]}..."


Upstream = Callable[[Tensor], Tensor]  # from a drawn gradient of an answer to the one that is taken


def pair(subject: Subject, dtype: torch.dtype, like: Call | None = None) -> tuple[Call, Call | None]:
    """The call, or one `like` it, and its reference, with equal weights where those have the same shapes."""
    call = like or subject.at(dtype)
    if subject.reference is None:
        return call, None
    reference = subject.reference_at(dtype)
    ours, others = leaves_of(call, ()), leaves_of(reference, ())
    if [one.shape for one in ours] == [other.shape for other in others]:
        with torch.no_grad():
            for one, other in zip(ours, others, strict=True):
                other.copy_(one)
    return call, reference


def differentiable(subject: Subject, dtype: torch.dtype) -> tuple[Call, Call | None]:
    """The same, without a reference that has no gradient, as one in NumPy."""
    call, reference = pair(subject, dtype)
    try:
        answers = called(reference, subject.sample(dtype)) if reference else []
    except Exception:
        answers = []
    return call, reference if any(answer.requires_grad for answer in answers) else None


def copies(args: Sequence[Any], dtype: torch.dtype | None = None) -> tuple[Any, ...]:
    """Arguments of its own for a call: that it changes them in place is told by the check meant for it."""
    return tuple(_copy(arg, dtype) if isinstance(arg, Tensor) else arg for arg in args)


def _copy(arg: Tensor, dtype: torch.dtype | None) -> Tensor:
    value = arg.detach().clone()
    value = value.to(dtype) if dtype and value.is_floating_point() else value
    return value.requires_grad_(arg.requires_grad)


def pulled(
    call: Call, args: Sequence[Any], upstream: Upstream | None = None
) -> tuple[list[Tensor], list[Tensor]]:
    """Answers, and the gradients of what takes one: arguments, then weights; zeros where there is none."""
    given = copies(args)
    found = trial(call, given, upstream)
    pairs = zip(leaves_of(call, given), found.gradients, strict=True)
    return found.answers, [torch.zeros_like(leaf) if part is None else part for leaf, part in pairs]


def answers_of(call: Call, args: Sequence[Any]) -> list[Tensor]:
    """The tensors that it answers, to arguments that take no gradient: NumPy may be within."""
    return [answer.detach() for answer in called(call, detached(copies(args)))]


def detached(args: Sequence[Any]) -> tuple[Any, ...]:
    """The same arguments, to which no gradient goes."""
    return tuple(arg.detach() if isinstance(arg, Tensor) else arg for arg in args)


def weights_of(call: Call | None) -> dict[str, Tensor]:
    """The weights of a module that learn, by name; none of a plain function."""
    named = call.named_parameters() if isinstance(call, nn.Module) else ()
    return {name: weight for name, weight in named if weight.requires_grad}


def everywhere(value: float) -> Upstream:
    """The same gradient for each entry of an answer."""
    return lambda drawn: torch.full_like(drawn, value)


def leaf_names(subject: Subject) -> list[str]:
    """What `pulled` gives gradients of."""
    args = [place for place, given in enumerate(subject.inputs) if given.has_grad]
    names = ["its input" if len(subject.inputs) == 1 else f"argument {place + 1}" for place in args]
    return names + [f"its weight {name!r}" for name in weights_of(subject.module)]


CLOSE = 1e-4  # chosen: what is nearer to a kink than this is told by the checks of this file alone


FAR = (10.7, 20.3, 61.7, 101.3, 1003.7)  # chosen: where exp and squares get large; round numbers may be kinks


def apart(subject: Subject, x: Tensor, by: float = CLOSE) -> Tensor:
    """Those inputs of an elementwise function that it is made for, and that are further from its kinks."""
    kind = subject.inputs[0].kind
    is_inside = (x > 0) & ((x < 1) | (kind == "positive")) if kind in ("positive", "unit") else x == x
    for place in subject.kinks:
        is_inside &= (x.double() - place).abs() > by
    return x[is_inside]


def line(subject: Subject, dtype: torch.dtype, offset: float = 0.0) -> Tensor:
    """Many inputs of an elementwise function, none near a kink, (entries,)."""
    near, far = torch.arange(-800, 801, dtype=torch.float64) / 100, torch.tensor(FAR, dtype=torch.float64)
    return apart(subject, torch.cat([near, far, -far]) + offset).to(dtype)


@dataclass(frozen=True)
class Bound:
    """The function of what takes a gradient alone, arguments and then weights, in float64."""

    call: Callable[..., tuple[Tensor, ...]]
    leaves: tuple[Tensor, ...]
    num_args: int
    answers: tuple[Tensor, ...]


def bound(subject: Subject, *, seed: int = 0, shape: Sequence[int] | None = None) -> Bound:
    """With arguments drawn by `seed`; what isn't differentiable is left out of the answers."""
    call = subject.at(torch.float64)
    args = subject.sample(seed=seed, shape=shape)
    if subject.is_elementwise:
        args = (_where_finite(subject, args[0]),)
    places = [place for place, arg in enumerate(args) if isinstance(arg, Tensor) and arg.requires_grad]
    weights = weights_of(call)

    def outputs(*leaves: Tensor) -> list[Tensor]:
        given = list(copies(args))
        for place, leaf in zip(places, leaves, strict=False):
            given[place] = leaf.clone()  # its own, should it be changed in place
        if not weights:
            return called(call, given)
        values = dict(zip(weights, leaves[len(places) :], strict=True))
        assert isinstance(call, nn.Module)
        module = call
        return called(lambda *given: torch.func.functional_call(module, values, given), given)

    leaves = [args[place] for place in places] + [weight.detach().clone() for weight in weights.values()]
    leaves = [leaf.requires_grad_() for leaf in leaves]
    answers = outputs(*leaves)
    kept = [place for place, answer in enumerate(answers) if answer.requires_grad]
    kept = kept or [place for place, answer in enumerate(answers) if answer.is_floating_point()]

    def function(*leaves: Tensor) -> tuple[Tensor, ...]:
        found = outputs(*leaves)
        return tuple(found[place] for place in kept)

    return Bound(function, tuple(leaves), len(places), tuple(answers[place].detach() for place in kept))


def _where_finite(subject: Subject, x: Tensor) -> Tensor:
    """Those entries whose answers are finite, as of a logarithm of which no inputs are declared."""
    is_finite = called(subject.at(torch.float64), copies((x,)))[0].isfinite()
    return x if bool(is_finite.all()) else x.detach()[is_finite].requires_grad_()
