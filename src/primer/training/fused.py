"""The LightningModule of a group of runs: one step of it is one step of every member."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import islice
from typing import Any

import torch
from lightning import LightningModule
from torch import Tensor

from primer.training.batches import Batch, Part
from primer.training.checkpointer import Due
from primer.training.evaluation import StackedEvaluation
from primer.training.member import Member
from primer.training.stack import Stack
from primer.training.timetable import Timetable

# Steps of a cell before those of the next: the more, the more rarely its weights are fetched into the cache;
# the fewer, the sooner a signal is obeyed.
MAX_AT_ONCE, AT_ONCE_S = 64, 0.2  # chosen
WRITE_EVERY_S = 1.0  # chosen: a record a member, so less often than a run alone


class FusedModule(LightningModule):
    """Trains the nets of `stack`, and has each of the `members` do with what comes of it as a run alone does.

    Members do not touch each other: one that fails or stops early is computed on, but not looked at.
    """

    def __init__(
        self, stack: Stack, members: list[Member], timetable: Timetable, due: Due, *, step: int = 0
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.stack = stack
        self.members = members
        self.step = step
        self._timetable, self._due = timetable, due
        self._has_val = members[0].watch is not None
        self._losses: list[Tensor] = []  # of the last steps, each (steps, members)
        self._sums: list[Tensor] = []
        self._times: list[int] = []
        self._next_write = 0.0
        self._at_once = 1
        self._evaluation = StackedEvaluation([member.module.evaluation.scale for member in members])

    def configure_optimizers(self) -> Any:
        return self.stack.make_optimizers()

    def on_train_start(self) -> None:
        self._due.stop.defer()  # here, since Lightning puts its own handlers in place before

    def training_step(self, leg: Iterator[Batch], batch_idx: int) -> None:
        while batches := list(islice(leg, self._num_at_once())):
            self._take_steps(batches)
            if not (self._has_val and self._timetable.is_validated(self.step)):
                self._after_step()
            if time.monotonic() >= self._next_write:
                self.flush()
                self._next_write = time.monotonic() + WRITE_EVERY_S
                for member in self.members:
                    member.recorder.write()
                if not self._training():
                    self.trainer.should_stop = True
                    return

    def _num_at_once(self) -> int:
        """Steps until the next look at what is due."""
        every = self._due.every_n_steps or self._at_once
        return min(self._at_once, every - self.step % every)

    def _take_steps(self, batches: list[Batch]) -> None:
        begun_at = time.monotonic()
        losses, sums, times = self.stack.steps(batches, self.members[0].module.max_norm)
        self.step += len(batches)
        self._losses.append(losses)
        self._sums.append(sums)
        self._times += times
        if len(self.stack.cells) > 1:
            fitting = int(len(batches) * AT_ONCE_S / (time.monotonic() - begun_at))
            self._at_once = max(1, min(fitting, 2 * len(batches), MAX_AT_ONCE))

    def flush(self) -> None:
        """Have each member take its losses of the last steps."""
        if not self._times:
            return
        losses, sums = torch.cat(self._losses), torch.cat(self._sums)  # (steps, members)
        is_good = torch.isfinite(losses + sums).all(0).tolist()
        columns, first = losses.double().T.tolist(), self.step - len(self._times) + 1
        for number, member in self._training():
            if is_good[number]:
                member.recorder.keep(first, self._times, columns[number])
            else:
                member.record(self.step, self._times, losses[:, number], sums[:, number])
        self._losses, self._sums, self._times = [], [], []

    def _training(self) -> list[tuple[int, Member]]:
        return [(number, member) for number, member in enumerate(self.members) if member.is_training]

    def _after_step(self) -> None:
        if self._due.after(self.step):
            self.flush()
            for number, _ in self._training():
                self._save(number)
            self._due.done()
        self._due.obey()
        self.trainer.should_stop |= not self._training()

    def _save(self, number: int) -> None:
        member = self.members[number]
        if member.watch:
            member.watch.weights = self.stack.take_kept(number)
        self.stack.put_weights(number)
        member.save(self.step, self.stack.state_of(number))

    def validation_step(self, batch: Part, batch_idx: int) -> None:
        x, y, num_rows = batch
        prediction, losses = self.stack.evaluate(x, y, num_rows)
        self._evaluation.take(prediction, y, losses)

    test_step = validation_step

    def on_validation_epoch_end(self) -> None:
        self.flush()
        found = self._evaluation.end()
        for _, member in self._training():
            member.recorder.tell_rows("val", self._evaluation.num_rows)
        better = [number for number, member in self._training() if member.validated(self.step, found[number])]
        if better:
            self.stack.keep(better)
        for number, member in self._training():
            if member.watch and member.watch.is_over:
                self._save(number)
                member.is_training = False
        self._after_step()

    def on_test_epoch_end(self) -> None:
        found = self._evaluation.end()
        for number, member in self.finished():
            member.recorder.tell_rows("test", self._evaluation.num_rows)
            member.recorder.write_all({f"test/{name}": value for name, value in found[number].items()})

    def finished(self) -> list[tuple[int, Member]]:
        """The members that have not failed, and their numbers."""
        return [(number, member) for number, member in enumerate(self.members) if member.error is None]
