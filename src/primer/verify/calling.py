"""Calls of what is verified, and of its reference: answers, gradients, and arguments of their own."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from primer.verify.findings import Skip
from primer.verify.subject import Call, Subject, tensors_of

LONGEST = 160  # chosen: letters of an error that are told
CLOSE = 1e-4  # chosen: what is nearer to a kink than this is told by the checks of kinks alone
FAR = (10.7, 20.3, 61.7, 101.3, 1003.7)  # chosen: where exp and squares get large; round numbers may be kinks

Upstream = Callable[[Tensor], Tensor]  # from a drawn gradient of an answer to the one that is taken


@dataclass(frozen=True)
class Forward:
    """A call that was made: what it answered, what of that has a gradient, and what this goes to."""

    answers: list[Tensor]
    outputs: list[Tensor]
    leaves: list[Tensor]

    def gradients(
        self, given: Sequence[Tensor] | None = None, *, retain_graph: bool = False
    ) -> list[Tensor | None]:
        """Those of the leaves, for the `given` gradients of the outputs, or drawn ones."""
        given = given or upstreams(self.outputs)
        return list(torch.autograd.grad(self.outputs, self.leaves, given, retain_graph, allow_unused=True))


def forward(call: Call, args: Sequence[Any], *, seed: int = 0, leaves: list[Tensor] | None = None) -> Forward:
    """Call it; gradients go to the arguments and weights that ask for one, or to other `leaves`."""
    answers = called(call, args, seed=seed)
    return Forward(answers, with_grad(answers), leaves_of(call, args) if leaves is None else leaves)


@dataclass(frozen=True)
class Trial:
    """All tensors that a call answered, and the gradient of each leaf that asks for one."""

    answers: list[Tensor]
    gradients: list[Tensor | None]

    @property
    def tensors(self) -> list[Tensor | None]:
        """All of them."""
        return [*self.answers, *self.gradients]


def trial(
    call: Call,
    args: Sequence[Any],
    upstream: Upstream | None = None,
    *,
    seed: int = 0,
    leaves: list[Tensor] | None = None,
) -> Trial:
    """Call it and go back; `upstream` makes of each upstream gradient another one, say with other strides."""
    made = forward(call, args, seed=seed, leaves=leaves)
    gradients: list[Tensor | None] = [None] * len(made.leaves)
    if made.outputs and made.leaves:
        given = upstreams(made.outputs)
        gradients = made.gradients([upstream(part) for part in given] if upstream else given)
    return Trial([answer.detach() for answer in made.answers], gradients)


def called(call: Call, args: Sequence[Any], *, seed: int = 0) -> list[Tensor]:
    """The tensors that it answers; what draws random numbers draws the same each time."""
    torch.manual_seed(seed)
    return tensors_of(call(*args))


def with_grad(tensors: Iterable[Any]) -> list[Tensor]:
    """Those that are tensors through which a gradient goes."""
    return [each for each in tensors if isinstance(each, Tensor) and each.requires_grad]


def leaves_of(call: Call | None, args: Sequence[Any]) -> list[Tensor]:
    """The arguments, then the weights, that ask for a gradient."""
    return [*with_grad(args), *weights_of(call).values()]


def upstreams(outputs: Sequence[Tensor]) -> list[Tensor]:
    """A gradient for each output, drawn, in its dtype and strides; the same values for the same shapes."""
    generator = torch.Generator().manual_seed(1)
    drawn = [torch.randn(output.shape, generator=generator) for output in outputs]
    return [torch.empty_like(output.detach()).copy_(g) for output, g in zip(outputs, drawn, strict=True)]


def require_gradients(call: Call, args: Sequence[Any]) -> None:
    """Raise Skip where nothing more can be asked about its gradients."""
    made = forward(call, args)
    if not made.outputs or not made.leaves:
        raise Skip("No gradient goes through it.")
    try:
        trial(call, args)
    except Exception as error:
        raise Skip(f"Its backward fails ({type(error).__name__}), as backward_contract tells.") from None


def reason(error: BaseException) -> str:
    """What an error says, in short: its name and first line."""
    text = re.sub(r" at 0x[0-9a-f]+|\x1b\[[0-9;]*m", "", str(error))  # addresses and colours
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    line = ": ".join([type(error).__name__, *lines[:1]])
    return line if len(line) <= LONGEST else f"{line[:LONGEST]}..."


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


def changed(args: Sequence[Any], change: Callable[[Tensor], Tensor]) -> tuple[Any, ...]:
    """The arguments with each tensor changed, leaves that take a gradient where it took one."""
    return tuple(
        change(arg.detach()).requires_grad_(arg.requires_grad) if isinstance(arg, Tensor) else arg
        for arg in args
    )


def copies(args: Sequence[Any], dtype: torch.dtype | None = None) -> tuple[Any, ...]:
    """Arguments of its own for a call: that it changes them in place is told by the check meant for it."""
    return changed(args, lambda arg: arg.clone().to(dtype=dtype if arg.is_floating_point() else None))


def pulled(
    call: Call, args: Sequence[Any], upstream: Upstream | None = None, *, seed: int = 0
) -> tuple[list[Tensor], list[Tensor]]:
    """Answers, and the gradients of what takes one: arguments, then weights; zeros where there is none."""
    given = copies(args)
    found = trial(call, given, upstream, seed=seed)
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


class Calling(nn.Module):
    """A module that calls a function, as a user would wrap it."""

    def __init__(self, call: Call) -> None:
        super().__init__()
        self.call = call

    def forward(self, *args: Any) -> Any:
        return self.call(*args)


def as_module(call: Call) -> nn.Module:
    """The call itself where it is a module, else one around it."""
    return call if isinstance(call, nn.Module) else Calling(call)


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
    weights, module = weights_of(call), as_module(call)

    def outputs(*leaves: Tensor) -> list[Tensor]:
        given = list(copies(args))
        for place, leaf in zip(places, leaves, strict=False):
            given[place] = leaf.clone()  # its own, should it be changed in place
        values = dict(zip(weights, leaves[len(places) :], strict=True))
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
