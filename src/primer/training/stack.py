"""Nets of one shape as one: every parameter has a first dimension more, that of the members.

Source of the idea: Wang et al., Horizontally Fused Training Array, 2021, https://arxiv.org/abs/2102.02344
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.linalg import vector_norm
from torch.optim import Optimizer

from primer.training.batches import Batch
from primer.training.layout import Layout
from primer.training.module import TrainingModule
from primer.training.recorder import now_ms
from primer.training.spans import Earlier, Optimizing, Span, State
from primer.training.traced import traced

# Chosen by measuring: weights and gradients that a core's cache holds; the net of the article has 0.8 MB
CELL_BYTES = 2**22


class Stack(nn.Module):
    """The nets of `modules` as one, and the optimizers of its `spans` of members, as they were `earlier`.

    The weights of a member are a row of `flat`, so that what treats all entries alike (an update, the norm of
    a gradient) is one operation. With `has_cells`, for a CPU, members are computed a cell at a time, as many
    as its cache holds: some steps of one, then of the next.
    """

    flat: nn.Parameter  # (members, entries)
    gradient: Tensor  # of the members of a cell, as rows of `flat`; graphs write to it

    def __init__(
        self,
        modules: Sequence[TrainingModule],
        spans: Sequence[range],
        earlier: Sequence[Earlier] | None = None,
        *,
        has_cells: bool = True,
    ) -> None:
        super().__init__()
        self.members = list(modules)
        self._net, self._criterion = modules[0].net, modules[0].criterion
        self.names = [name for name, _ in self._net.named_parameters()]
        self.layout = Layout(list(self._net.parameters()))
        self.flat = nn.Parameter(self._rows_of_members(), requires_grad=False)
        num_bytes = 2 * self.flat[0].nbytes if has_cells else 1
        self.cells = _cells(len(modules), num_bytes)
        rows = torch.empty_like(self.flat[: max(map(len, self.cells))])
        self.register_buffer("gradient", rows, persistent=False)
        self._ranges = [part for span in spans for cell in self.cells if (part := _common(span, cell))]
        self._spans: list[Span] = []
        self._earlier = earlier  # of each member, where they go on
        self._graphs: dict[Any, Callable[..., Any]] = {}
        self._kept = torch.empty(0)  # as `flat` was when members were kept
        self._newly_kept: set[int] = set()

    def _rows_of_members(self) -> Tensor:
        return torch.stack([self.layout.row(module.net.parameters()) for module in self.members])

    def make_optimizers(self) -> list[Optimizer]:
        """Make the optimizers and schedulers, once the weights are where they are trained."""
        self._spans = [
            Span(members, self.flat, self.layout, self.members[members.start], self._earlier)
            for members in self._ranges
        ]
        return [span.optimizer for span in self._spans]

    def steps(self, batches: Sequence[Batch], max_norm: float | None) -> tuple[Tensor, Tensor, list[int]]:
        """Updates of every member by its batches, its gradients scaled down to `max_norm`.

        Returns the losses before them, and of each gradient the sum: (steps, members) each; and when each
        step was done.
        """
        losses, sums, times = list[Tensor](), list[Tensor](), list[int]()
        for cell in self.cells:
            found = []
            times = []
            for batch in batches:
                found.append(self._step_of(cell, batch, max_norm))
                times.append(now_ms())
            losses.append(torch.stack([one for one, _ in found]))
            sums.append(torch.stack([one for _, one in found]))
        return torch.cat(losses, dim=1), torch.cat(sums, dim=1), times

    def _step_of(self, cell: range, batch: Batch, max_norm: float | None) -> tuple[Tensor, Tensor]:
        losses, gradient = self.gradients(cell, *batch[0])
        if len(batch) > 1:
            gradient = gradient.clone()
        for part in batch[1:]:
            more, other = self.gradients(cell, *part)
            losses, gradient = losses + more, gradient.add_(other)
        if max_norm is not None:
            # as torch's `clip_grad_norm_`, for each member
            norm = vector_norm(gradient, dim=1)  # (members,)
            gradient.mul_(torch.clamp(max_norm / (norm + 1e-6), max=1.0)[:, None])
        for span in self._spans:
            if span.members.start in cell:
                span.update(gradient, cell.start)
        return losses, gradient.sum(1)

    def gradients(self, cell: range, x: Tensor, y: Tensor, num_rows: int) -> tuple[Tensor, Tensor]:
        """The share of the loss of a batch of `num_rows` rows of each member of a cell, and its gradient.

        The gradient is valid until the next call.

        x: (members, rows, in_features) -> losses: (members of the cell,), gradient: rows as those of `flat`
        """
        rows = self.flat.detach()[cell.start : cell.stop]
        gradient = self.gradient[: len(cell)]
        losses: Tensor = self._graph(num_rows, rows, _of_cell(x, cell), _of_cell(y, cell), into=gradient)
        return losses, gradient

    def evaluate(self, x: Tensor, y: Tensor, num_rows: int) -> tuple[Tensor, Tensor]:
        """What each member says, and its share of the loss of `num_rows` rows.

        x: (members, rows, in_features) -> (members, rows, out_features), (members,)
        """
        prediction, losses = self._graph(num_rows, self.flat.detach(), x, y)
        return prediction, losses

    def _graph(self, num_rows: int, rows: Tensor, *data: Tensor, into: Tensor | None = None) -> Any:
        """What nets with these rows of weights predict; or their losses, whose gradients go `into` rows."""
        is_training, weights = into is not None, self.layout.weights(rows)
        key = is_training, num_rows, *(tensor.shape for tensor in data)
        if key not in self._graphs:
            function: Callable[..., Any] = self._losses_and_gradients if is_training else self._predictions
            self._net.train(is_training)

            def call(*tensors: Tensor) -> Any:
                return function(list(tensors[: len(weights)]), *tensors[len(weights) :], num_rows)

            places = None if into is None else self.layout.weights(into)
            with torch.enable_grad():
                self._graphs[key] = traced(call, *weights, *data, places=places)
        return self._graphs[key](*weights, *data)

    def _losses_and_gradients(self, weights: list[Tensor], x: Tensor, y: Tensor, num_rows: int) -> Any:
        for weight in weights:
            weight.requires_grad_()
        _, losses = self._answers(weights, x, y, num_rows)
        return losses.detach(), *torch.autograd.grad(losses, weights, torch.ones_like(losses))

    def _predictions(self, weights: list[Tensor], x: Tensor, y: Tensor, num_rows: int) -> Any:
        prediction, losses = self._answers(weights, x, y, num_rows)
        return prediction.detach(), losses.detach()

    def _answers(self, weights: list[Tensor], x: Tensor, y: Tensor, num_rows: int) -> tuple[Tensor, Tensor]:
        def answer(own: list[Tensor], x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
            prediction: Tensor = functional_call(self._net, dict(zip(self.names, own, strict=True)), (x,))
            return prediction, self._criterion(prediction, y, num_rows)

        return vmap(answer)(weights, x, y)

    def keep(self, members: list[int]) -> None:
        """Remember the weights that some members have now."""
        with torch.no_grad():
            if not len(self._kept):
                self._kept = self.flat.detach().clone()
            else:
                rows = torch.tensor(members, device=self._kept.device)
                self._kept.index_copy_(0, rows, self.flat.index_select(0, rows))
        self._newly_kept |= set(members)

    def take_kept(self, member: int) -> State | None:
        """The state of a member's net as it was kept, if that was after the last call."""
        if member not in self._newly_kept:
            return None
        self._newly_kept.remove(member)
        self.put_weights(member, self._kept)
        state = self.members[member].net.state_dict()
        return {name: value.detach().clone() for name, value in state.items()}

    def put_weights(self, member: int, rows: Tensor | None = None) -> None:
        """Give a member's own module its weights as they are now, or as those `rows` have them."""
        rows = self.flat if rows is None else rows
        with torch.no_grad():
            own = self.members[member].net.parameters()
            for weight, (value,) in zip(own, self.layout.weights(rows[member, None]), strict=True):
                weight.copy_(value)

    def take_weights(self) -> None:
        """Take all members' weights from their own modules."""
        with torch.no_grad():
            self.flat.copy_(self._rows_of_members())

    def state_of(self, member: int) -> Optimizing:
        """The states of a member's optimizer and scheduler, as they would be of the member alone."""
        return next(span for span in self._spans if member in span.members).state_of(member)


def _cells(num_members: int, num_bytes: int) -> list[range]:
    """Members in cells of about the same size; one of them takes `num_bytes`."""
    num_cells = max(1, -(-num_members * num_bytes // CELL_BYTES))
    bounds = [num_members * number // num_cells for number in range(num_cells + 1)]
    return [range(*pair) for pair in pairwise(bounds) if pair[0] < pair[1]]


def _common(one: range, other: range) -> range:
    return range(max(one.start, other.start), min(one.stop, other.stop))


def _of_cell(values: Tensor, cell: range) -> Tensor:
    return values if len(values) == len(cell) else values[cell.start : cell.stop]
