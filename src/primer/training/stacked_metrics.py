"""The losses and metrics of many nets at once, as each net's own evaluation would find them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from primer.training.metrics import stacked_metrics_of
from primer.training.module import TrainingModule


class StackedEvaluation:
    """Takes what nets say of a split, part by part, and tells what that comes to for each of `modules`."""

    def __init__(self, modules: Sequence[TrainingModule]) -> None:
        self._modules = list(modules)
        first = modules[0].evaluation.scale
        self._task = first.task
        self._metrics = stacked_metrics_of(first.task, first.out_features, len(modules))
        scales = [module.evaluation.scale for module in modules]
        self._mean = torch.stack([scale.mean for scale in scales])[:, None]  # (members, 1, out)
        self._scale = torch.stack([scale.scale for scale in scales])[:, None]
        self._parts: list[tuple[Tensor, Tensor]] = []
        self._losses: list[Tensor] = []  # of the parts, each (members,)
        self.num_rows = 0  # of the last one

    def take(self, prediction: Tensor, y: Tensor, losses: Tensor) -> None:
        """A part: prediction (members, rows, out_features), y (members, rows, ...), losses (members,)."""
        self._parts.append((prediction, y))
        self._losses.append(losses.double())

    def end(self) -> list[dict[str, float]]:
        """What all parts come to, for each member."""
        prediction, y = (torch.cat(parts, dim=1) for parts in zip(*self._parts, strict=True))
        self.num_rows = y.shape[1]
        if self._task == "classification":
            self._metrics.update(prediction.transpose(1, 2), y)
        else:
            self._metrics.update(self._in_own_unit(prediction), self._in_own_unit(y))
        found = {"loss": torch.stack(self._losses).sum(0), **self._metrics.compute()}
        self._metrics.reset()
        self._parts, self._losses = [], []
        columns = {name: values.double().tolist() for name, values in found.items()}
        return [
            {name: column[member] for name, column in columns.items()} for member in range(len(self._modules))
        ]

    def _in_own_unit(self, values: Tensor) -> Tensor:
        """(members, rows, out) -> (rows * out, members), in the target's own unit"""
        own = values.double() * self._scale.to(values.device) + self._mean.to(values.device)
        return own.flatten(1).T
