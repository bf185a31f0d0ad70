"""What a net's answers on a split come to: its loss, and by torchmetrics the metrics that fit a task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score
from torchmetrics.regression import MeanAbsoluteError, MeanSquaredError, R2Score

from primer.training.replicas import Replicas

# Sums over replicas are ours: one call for all of them.
ALONE: dict[str, Any] = {"sync_on_compute": False}


class TargetScale:
    """Undo the standardization of a target: prediction and target in the target's own unit, float64.

    mean, scale: (out_features,); classes pass as they are.
    """

    def __init__(self, task: str, mean: Tensor, scale: Tensor, out_features: int) -> None:
        self.task = task
        self.out_features = out_features
        self.mean, self.scale = mean, scale

    def __call__(self, prediction: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        if self.task == "classification":
            return prediction, target
        return self._undone(prediction), self._undone(target)

    def _undone(self, values: Tensor) -> Tensor:
        return (values.double() * self.scale + self.mean).flatten()


def _metrics_of(scale: TargetScale, num_members: int | None = None) -> MetricCollection:
    """accuracy and macro-averaged F1 of classes; MAE, RMSE and R2 of numbers, over all columns.

    Of many nets at once, one number each: of classes (members, out_features, rows) and (members, rows), in
    one update; of numbers (values, members). Sums of numbers run in float64: a float32 sum over 50,000 rows
    loses the fourth digit.
    """
    if scale.task == "classification":
        keys = ALONE | ({"multidim_average": "samplewise"} if num_members else {})
        metrics: dict[str, Metric | MetricCollection] = {
            "accuracy": MulticlassAccuracy(scale.out_features, average="micro", **keys),
            "f1": MulticlassF1Score(scale.out_features, average="macro", **keys),
        }
        return MetricCollection(metrics, compute_groups=False)
    num_outputs = num_members or 1
    metrics = {
        "mae": MeanAbsoluteError(num_outputs=num_outputs, **ALONE),
        "rmse": MeanSquaredError(squared=False, num_outputs=num_outputs, **ALONE),
        "r2": R2Score(multioutput="raw_values" if num_members else "uniform_average", **ALONE),
    }
    return MetricCollection(metrics, compute_groups=False).set_dtype(torch.float64)


class Evaluation:
    """Takes what a net says of a split, part by part; on the CPU, since not all devices know float64.

    Not a part of the module that holds it: nothing of it is trained, moved or saved.
    """

    def __init__(self, scale: TargetScale, replicas: Replicas) -> None:
        self.scale, self._replicas = scale, replicas
        self._metrics = _metrics_of(scale)
        self._losses: list[Tensor] = []
        self._num_rows = 0

    def take(self, prediction: Tensor, y: Tensor, loss: Tensor) -> None:
        """A part: prediction (rows, out_features), y (rows, ...); its share of the split's loss, a scalar."""
        self._losses.append(loss.cpu().double())
        self._metrics.update(*self.scale(prediction.cpu(), y.cpu()))
        self._num_rows += len(y)

    def end(self) -> tuple[dict[str, float], int]:
        """The numbers that all parts on all replicas come to, and how many rows that were."""
        loss = torch.stack(self._losses).sum() if self._losses else torch.zeros((), dtype=torch.float64)
        loss, num_rows = self._summed([loss, torch.tensor(float(self._num_rows), dtype=torch.float64)])
        found = {"loss": float(loss)}
        found |= {name: float(value) for name, value in self._metrics.compute().items()}
        self._metrics.reset()
        self._losses, self._num_rows = [], 0
        return found, int(num_rows)

    def _summed(self, numbers: list[Tensor]) -> list[Tensor]:
        """Those numbers over all replicas; the states of the metrics, which are sums, too, in place."""
        if not self._replicas.are_many:
            return numbers
        states = [
            (metric, name)
            for metric in self._metrics.values(copy_state=False)
            for name in metric.metric_state
        ]
        mine = [*numbers, *(getattr(metric, name) for metric, name in states)]
        flat = self._replicas.total(torch.cat([state.double().reshape(-1) for state in mine]))
        parts = torch.split(flat, [state.numel() for state in mine])
        for (metric, name), state, part in zip(states, mine[2:], parts[2:], strict=True):
            setattr(metric, name, part.reshape(state.shape).to(state.dtype))
            # it has seen rows: another replica's, if none of its own; there is no public way to say so
            metric._update_count = max(1, metric._update_count)
            metric._computed = None
        return [part[0] for part in parts[:2]]


class StackedEvaluation:
    """Takes what many nets say of a split, part by part, and tells what each one's `Evaluation` would find.

    `scales`: of each of them.
    """

    def __init__(self, scales: Sequence[TargetScale]) -> None:
        self._task = scales[0].task
        self._metrics = _metrics_of(scales[0], len(scales))
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
        columns = (values.double().tolist() for values in found.values())
        return [dict(zip(found, row, strict=True)) for row in zip(*columns, strict=True)]

    def _in_own_unit(self, values: Tensor) -> Tensor:
        """(members, rows, out) -> (rows * out, members), in the target's own unit"""
        own = values.double() * self._scale.to(values.device) + self._mean.to(values.device)
        return own.flatten(1).T
