"""Batches of in-memory tensors: one index operation a batch, never a row at a time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from primer.data import Split, epoch_order

EVALUATED_ROWS = 4096  # chosen: bounds the memory of an evaluation, and is no more work than larger ones

# x: (rows, in_features); y: (rows, out_features) or (rows,); rows of the whole batch this is a part of
Batch = tuple[Tensor, Tensor, int]


class SampleOrder:
    """The order of the rows in each epoch: a pure function of (seed, epoch), or as they lie.

    Lightning calls `set_epoch` on a loader's `sampler` before each epoch.
    """

    def __init__(self, num_rows: int, *, seed: int | None) -> None:
        self.num_rows = num_rows
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order comes next."""
        self.epoch = epoch

    def order(self) -> Tensor:
        """Indices of the rows, int64 (num_rows,)."""
        if self.seed is None:
            return torch.arange(self.num_rows)
        return torch.from_numpy(epoch_order(self.num_rows, seed=self.seed, epoch=self.epoch))


class Batches:
    """Go over the rows of a split in batches, each in `num_parts` parts.

    Shuffled when `seed` is given and there is more than one batch: the order within the only batch of an
    epoch changes nothing but rounding. The last batch may be short.

    >>> split = Split(np.zeros((5, 2), np.float32), np.zeros((5, 1), np.float32))
    >>> [(tuple(x.shape), num_rows) for x, y, num_rows in Batches(split, batch_size=4, num_parts=2)]
    [((2, 2), 4), ((2, 2), 4), ((1, 2), 1)]
    """

    batch_sampler = None  # Lightning asks a loader that has a `sampler`

    def __init__(self, split: Split, *, batch_size: int, num_parts: int = 1, seed: int | None = None) -> None:
        self.x = torch.from_numpy(np.ascontiguousarray(split.x))
        self.y = torch.from_numpy(np.ascontiguousarray(split.y))
        self.batch_size = min(batch_size, len(split))
        self.num_parts = num_parts
        self.sampler = SampleOrder(len(split), seed=seed if len(split) > batch_size else None)
        self._num_rows_done = 0

    @classmethod
    def whole(cls, split: Split, *, can_be_cut: bool = True) -> Batches:
        """A split to evaluate on: one batch, in parts of at most `EVALUATED_ROWS` rows if the loss allows."""
        num_parts = -(-len(split) // EVALUATED_ROWS) if can_be_cut else 1
        return cls(split, batch_size=len(split), num_parts=num_parts)

    def __len__(self) -> int:
        """Parts in an epoch."""
        full, rest = divmod(len(self.x), self.batch_size)
        return full * len(self._parts(self.batch_size)) + (len(self._parts(rest)) if rest else 0)

    def __iter__(self) -> Iterator[Batch]:
        done, self._num_rows_done = self._num_rows_done, 0
        for rows in torch.split(self.sampler.order()[done:], self.batch_size):
            start = 0
            for size in self._parts(len(rows)):
                part = rows[start : start + size]
                start += size
                yield self.x[part], self.y[part], len(rows)

    def state_dict(self) -> dict[str, int]:
        """Asked for by Lightning; what is restored follows from the step (`training.position`)."""
        return {"num_rows": 0}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Leave out the rows of the next epoch that are done already."""
        self._num_rows_done = state["num_rows"]

    def _parts(self, num_rows: int) -> list[int]:
        sizes = [len(part) for part in np.array_split(np.empty(num_rows), self.num_parts)]
        return [size for size in sizes if size]
