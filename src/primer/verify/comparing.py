"""Answers and gradients of a call by name, compared with those of another way to call it."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from primer.verify.calling import weights_of
from primer.verify.findings import Skip
from primer.verify.subject import Call, Subject

Values = dict[str, Tensor]
# chosen: float64 answers that pass through float32 inside differ by 1e-7, mistakes by far more
ROUNDING = 1e-6
LOW_ROUNDING = (1e-4, 1.0)  # chosen: of float32; onnxruntime's logsigmoid at -10 is off by 2e-5 (measured)


@dataclass(frozen=True)
class Difference:
    """The first entry at which two sets of values differ: of which of them, where, and its numbers."""

    what: str
    shape: tuple[int, ...] | None  # of that value; None where the shapes differ
    index: tuple[int, ...]
    found: float
    expected: float

    def shown(self, subject: Subject, args: Sequence[Any]) -> str:
        """In Python-ish text: the only number that matters of an elementwise function, else the shapes."""
        call = f"f({', '.join(map(_shown, args))})"
        if self.shape is None:
            return f"{call}: {self.what}"
        numbers = f"{self.found:.9g}, expected {self.expected:.9g}"
        if subject.is_elementwise and self.index:
            x = args[0].detach()
            if self.shape[len(self.shape) - x.dim() :] == x.shape:
                entry = x[self.index[len(self.index) - x.dim() :]]
                return f"x = torch.tensor([{entry.item()!r}]): {self.what} {numbers}"
        place = f"[{', '.join(map(str, self.index))}]" if self.index else ""
        return f"{call}: {self.what}{place} {numbers}"


def _shown(arg: Any) -> str:
    if not isinstance(arg, Tensor):
        return repr(arg)
    sizes = ", ".join(map(str, arg.shape)) or "()"
    return f"torch.randn({sizes})" if arg.is_floating_point() else f"<{arg.dtype} ({sizes})>"


def difference(
    found: Values, expected: Values, subject: Subject, rounding: float = ROUNDING, least: float = 1e-6
) -> Difference | None:
    """The first entry that differs by more than rounding; NaN equals NaN, and no gradient one of zeros.

    `rounding` is relative: to the entry's own size for an elementwise function, to the largest one where
    entries are sums; `least` is added to that size.
    """
    for what, right in expected.items():
        value = found.get(what, torch.zeros_like(right)).detach().to("cpu").double()
        right = right.detach().to("cpu").double()
        if value.shape != right.shape:
            shapes = f"{what} of shape {tuple(value.shape)}, expected {tuple(right.shape)}"
            return Difference(shapes, None, (), 0.0, 0.0)
        scale = right.abs().nan_to_num(0.0, 0.0, 0.0)
        scale = scale if subject.is_elementwise or not right.numel() else scale.max()
        is_equal = (value == right) | (value.isnan() & right.isnan())
        differs = ~is_equal & ~((value - right).abs() <= rounding * (scale + least))
        if differs.any():
            index = tuple(differs.nonzero()[0].tolist())
            return Difference(what, tuple(value.shape), index, float(value[index]), float(right[index]))
    return None


def outputs(answer: Any) -> list[Tensor]:
    """All tensors of an answer, however nested, complex numbers as pairs."""
    if isinstance(answer, Tensor):
        return [torch.view_as_real(answer.resolve_conj()) if answer.is_complex() else answer]
    parts = (
        answer.values() if isinstance(answer, dict) else answer if isinstance(answer, list | tuple) else ()
    )
    return [tensor for part in parts for tensor in outputs(part)]


def flat(answer: Any) -> Tensor:
    """Every floating-point number of an answer in a row, `(entries,)`."""
    parts = [part.reshape(-1) for part in outputs(answer) if part.is_floating_point()]
    return torch.cat([part.to(parts[0].dtype) for part in parts]) if parts else torch.zeros(0)


def loss_of(answer: Any, subject: Subject) -> Tensor:
    """One number from all of an answer, `()`, whose gradient says something of each entry.

    The sum for an elementwise function, so that a gradient is its slope; else entries weigh differently.
    """
    entries = flat(answer)
    weights = torch.ones_like(entries)
    if not subject.is_elementwise:
        weights = 1 + 0.5 * torch.arange(entries.numel(), device=entries.device).to(entries.dtype).cos()
    # times ones too: a gradient that is one number, expanded, can't be written
    return (entries * weights).sum()


def values_of(
    call: Call, args: Sequence[Any], subject: Subject, weights: dict[str, Tensor] | None = None
) -> Values:
    """The answers of a call, and the gradients of its arguments and weights that take one."""
    answer = call(*args)
    values = answers_of(answer)
    wanted = wanted_of(args, weights_of(call) if weights is None else weights)
    loss = loss_of(answer, subject)
    if wanted and loss.requires_grad:
        found = torch.autograd.grad(loss, list(wanted.values()), materialize_grads=True)
        values |= dict(zip(wanted, found, strict=True))
    return values


def answers_of(answer: Any) -> Values:
    """All tensors of an answer, by name."""
    return {_counted("answer", place): part for place, part in enumerate(outputs(answer))}


def wanted_of(args: Sequence[Any], weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """What a gradient goes to: arguments, then weights, by what the gradient is called."""
    takes = [isinstance(arg, Tensor) and arg.requires_grad for arg in args]
    wanted = {_counted("gradient", place): arg for place, arg in enumerate(args) if takes[place]}
    return wanted | {f"gradient of {name}": weight for name, weight in weights.items()}


def _counted(what: str, place: int) -> str:
    return f"{what} {place + 1}" if place else what


def telling(subject: Subject, dtype: torch.dtype = torch.float64) -> tuple[Any, ...]:
    """Arguments that tell most: plain numbers, kinks and tiny ones of an elementwise function, else a sample.

    In that order, so that the first that shows something is a number to try by hand.
    """
    if not subject.is_elementwise:
        return subject.sample(dtype)
    grid = subject.grid(dtype)
    order = (grid.abs() - 1).abs().argsort(stable=True)
    return (grid[order].requires_grad_(),)


def require_repeatable(subject: Subject) -> None:
    """Raise Skip where a second call does not answer the same."""
    args = telling(subject)
    first, second = (values_of(subject.at(torch.float64), args, subject) for _ in range(2))
    if difference(second, first, subject, 0.0):
        raise Skip("its answers differ from call to call: nothing to compare with")


@contextmanager
def silence() -> Iterator[None]:
    """Leave out torch's own talk, printed, logged or as warnings: what matters of it, a finding says."""
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
