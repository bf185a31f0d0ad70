"""Where in a row the weights of a net are, one after the other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate, pairwise

import torch
from torch import Tensor

from primer.errors import CantFuse


class Layout:
    """The weights of a net, in its order, as one row of numbers.

    Raises CantFuse for weights of several types.

    >>> layout = Layout([torch.zeros(2, 3), torch.zeros(2)])
    >>> [tuple(weight.shape) for weight in layout.weights(torch.zeros(5, 8))]
    [(5, 2, 3), (5, 2)]
    """

    def __init__(self, weights: Sequence[Tensor]) -> None:
        if len({(weight.dtype, weight.device) for weight in weights}) > 1:
            raise CantFuse("the weights of the net are of several types")
        self._shapes = [weight.shape for weight in weights]
        self._bounds = list(pairwise([0, *accumulate(weight.numel() for weight in weights)]))

    def __len__(self) -> int:
        return len(self._shapes)

    def row(self, values: Iterable[Tensor]) -> Tensor:
        """Values of the weights' shapes -> (entries,)"""
        return torch.cat([value.detach().flatten() for value in values] or [torch.empty(0)])

    def weights(self, rows: Tensor) -> list[Tensor]:
        """Views of rows, one for each weight: (rows, entries) -> (rows, *shape) each."""
        return [
            rows[:, start:stop].view(len(rows), *shape)
            for (start, stop), shape in zip(self._bounds, self._shapes, strict=True)
        ]
