"""Batches of in-memory tensors: one index operation a batch, never a row at a time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from primer.data import Split, epoch_order
from primer.training.replicas import Replicas
from primer.training.timetable import Timetable

EVALUATED_ROWS = 4096  # chosen: bounds the memory of an evaluation, and is no more work than larger ones
GATHERED = 2**17  # chosen: numbers that are gathered at once, if more than a batch: 0.5 MB

# x: (rows, in_features); y: (rows, out_features) or (rows,); rows of the whole batch this is a part of
Part = tuple[Tensor, Tensor, int]
Batch = list[Part]


class Epochs(ABC):
    """The rows `x` and `y` in batches of at most `batch_size`, of `num_rows` an epoch."""

    x: Tensor
    y: Tensor
    num_rows: int
    batch_size: int

    def place(self, move: Callable[[tuple[Tensor, Tensor]], tuple[Tensor, Tensor]]) -> None:
        """Bring the rows to where they are trained on, all at once."""
        self.x, self.y = move((self.x, self.y))

    def after(self, step: int) -> Iterator[Batch]:
        """The batches that follow the first `step` ones, epoch after epoch, without end."""
        epoch, num_done = divmod(step, -(-self.num_rows // self.batch_size))
        while True:
            yield from self.epoch(epoch, num_done)
            epoch, num_done = epoch + 1, 0

    @abstractmethod
    def epoch(self, number: int, num_done: int = 0) -> Iterator[Batch]:
        """The batches of an epoch, without the first `num_done`: each a list of parts."""


class Batches(Epochs):
    """The batches of a split, each in up to `num_parts` parts; the last one of an epoch may be short.

    Of several `replicas`, each has its own share of every batch, which may be no row at all.

    Shuffled when `seed` is given and there is more than one batch: the order within the only batch of an
    epoch changes nothing but rounding. The order is a pure function of (seed, epoch).

    >>> split = Split(np.zeros((5, 2), np.float32), np.zeros((5, 1), np.float32))
    >>> batches = Batches(split, batch_size=4, num_parts=2)
    >>> [[(tuple(x.shape), num_rows) for x, y, num_rows in batch] for batch in batches.epoch(0)]
    [[((2, 2), 4), ((2, 2), 4)], [((1, 2), 1)]]
    """

    def __init__(
        self,
        split: Split,
        *,
        batch_size: int,
        num_parts: int = 1,
        seed: int | None = None,
        replicas: Replicas | None = None,
    ) -> None:
        self.x = torch.from_numpy(np.ascontiguousarray(split.x))
        self.y = torch.from_numpy(np.ascontiguousarray(split.y))
        self.num_rows, self.batch_size = len(split), min(batch_size, len(split))
        self.num_parts = num_parts
        self.replicas = replicas or Replicas()
        self._seed = seed if len(split) > batch_size else None
        self.on_batch: Callable[[list[Tensor]], None] | None = None  # told of the rows of each part

    def epoch(self, number: int, num_done: int = 0) -> Iterator[Batch]:
        for rows in self.rows(number)[num_done:]:
            yield self._batch(rows)

    def rows(self, number: int) -> tuple[Tensor, ...]:
        """The rows of each batch of an epoch, over all replicas."""
        if self._seed is None:
            order = torch.arange(self.num_rows)
        else:
            order = torch.from_numpy(epoch_order(self.num_rows, seed=self._seed, epoch=number))
        return torch.split(order, self.batch_size)

    def _batch(self, rows: Tensor) -> Batch:
        is_whole = len(rows) == self.num_rows and self._seed is None
        is_one = is_whole and self.num_parts == 1 and not self.replicas.are_many
        parts = [
            part
            for part in ([rows] if is_one else self.replicas.share(rows.to(self.x.device), self.num_parts))
            if len(part) or self.replicas.is_sharded  # whose ranks compute alike
        ]
        if self.on_batch:
            self.on_batch(parts)
        if is_one:
            return [(self.x, self.y, len(rows))]
        return [(self.x.index_select(0, part), self.y.index_select(0, part), len(rows)) for part in parts]


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


class Whole:
    """A split to evaluate on: one batch, in parts of at most `EVALUATED_ROWS` rows if the loss allows.

    Of several `replicas`, each evaluates its own share, in as many parts as the others.
    """

    def __init__(self, split: Split, *, can_be_cut: bool = True, replicas: Replicas | None = None) -> None:
        ranks = replicas or Replicas()
        num_parts = -(-len(split) // (EVALUATED_ROWS * ranks.size)) if can_be_cut else 1
        batches = Batches(split, batch_size=len(split))
        shares = ranks.share(torch.arange(len(split)), num_parts)
        self._parts = [(batches.x[rows], batches.y[rows], len(split)) for rows in shares]

    def __len__(self) -> int:
        return len(self._parts)

    def __iter__(self) -> Iterator[Part]:
        return iter(self._parts)


class StackedWhole(Whole):
    """As `Whole`: the splits of many runs to evaluate on, as one batch in parts if the loss allows."""

    def __init__(self, splits: Sequence[Split], *, can_be_cut: bool) -> None:
        num_parts = -(-len(splits[0]) // EVALUATED_ROWS) if can_be_cut else 1
        batches = StackedBatches(splits, batch_size=len(splits[0]), num_parts=num_parts, seeds=None)
        (self._parts,) = batches.epoch(0)


class Legs:
    """The training of a run as Lightning is to see it: an epoch of its is a leg, up to the next validation.

    A leg is one batch to Lightning, an iterator over the batches of many optimizer steps to the module:
    Lightning's hooks, progress and transfers cost 0.5 ms a batch (measured), more than most steps.
    """

    def __init__(
        self,
        after: Callable[[int], Iterator[Batch]],
        timetable: Timetable,
        *,
        step: int,
        has_val: bool,
    ) -> None:
        """`after` gives the batches that follow a number of steps."""
        self._timetable, self._step, self._has_val = timetable, step, has_val
        self._rest = after(step)

    def __len__(self) -> int:
        """Legs in one of Lightning's epochs."""
        return 1

    def __iter__(self) -> Iterator[Iterator[Batch]]:
        begun_at, self._step = self._step, self._timetable.end_of_leg(self._step, has_val=self._has_val)
        yield islice(self._rest, self._step - begun_at)

    @property
    def num_left(self) -> int:
        """Legs up to the end of the run."""
        step, number = self._step, 0
        while step < self._timetable.num_steps:
            step, number = self._timetable.end_of_leg(step, has_val=self._has_val), number + 1
        return number
