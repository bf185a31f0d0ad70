"""The optimizers of nets trained as one: a real torch optimizer for each span of members set alike.

What it does is elementwise, so every member's update is the very arithmetic of the member alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from primer.training.module import TrainingModule

State = dict[str, Any]
Optimizing = tuple[list[State], list[State]]  # the states of an optimizer and of a scheduler, if there is one
COUNTS = ("step", "eta", "mu", "mu_product")  # functions of the step, in the state of torch's optimizers


@dataclass(frozen=True)
class Earlier:
    """What a member's checkpoint has of its optimizer and scheduler, and whether it trains on."""

    optimizing: Optimizing
    trains: bool


class Span:
    """Members whose optimizer and scheduler have the same settings: these two, over rows of the weights.

    `weights`: each (members, *shape), where they are trained; `earlier`: of each member, where they go on.
    """

    def __init__(
        self,
        members: range,
        weights: Sequence[Tensor],
        module: TrainingModule,
        earlier: Sequence[Earlier] | None,
    ) -> None:
        self.members = members
        self._parts = [nn.Parameter(weight.detach()[members.start : members.stop]) for weight in weights]
        made = module.make_optimizer(self._parts)
        self.optimizer: Optimizer = made["optimizer"]
        self.scheduler: LRScheduler | None = made.get("lr_scheduler")
        if earlier:
            self._go_on([earlier[member] for member in members])

    def _go_on(self, states: list[Earlier]) -> None:
        # what counts steps is of one that trains on: others may have stopped before
        (leading,), schedulers = next((state for state in states if state.trains), states[0]).optimizing
        rows = [state.optimizing[0][0]["state"] for state in states]
        merged = {
            index: {
                key: value if _is_count(key, value) else torch.stack([row[index][key] for row in rows])
                for key, value in values.items()
            }
            for index, values in leading["state"].items()
        }
        self.optimizer.load_state_dict(leading | {"state": merged})
        if self.scheduler:
            self.scheduler.load_state_dict(schedulers[0])

    def update(self, gradients: Sequence[Tensor], first: int) -> None:
        """One step of optimizer and scheduler; the gradients' first row is that of member `first`."""
        start, stop = self.members.start - first, self.members.stop - first
        for part, gradient in zip(self._parts, gradients, strict=True):
            part.grad = gradient if len(gradient) == len(part) else gradient[start:stop]
        self.optimizer.step()
        if self.scheduler:
            self.scheduler.step()

    def state_of(self, member: int) -> Optimizing:
        """The states of a member's optimizer and scheduler, as they would be of the member alone."""
        state = self.optimizer.state_dict()
        own = {
            index: {
                key: value if _is_count(key, value) else value[member - self.members.start].clone()
                for key, value in values.items()
            }
            for index, values in state["state"].items()
        }
        return [state | {"state": own}], [self.scheduler.state_dict()] if self.scheduler else []


def _is_count(key: str, value: Any) -> bool:
    """Whether an entry of an optimizer's state is the same for all members, not a row for each."""
    return key in COUNTS or not isinstance(value, Tensor)
