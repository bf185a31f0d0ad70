"""Losses as (sum, count), so that `mean` and `sum` say the same however a batch is cut up.

A batch may be computed in parts (gradient accumulation) or on several devices. Torch's own mean over a
part weighs a short part like a long one; here each part gives the sum of its losses, and the count of the
whole batch divides.
"""

from __future__ import annotations

import copy
import math
from typing import Any

from torch import Tensor, nn

from primer.criteria import CustomCrossEntropy
from primer.errors import ConfigError


def auto(task: str) -> nn.Module:
    """The usual criterion of a task.

    >>> auto("classification"), auto("regression")
    (CrossEntropyLoss(), MSELoss())
    """
    return nn.CrossEntropyLoss() if task == "classification" else nn.MSELoss()


# Losses whose mean is the sum over elements divided by their number; of others only torch knows the weights.
PLAIN = (nn.MSELoss, nn.L1Loss, nn.SmoothL1Loss, nn.HuberLoss)


class Criterion(nn.Module):
    """A torch loss that gives a part of a batch its share of the whole batch's loss.

    A loss that is not known to be a plain sum or mean (class weights, a loss of one's own) is called as it is
    and taken as a mean over rows, which is exact as long as a batch is one part: see `can_be_cut`.

    >>> import torch
    >>> whole = nn.MSELoss()(torch.tensor([[1.0], [2.0], [6.0]]), torch.zeros(3, 1))
    >>> criterion = Criterion(nn.MSELoss())
    >>> first = criterion(torch.tensor([[1.0], [2.0]]), torch.zeros(2, 1), num_rows=3)
    >>> rest = criterion(torch.tensor([[6.0]]), torch.zeros(1, 1), num_rows=3)
    >>> torch.equal(first + rest, whole)
    True
    """

    def __init__(self, loss: Any) -> None:
        super().__init__()
        self.reduction: str = getattr(loss, "reduction", "mean")
        if self.reduction == "none":
            raise ConfigError("criterion.reduction=none: leaves no number to minimize; expected mean or sum")
        self.can_be_cut = self.reduction == "sum" or _is_plain(loss)
        self.loss = copy.copy(loss)
        if self.can_be_cut:
            self.loss.reduction = "sum"

    def forward(self, prediction: Tensor, target: Tensor, num_rows: int) -> Tensor:
        """The share of these rows in the loss of a batch of `num_rows` rows, a scalar.

        prediction: (rows, out_features); target: (rows, out_features), or (rows,) for classes.
        """
        loss: Tensor = self.loss(prediction, target)
        if self.reduction == "sum":
            return loss
        if self.can_be_cut:
            return loss / (math.prod(target.shape[1:]) * num_rows)
        return loss * (len(target) / num_rows)


def _is_plain(loss: Any) -> bool:
    if type(loss) in (nn.CrossEntropyLoss, CustomCrossEntropy):
        return getattr(loss, "weight", None) is None and loss.ignore_index < 0
    return type(loss) in PLAIN
