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

from primer.training.layout import Layout
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
    """Members whose optimizer and scheduler have the same settings: these two, over their rows of weights.

    `flat`: (members, entries), where they are trained; `earlier`: of each member, where they go on.
    """

    def __init__(
        self,
        members: range,
        flat: Tensor,
        layout: Layout,
        module: TrainingModule,
        earlier: Sequence[Earlier] | None,
    ) -> None:
        self.members = members
        self._layout = layout
        self._rows = nn.Parameter(flat.detach()[members.start : members.stop])
        made = module.make_optimizer([self._rows])
        self.optimizer: Optimizer = made["optimizer"]
        self.scheduler: LRScheduler | None = made.get("lr_scheduler")
        if earlier:
            self._go_on([earlier[member] for member in members])

    def _go_on(self, states: list[Earlier]) -> None:
        # what counts steps is of one that trains on: others may have stopped before
        (leading,), schedulers = next((state for state in states if state.trains), states[0]).optimizing
        states_of = [state.optimizing[0][0]["state"] for state in states]
        merged = {
            key: value
            if _is_count(key, value)
            else torch.stack([self._layout.row([own[i][key] for i in own]) for own in states_of])
            for key, value in leading["state"].get(0, {}).items()
        }
        (group,) = leading["param_groups"]
        groups = [group | {"params": [0]}]
        self.optimizer.load_state_dict({"state": {0: merged} if merged else {}, "param_groups": groups})
        if self.scheduler:
            self.scheduler.load_state_dict(schedulers[0])

    def update(self, gradient: Tensor, first: int) -> None:
        """One step of optimizer and scheduler; the gradient's first row is that of member `first`."""
        start, stop = self.members.start - first, self.members.stop - first
        self._rows.grad = gradient[start:stop]
        self.optimizer.step()
        if self.scheduler:
            self.scheduler.step()

    def state_of(self, member: int) -> Optimizing:
        """The states of a member's optimizer and scheduler, as they would be of the member alone."""
        state = self.optimizer.state_dict()
        (group,), together = state["param_groups"], state["state"].get(0, {})
        place, indices = member - self.members.start, range(len(self._layout))
        own: dict[int, State] = {index: {} for index in indices} if together else {}
        for key, value in together.items():
            if _is_count(key, value):
                parts = [value] * len(indices)
            else:
                parts = [part[0] for part in self._layout.weights(value[place, None])]
            for index in indices:
                own[index][key] = parts[index].clone() if isinstance(value, Tensor) else value
        groups = [group | {"params": list(indices)}]
        schedulers = [self.scheduler.state_dict()] if self.scheduler else []
        return [{"state": own, "param_groups": groups}], schedulers


def _is_count(key: str, value: Any) -> bool:
    """Whether an entry of an optimizer's state is the same for all members, not a row for each."""
    return key in COUNTS or not isinstance(value, Tensor)
