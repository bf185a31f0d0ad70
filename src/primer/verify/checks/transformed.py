"""torch.vmap and torch.func: do they give what one plain call after another gives?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from primer.verify.calling import as_module, changed, reason, weights_of
from primer.verify.comparing import (
    Values,
    difference,
    flat,
    loss_of,
    outputs,
    require_repeatable,
    silence,
    telling,
    values_of,
    wanted_of,
)
from primer.verify.findings import Finding, failed, passed, warned
from primer.verify.subject import Call, Subject

NUM_SAMPLES = 3  # chosen
NUM_ROWS = 8  # chosen: rows of a Jacobian that are looked at; all of them may be hundreds


@dataclass(frozen=True)
class Seen:
    """What a transform gave, what plain calls gave, and the arguments that were given."""

    found: Values
    expected: Values
    args: Sequence[Any]


Probe = Callable[[Subject, Call], Seen | None]


def transforms(subject: Subject) -> Finding:
    """Whether vmap, func.grad, jacrev and per-sample gradients are right; and forward mode, if it has one."""
    require_repeatable(subject)
    call, refused = subject.at(torch.float64), dict[str, Exception]()
    for name, probe in (PROBES | FORWARD_MODE).items():
        try:
            with silence():
                seen = probe(subject, call)
        except Exception as error:
            refused[name] = error
            continue
        differs = difference(seen.found, seen.expected, subject) if seen else None
        if seen and differs:
            return _wrong(subject, name, differs.shown(subject, seen.args))
    lost = [name for name in refused if name in PROBES and _can_reference(subject, name)]
    if lost:
        sentence = f"It raises under {', '.join(lost)}; a plain training is not affected."
        refusal = refused[lost[0]]
        return warned("transforms", sentence, f"{lost[0]}: {reason(refusal)}", _advice(str(refusal)))
    words = [f"{name} {'is not there' if name in refused else 'works'}" for name in FORWARD_MODE]
    sentence = "torch.vmap, torch.func.grad, jacrev and per-sample gradients give what plain calls give"
    return passed("transforms", f"{sentence}. Forward mode, which few trainings need: {', '.join(words)}.")


def _can_reference(subject: Subject, name: str) -> bool:
    """Whether the reference can what the function refuses; so it is taken to be where there is none."""
    if subject.reference is None:
        return True
    try:
        with silence():
            PROBES[name](subject, subject.reference_at(torch.float64))
    except Exception:
        return False
    return True


def _wrong(subject: Subject, name: str, example: str) -> Finding:
    if name not in FORWARD_MODE:
        sentence = f"Under {name} it gives other numbers than one plain call after another, without an error."
        advice = "Mend its vmap staticmethod (in_dims says which dimension of each input is the batch), or"
        return failed("transforms", sentence, example, f"{advice} set generate_vmap_rule = True instead.")
    sentence = f"Forward mode ({name}) gives another slope than its backward does, without an error."
    if subject.is_derivative:
        advice = "Mend its jvp staticmethod: it has to return the derivative times the tangent; or remove it."
        return failed("transforms", sentence, example, advice)
    return warned("transforms", sentence, example, "Use the slope of the backward in jvp too, or remove jvp.")


def _advice(text: str) -> str:
    if "setup_context" in text:
        return "Write forward without ctx, setup_context(ctx, inputs, output), and generate_vmap_rule = True."
    if "generate_vmap_rule" in text:
        return "Set generate_vmap_rule = True where all of it is plain torch operations, else write a vmap."
    return "Use torch operations that can be batched: no .item(), no numpy, torch.where for x[mask] = 0."


def _stacked(subject: Subject, dim: int) -> tuple[list[Any], list[int | None]]:
    """Arguments of a batch along a dimension, and where each has it: constants nowhere."""
    args, dims = list[Any](), list[int | None]()
    samples = [_arguments(subject, seed) for seed in range(NUM_SAMPLES)]
    for given, *parts in zip(subject.inputs, *samples, strict=True):
        if given.kind != "constant":
            stacked = torch.stack([part.detach() for part in parts], dim=dim)
            args.append(stacked.requires_grad_(parts[0].requires_grad))
            dims.append(dim)
        else:
            args.append(parts[0])
            dims.append(None)
    return args, dims


def _arguments(subject: Subject, seed: int) -> tuple[Any, ...]:
    """Telling ones of an elementwise function, in another order for each seed."""
    if not subject.is_elementwise:
        return subject.sample(seed=seed)
    return changed(telling(subject), lambda grid: grid.roll(7 * seed))


def _one_by_one(call: Call, dims: Sequence[int | None]) -> Call:
    """What vmap has to give: the answers for each sample, stacked."""

    def looped(*args: Any) -> list[Tensor]:
        pairs = list(zip(args, dims, strict=True))
        answers = [
            outputs(call(*(arg if dim is None else arg.select(dim, sample) for arg, dim in pairs)))
            for sample in range(NUM_SAMPLES)
        ]
        return [torch.stack(parts) for parts in zip(*answers, strict=True)]

    return looped


def _vmap(subject: Subject, call: Call, *, dim: int = 0) -> Seen:
    return _vmapped(subject, call, *_stacked(subject, dim))


def _vmapped(subject: Subject, call: Call, args: Sequence[Any], dims: Sequence[int | None]) -> Seen:
    batched, looped = torch.vmap(call, in_dims=tuple(dims)), _one_by_one(call, dims)
    found, expected = (values_of(each, args, subject, weights_of(call)) for each in (batched, looped))
    return Seen(found, expected, args)


def _vmap_one(subject: Subject, call: Call) -> Seen | None:
    """The first tensor is batched, the others are the same for all samples."""
    args, dims = _stacked(subject, 0)
    places = [place for place, dim in enumerate(dims) if dim is not None]
    for place in places[1:]:
        args[place] = args[place].detach()[0].requires_grad_(args[place].requires_grad)
        dims[place] = None
    return _vmapped(subject, call, args, dims) if len(places) > 1 else None


@dataclass(frozen=True)
class Pure:
    """The call as torch.func takes it: of the tensors that a gradient goes to, and of the others."""

    call: Call
    args: Sequence[Any]

    @property
    def wanted(self) -> dict[str, Tensor]:
        """Arguments and weights that take a gradient, detached, by what the gradient is called."""
        return {name: part.detach() for name, part in wanted_of(self.args, weights_of(self.call)).items()}

    @property
    def others(self) -> list[Any]:
        """The other arguments, and None in the place of those."""
        return [None if isinstance(arg, Tensor) and arg.requires_grad else arg for arg in self.args]

    def __call__(self, wanted: dict[str, Tensor], others: list[Any] | None = None) -> Any:
        """The answer for such tensors."""
        names = iter(wanted)
        takes = [isinstance(arg, Tensor) and arg.requires_grad for arg in self.args]
        pairs = zip(takes, self.others if others is None else others, strict=True)
        args = [wanted[next(names)] if takes_one else other for takes_one, other in pairs]
        weights = {name.removeprefix("gradient of "): wanted[name] for name in names}
        return torch.func.functional_call(as_module(self.call), weights, tuple(args))


def _gradients(subject: Subject, call: Call, args: Sequence[Any]) -> Values:
    values = values_of(call, args, subject)
    return {name: value for name, value in values.items() if name.startswith("gradient")}


def _grad(subject: Subject, call: Call) -> Seen | None:
    args = telling(subject)
    pure, expected = Pure(call, args), _gradients(subject, call, args)
    found = torch.func.grad(lambda wanted: loss_of(pure(wanted), subject))(pure.wanted) if expected else {}
    return Seen(found, expected, args)


def _per_sample(subject: Subject, call: Call) -> Seen | None:
    """The gradients of each sample of a batch, for its arguments and for the weights."""
    args, dims = _stacked(subject, 0)
    pairs = list(zip(args, dims, strict=True))
    singles = [
        _gradients(subject, call, [arg if dim is None else arg[sample] for arg, dim in pairs])
        for sample in range(NUM_SAMPLES)
    ]
    if not singles[0]:
        return None
    expected = {name: torch.stack([single[name] for single in singles]) for name in singles[0]}
    pure = Pure(call, args)
    batched = {name: None if name.startswith("gradient of ") else 0 for name in pure.wanted}
    others = [None if other is None else dim for other, dim in zip(pure.others, dims, strict=True)]
    gradient = torch.func.grad(lambda wanted, others: loss_of(pure(wanted, others), subject))
    return Seen(torch.vmap(gradient, in_dims=(batched, others))(pure.wanted, pure.others), expected, args)


def _rows(answer: Any) -> Tensor:
    """Some of the numbers of an answer, `(rows,)`."""
    entries = flat(answer)
    return entries[:: max(1, entries.numel() // NUM_ROWS)]


def _jacobian(call: Call, args: Sequence[Any]) -> Values:
    """The rows of the Jacobian of each argument and weight, as plain autograd gives them one by one."""
    wanted, rows = wanted_of(args, weights_of(call)), _rows(call(*args))
    if not wanted or not rows.requires_grad:
        return {}
    parts = [
        torch.autograd.grad(row, list(wanted.values()), retain_graph=True, materialize_grads=True)
        for row in rows
    ]
    return dict(zip(wanted, map(torch.stack, zip(*parts, strict=True)), strict=True))


def _jacobians(
    transform: Callable[..., Any],
    arguments: Callable[[Subject], Sequence[Any]],
    subject: Subject,
    call: Call,
) -> Seen:
    args = arguments(subject)
    pure, expected = Pure(call, args), _jacobian(call, args)
    found = transform(lambda wanted: _rows(pure(wanted)))(pure.wanted) if expected else {}
    return Seen(found, expected, args)


def _smooth(subject: Subject) -> tuple[Any, ...]:
    """Away from kinks: there torch's own PReLU has another slope in forward mode."""
    return subject.sample(shape=(NUM_ROWS,)) if subject.is_elementwise else subject.sample()


def _jvp(subject: Subject, call: Call) -> Seen | None:
    """The slope in one direction, which follows from the rows of the Jacobian too."""
    args = _smooth(subject)
    pure, jacobian = Pure(call, args), _jacobian(call, args)
    if not jacobian:
        return None
    direction = {name: torch.ones_like(part) for name, part in pure.wanted.items()}
    slope = torch.func.jvp(lambda wanted: _rows(pure(wanted)), (pure.wanted,), (direction,))[1]
    expected = torch.stack([rows.flatten(1).sum(1) for rows in jacobian.values()]).sum(0)
    return Seen({"slope": slope}, {"slope": expected}, args)


PROBES: dict[str, Probe] = {
    "torch.vmap": _vmap,
    "torch.vmap(in_dims=-1)": partial(_vmap, dim=-1),
    "torch.vmap of the first tensor": _vmap_one,
    "torch.func.grad": _grad,
    "torch.func.jacrev": partial(_jacobians, torch.func.jacrev, telling),
    "vmap(grad) for per-sample gradients": _per_sample,
}
FORWARD_MODE: dict[str, Probe] = {
    "torch.func.jvp": _jvp,
    "torch.func.jacfwd": partial(_jacobians, torch.func.jacfwd, _smooth),
}
