"""The metrics that fit a task, by torchmetrics, in the target's own unit."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score
from torchmetrics.regression import MeanAbsoluteError, MeanSquaredError, R2Score

# Sums over replicas are ours: one call for all of them.
ALONE: dict[str, Any] = {"sync_on_compute": False}


def metrics_of(task: str, out_features: int) -> MetricCollection:
    """accuracy and macro-averaged F1 of classes; MAE, RMSE and R2 of numbers, over all columns.

    Sums run in float64: a float32 sum over 50,000 rows loses the fourth digit.
    """
    if task == "classification":
        return MetricCollection(
            {
                "accuracy": MulticlassAccuracy(out_features, average="micro", **ALONE),
                "f1": MulticlassF1Score(out_features, average="macro", **ALONE),
            },
            compute_groups=False,
        )
    collection = MetricCollection(
        {
            "mae": MeanAbsoluteError(**ALONE),
            "rmse": MeanSquaredError(squared=False, **ALONE),
            "r2": R2Score(**ALONE),
        },
        compute_groups=False,
    )
    return collection.set_dtype(torch.float64)


def stacked_metrics_of(task: str, out_features: int, num_members: int) -> MetricCollection:
    """The same of many nets at once: of predictions with a first dimension of members, one number each.

    Classes: (members, out_features, rows) and (members, rows), in one update; numbers: (values, members).
    """
    if task == "classification":
        keys: dict[str, Any] = {"multidim_average": "samplewise"}
        return MetricCollection(
            {
                "accuracy": MulticlassAccuracy(out_features, average="micro", **keys),
                "f1": MulticlassF1Score(out_features, average="macro", **keys),
            }
        )
    collection = MetricCollection(
        {
            "mae": MeanAbsoluteError(num_outputs=num_members),
            "rmse": MeanSquaredError(squared=False, num_outputs=num_members),
            "r2": R2Score(multioutput="raw_values"),
        },
        compute_groups=False,
    )
    return collection.set_dtype(torch.float64)


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
