"""Losses as (sum, count), so that `mean` and `sum` say the same however a batch is cut up.

A batch may be computed in parts (gradient accumulation) or on several devices. Torch's own mean over a
part weighs a short part like a long one; here each part gives the sum of its losses, and the count of the
whole batch divides.
"""

from __future__ import annotations

import copy
from typing import Any

from torch import Tensor, nn


def auto(task: str) -> nn.Module:
    """The usual criterion of a task.

    >>> auto("classification"), auto("regression")
    (CrossEntropyLoss(), MSELoss())
    """
    return nn.CrossEntropyLoss() if task == "classification" else nn.MSELoss()


class Criterion(nn.Module):
    """A torch loss that gives a part of a batch its share of the whole batch's loss.

    Works with any loss that has torch's `reduction`; one without is taken to return a mean over rows.

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
        self._sums = hasattr(loss, "reduction")
        self.loss = copy.copy(loss)
        if self._sums:
            self.loss.reduction = "sum"

    def forward(self, prediction: Tensor, target: Tensor, num_rows: int) -> Tensor:
        """The share of these rows in the loss of a batch of `num_rows` rows, a scalar.

        prediction: (rows, out_features); target: (rows, out_features), or (rows,) for classes.
        """
        loss: Tensor = self.loss(prediction, target)
        if not self._sums:
            return loss * (len(target) / num_rows)
        if self.reduction == "sum":
            return loss
        return loss / (target.numel() // len(target) * num_rows)
