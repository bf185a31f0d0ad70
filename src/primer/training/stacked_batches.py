"""The batches of many runs at once: each member's rows in its own order, one index operation for all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from primer.data import Split, epoch_order
from primer.training.batches import EVALUATED_ROWS, Batch, Epochs, Part

GATHERED = 2**17  # chosen: numbers that are gathered at once, if more than a batch: 0.5 MB


class StackedBatches(Epochs):
    """As `Batches`, with a first dimension of members, each with a split and a seed of its own.

    Splits have the same number of rows; one that members share is kept once.

    >>> one, two = (Split(np.full((5, 2), value, np.float32), np.zeros((5, 1))) for value in (1, 2))
    >>> batches = StackedBatches([one, two, two], batch_size=4, seeds=[0, 1, 2])
    >>> [(tuple(x.shape), x[:, 0, 0].tolist()) for ((x, y, num_rows),) in batches.epoch(0)]
    [((3, 4, 2), [1.0, 2.0, 2.0]), ((3, 1, 2), [1.0, 2.0, 2.0])]
    """

    def __init__(
        self, splits: Sequence[Split], *, batch_size: int, num_parts: int = 1, seeds: Sequence[int] | None
    ) -> None:
        distinct = list({id(split): split for split in splits}.values())
        places = {id(split): place for place, split in enumerate(distinct)}
        self.num_rows = len(distinct[0])
        self.x = torch.from_numpy(np.concatenate([split.x for split in distinct]))
        self.y = torch.from_numpy(np.concatenate([split.y for split in distinct]))
        self.begins = np.array([[self.num_rows * places[id(split)]] for split in splits])  # (members, 1)
        self.batch_size, self.num_parts = min(batch_size, self.num_rows), num_parts
        self._seeds = seeds if self.num_rows > batch_size else None
        self._num_gathered = 1 + GATHERED // (len(splits) * self.batch_size * self.x.shape[1])  # batches
        self._whole: Batch | None = None

    def epoch(self, number: int, num_done: int = 0) -> Iterator[Batch]:
        if self._seeds is None:
            if self._whole is None:
                rows = torch.from_numpy(self.begins + np.arange(self.num_rows))
                self._whole = self._parts(*self._gathered(rows.to(self.x.device)))
            yield self._whole
            return
        orders = {seed: epoch_order(self.num_rows, seed=seed, epoch=number) for seed in set(self._seeds)}
        rows = torch.from_numpy(self.begins + np.stack([orders[seed] for seed in self._seeds]))
        rows = rows[:, num_done * self.batch_size :].to(self.x.device)
        for several in torch.split(rows, self.batch_size * self._num_gathered, dim=1):
            x, y = self._gathered(several)
            for batch in zip(*(torch.split(v, self.batch_size, dim=1) for v in (x, y)), strict=True):
                yield self._parts(*batch)

    def _parts(self, x: Tensor, y: Tensor) -> Batch:
        if self.num_parts == 1:
            return [(x, y, x.shape[1])]
        parts = zip(*(torch.tensor_split(v, self.num_parts, dim=1) for v in (x, y)), strict=True)
        return [(*part, x.shape[1]) for part in parts if part[0].shape[1]]

    def _gathered(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        flat = rows.flatten()
        return tuple(  # type: ignore[return-value]
            values.index_select(0, flat).view(*rows.shape, *values.shape[1:]) for values in (self.x, self.y)
        )


class StackedWhole:
    """As `Whole`: the splits of many runs to evaluate on, as one batch in parts if the loss allows."""

    def __init__(self, splits: Sequence[Split], *, can_be_cut: bool) -> None:
        self.num_parts = -(-len(splits[0]) // EVALUATED_ROWS) if can_be_cut else 1
        self.batches = StackedBatches(splits, batch_size=len(splits[0]), num_parts=self.num_parts, seeds=None)

    def __len__(self) -> int:
        return self.num_parts

    def __iter__(self) -> Iterator[Part]:
        (parts,) = self.batches.epoch(0)
        return iter(parts)
