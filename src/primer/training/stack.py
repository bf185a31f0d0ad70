"""Nets of one shape as one: every parameter has a first dimension more, that of the members.

Members whose optimizer and scheduler have the same settings are a span. Each span has a real torch optimizer
over its rows of the stacked parameters; what it does is elementwise, so every member's update is the very
arithmetic of the member alone. Source of the idea: Wang et al., Horizontally Fused Training Array, 2021,
https://arxiv.org/abs/2102.02344
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from primer.training.criteria import Criterion
from primer.training.module import TrainingModule
from primer.training.traced import traced

State = dict[str, Any]
Optimizing = tuple[list[State], list[State]]  # the states of an optimizer and of a scheduler, if there is one
COUNTS = ("step", "eta", "mu", "mu_product")  # functions of the step, in the state of torch's optimizers


@dataclass(frozen=True)
class Earlier:
    """What a member's checkpoint has of its optimizer and scheduler, and whether it trains on."""

    optimizing: Optimizing
    trains: bool


class Stack(nn.Module):
    """The nets of `modules` as one, and the optimizers of its `spans` of members, as they were `earlier`."""

    def __init__(
        self,
        modules: Sequence[TrainingModule],
        spans: Sequence[range],
        earlier: Sequence[Earlier] | None = None,
    ) -> None:
        super().__init__()
        self.members, self.spans = list(modules), list(spans)
        self._net, self._criterion = modules[0].net, modules[0].criterion
        self.names = [name for name, _ in self._net.named_parameters()]
        stacked = (torch.stack([module.net.get_parameter(name) for module in modules]) for name in self.names)
        self.weights = nn.ParameterList(weight.detach() for weight in stacked)  # each (members, *shape)
        self.optimizers: list[Optimizer] = []
        self._earlier = earlier  # of each member, where they go on
        self.schedulers: list[LRScheduler] = []
        self._graphs: dict[Any, Callable[..., Any]] = {}
        self._kept: list[Tensor] = []  # weights as they were when members were kept, as `weights`
        self._newly_kept: set[int] = set()

    def __len__(self) -> int:
        """Members."""
        return len(self.members)

    def make_optimizers(self) -> None:
        """Make each span's optimizer and scheduler, once the weights are where they are trained."""
        self._parts = [
            [nn.Parameter(weight.detach()[span.start : span.stop]) for weight in self.weights]
            for span in self.spans
        ]
        for span, parts in zip(self.spans, self._parts, strict=True):
            made = self.members[span.start].make_optimizer(parts)
            self.optimizers.append(made["optimizer"])
            if "lr_scheduler" in made:
                self.schedulers.append(made["lr_scheduler"])
            if self._earlier:
                self._go_on(made, span)

    def _go_on(self, made: dict[str, Any], span: range) -> None:
        """Give a span's optimizer and scheduler the states of its members."""
        assert self._earlier
        states = [self._earlier[member] for member in span]
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
        made["optimizer"].load_state_dict(leading | {"state": merged})
        if "lr_scheduler" in made:
            made["lr_scheduler"].load_state_dict(schedulers[0])

    def gradients(self, x: Tensor, y: Tensor, num_rows: int) -> tuple[Tensor, list[Tensor]]:
        """Each member's share of the loss of its batch of `num_rows` rows, and that loss's gradient.

        The gradients are valid until the next call.

        x: (members, rows, in_features) -> losses: (members,), a gradient for each of `weights`
        """
        losses, *found = self._graph("train", self._losses_and_gradients, num_rows, x, y)
        return losses, found

    def evaluate(self, x: Tensor, y: Tensor, num_rows: int) -> tuple[Tensor, Tensor]:
        """What each member says, and its share of the loss of `num_rows` rows.

        x: (members, rows, in_features) -> (members, rows, out_features), (members,)
        """
        prediction, losses = self._graph("eval", self._predictions, num_rows, x, y)
        return prediction, losses

    def _graph(self, mode: str, function: Callable[..., Any], num_rows: int, *data: Tensor) -> Any:
        key = mode, num_rows, *(tensor.shape for tensor in data)
        weights = list(self.weights)
        if key not in self._graphs:
            self._net.train(mode == "train")

            def call(weights: list[Tensor], *data: Tensor) -> Any:
                return function(weights, *data, num_rows)

            with torch.enable_grad():
                self._graphs[key] = traced(call, weights, *data, is_passing=mode == "train")
        return self._graphs[key](weights, *data)

    def _losses_and_gradients(self, weights: list[Tensor], x: Tensor, y: Tensor, num_rows: int) -> Any:
        losses = vmap(_loss_of(self._net, self._criterion, self.names, num_rows))(weights, x, y)
        return losses.detach(), *torch.autograd.grad(losses, weights, torch.ones_like(losses))

    def _predictions(self, weights: list[Tensor], x: Tensor, y: Tensor, num_rows: int) -> Any:
        def predict(own: list[Tensor], x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
            prediction: Tensor = functional_call(self._net, dict(zip(self.names, own, strict=True)), (x,))
            return prediction, self._criterion(prediction, y, num_rows)

        prediction, losses = vmap(predict)(weights, x, y)
        return prediction.detach(), losses.detach()

    def update(self, gradients: list[Tensor]) -> None:
        """One step of every span's optimizer and scheduler."""
        for span, parts, optimizer in zip(self.spans, self._parts, self.optimizers, strict=True):
            for part, gradient in zip(parts, gradients, strict=True):
                part.grad = gradient[span.start : span.stop]
            optimizer.step()
        for scheduler in self.schedulers:
            scheduler.step()

    def keep(self, members: list[int]) -> None:
        """Remember the weights that some members have now."""
        with torch.no_grad():
            if not self._kept:
                self._kept = [weight.detach().clone() for weight in self.weights]
            else:
                rows = torch.tensor(members, device=self._kept[0].device)
                for kept, weight in zip(self._kept, self.weights, strict=True):
                    kept.index_copy_(0, rows, weight.index_select(0, rows))
        self._newly_kept |= set(members)

    def take_kept(self, member: int) -> State | None:
        """The state of a member's net as it was kept, if that was after the last call."""
        if member not in self._newly_kept:
            return None
        self._newly_kept.remove(member)
        self._put(member, self._kept)
        state = self.members[member].net.state_dict()
        return {name: value.detach().clone() for name, value in state.items()}

    def put_weights(self, member: int) -> None:
        """Give a member's own module its weights as they are now."""
        self._put(member, list(self.weights))

    def _put(self, member: int, weights: list[Tensor]) -> None:
        module = self.members[member]
        with torch.no_grad():
            for name, weight in zip(self.names, weights, strict=True):
                module.net.get_parameter(name).copy_(weight[member])

    def take_weights(self) -> None:
        """Take all members' weights from their own modules."""
        with torch.no_grad():
            for name, weight in zip(self.names, self.weights, strict=True):
                weight.copy_(torch.stack([module.net.get_parameter(name) for module in self.members]))

    def state_of(self, member: int) -> Optimizing:
        """The states of a member's optimizer and scheduler, as they would be of the member alone."""
        number, span = next((n, span) for n, span in enumerate(self.spans) if member in span)
        state = self.optimizers[number].state_dict()
        own = {
            index: {
                key: value if _is_count(key, value) else value[member - span.start].clone()
                for key, value in values.items()
            }
            for index, values in state["state"].items()
        }
        schedulers = [self.schedulers[number].state_dict()] if self.schedulers else []
        return [state | {"state": own}], schedulers


def _is_count(key: str, value: Any) -> bool:
    """Whether an entry of an optimizer's state is the same for all members, not a row for each."""
    return key in COUNTS or not isinstance(value, Tensor)


def _loss_of(
    net: nn.Module, criterion: Criterion, names: list[str], num_rows: int
) -> Callable[[list[Tensor], Tensor, Tensor], Tensor]:
    """A member's loss as a function of its weights: x (rows, in_features), y (rows, ...) -> a scalar."""

    def loss_of(own: list[Tensor], x: Tensor, y: Tensor) -> Tensor:
        prediction = functional_call(net, dict(zip(names, own, strict=True)), (x,))
        loss: Tensor = criterion(prediction, y, num_rows)
        return loss

    return loss_of
