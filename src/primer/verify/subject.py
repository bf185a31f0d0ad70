"""What is verified: a function of tensors, what it is compared with, and what is known of it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function

from primer.verify.spec import Input, Spec

Call = Callable[..., Any]
AWAY = 0.1  # chosen: from kinks, a hundred thousand times the steps of finite differences


@dataclass
class Subject:
    """A function of tensors: `call(*args)`, as float64 or any dtype that its weights are made to have.

    `reference` takes the same arguments, or is None. `module` is there where `call` is one (weights and all);
    `functions` are the autograd Functions that a call goes through. `is_elementwise`: of one tensor, each
    entry of the answer follows from its own; then `kinks` are where its slope jumps.
    """

    name: str
    call: Call
    spec: Spec
    reference: Call | None = None
    reference_name: str | None = None
    module: nn.Module | None = None
    functions: tuple[type[Function], ...] = ()
    is_elementwise: bool = False
    kinks: tuple[float, ...] = ()
    inputs: tuple[Input, ...] = field(default=(Input(),))

    @property
    def is_derivative(self) -> bool:
        """Whether its backward is meant to be the derivative of its forward."""
        return self.spec.gradient == "derivative"

    @property
    def is_piecewise_linear(self) -> bool:
        """Whether finite differences are exact but for rounding, away from kinks: tolerances are tight."""
        if not self.is_elementwise:
            return False
        x = torch.cat([self.sample(requires_grad=False)[0].flatten(), torch.tensor([5.0, -5.0]).double()])
        step = AWAY / 4
        with torch.no_grad():
            call = self.at(torch.float64)
            low, middle, high = (first_of(call(x + offset)) for offset in (-step, 0.0, step))
        bend = (low - 2 * middle + high).abs()
        return bool((bend <= 1e-9 * (1 + middle.abs())).all())

    def sample(
        self,
        dtype: torch.dtype = torch.float64,
        *,
        seed: int = 0,
        away: float = AWAY,
        shape: Sequence[int] | None = None,
        requires_grad: bool = True,
    ) -> tuple[Any, ...]:
        """Arguments drawn by `seed`, contiguous leaves; entries keep `away` from the kinks.

        `shape` is another one for a function of one tensor.
        """
        generator = torch.Generator().manual_seed(seed)
        args = []
        for given in self.inputs:
            size = tuple(shape) if shape is not None and len(self.inputs) == 1 else given.shape
            value = drawn(given, size, dtype, generator)
            if isinstance(value, Tensor) and value.is_floating_point():
                value = self._away(value, away)
                value.requires_grad_(requires_grad and given.has_grad)
            args.append(value)
        return tuple(args)

    def grid(self, dtype: torch.dtype = torch.float64) -> Tensor:
        """Finite inputs of an elementwise function that tell much: zeros, tiny, large, kinks and neighbours.

        (entries,), sorted by nothing; no gradient asked for.
        """
        info = torch.finfo(dtype)
        tiny = [0.0, -0.0, info.tiny, -info.tiny, info.smallest_normal / 4, -info.smallest_normal / 4]
        plain = [sign * size for size in (1e-3, 0.1, 0.5, 1.0, 2.0, 3.0, 10.0, 60.0) for sign in (1, -1)]
        around = [kink + step for kink in self.kinks for step in (0.0, 1e-3, -1e-3)]
        points = torch.tensor([*tiny, *plain, *around], dtype=torch.float64).to(dtype)
        kinks = torch.tensor(self.kinks, dtype=dtype)
        infinity = torch.full_like(kinks, torch.inf)
        return torch.cat([points, torch.nextafter(kinks, infinity), torch.nextafter(kinks, -infinity)])

    def at(self, dtype: torch.dtype) -> Call:
        """The call with weights of that dtype, if it has weights; others are the call itself."""
        return moved(self.call, dtype)

    def reference_at(self, dtype: torch.dtype) -> Call:
        """The same of the reference, which has to be there."""
        assert self.reference
        return moved(self.reference, dtype)

    def _away(self, values: Tensor, away: float) -> Tensor:
        for kink in self.kinks:
            near = (values - kink).abs() < away
            side = torch.where(values >= kink, 1.0, -1.0).to(values.dtype)
            values = torch.where(near, kink + side * (away + (values - kink).abs()), values)
        return values


def tensors_of(answer: Any) -> list[Tensor]:
    """The tensors of an answer, which is one or has some among others."""
    return [answer] if isinstance(answer, Tensor) else [part for part in answer if isinstance(part, Tensor)]


def moved(call: Call, to: torch.dtype | torch.device) -> Call:
    """A module's copy with weights of that dtype, or there; a plain function as it is."""
    return copy.deepcopy(call).to(to) if isinstance(call, nn.Module) else call


def first_of(answer: Any) -> Tensor:
    """The first tensor of an answer that is differentiable, if any is."""
    tensors = tensors_of(answer)
    return next((part for part in tensors if part.requires_grad), tensors[0])


def drawn(given: Input, shape: tuple[int, ...], dtype: torch.dtype, generator: torch.Generator) -> Any:
    """One argument."""
    if given.kind == "constant":
        return copy.deepcopy(given.value)  # one check may change it
    if given.kind == "classes":
        return torch.randint(given.num_classes, shape, generator=generator)
    if given.kind == "normal":
        values = torch.randn(shape, dtype=torch.float64, generator=generator)
    else:
        values = torch.rand(shape, dtype=torch.float64, generator=generator)
        values = 0.1 + 2 * values if given.kind == "positive" else 0.05 + 0.9 * values
    return values.to(dtype)
