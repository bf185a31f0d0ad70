"""What a net's answers on a split come to: its loss and its metrics, over all replicas, each row once."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric

from primer.training.metrics import TargetScale, metrics_of
from primer.training.replicas import Replicas


class Evaluation:
    """Takes what a net says of a split, part by part; on the CPU, since not all devices know float64.

    Not a part of the module that holds it: nothing of it is trained, moved or saved.
    """

    def __init__(self, scale: TargetScale, replicas: Replicas) -> None:
        self.scale, self._replicas = scale, replicas
        self._metrics = metrics_of(scale.task, scale.out_features)
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
            _has_rows(metric)
        return [part[0] for part in parts[:2]]


def _has_rows(metric: Metric) -> None:
    """It has seen rows: another replica's, if none of its own."""
    metric._update_count = max(1, metric._update_count)  # without a public way to say so
    metric._computed = None
