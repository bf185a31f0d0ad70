"""The LightningModule of a group of runs: one step of it is one step of every member."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import torch
from lightning import LightningModule
from torch import Tensor
from torch.linalg import vector_norm

from primer.training.batches import Batch, Part
from primer.training.checkpointer import Due
from primer.training.member import Member
from primer.training.recorder import now_ms
from primer.training.stack import Stack
from primer.training.stacked_metrics import Evaluation
from primer.training.timetable import Timetable

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
        self._losses: list[Tensor] = []  # of the last steps, each (members,)
        self._sums: list[Tensor] = []
        self._times: list[int] = []
        self._next_write = 0.0
        self._evaluation = Evaluation([member.module for member in members])

    def configure_optimizers(self) -> Any:
        self.stack.make_optimizers()
        return self.stack.optimizers

    def on_train_start(self) -> None:
        self._due.stop.defer()  # here, since Lightning puts its own handlers in place before

    def training_step(self, leg: Iterator[Batch], batch_idx: int) -> None:
        for batch in leg:
            self._take_step(batch)
            is_last = self.step == self._timetable.num_steps
            if not (self._has_val and (is_last or self._timetable.is_validated(self.step))):
                self._after_step()
            if time.monotonic() >= self._next_write:
                self.flush()
                self._write()
                if not self._training():
                    self.trainer.should_stop = True
                    return

    def _take_step(self, batch: Batch) -> None:
        losses, gradients = self.stack.gradients(*batch[0])
        if len(batch) > 1:
            gradients = [gradient.clone() for gradient in gradients]
        for part in batch[1:]:
            more, others = self.stack.gradients(*part)
            losses = losses + more
            gradients = [one + other for one, other in zip(gradients, others, strict=True)]
        gradients = [gradient.contiguous() for gradient in gradients]
        flat = [gradient.view(len(self.members), -1) for gradient in gradients]  # (members, entries)
        max_norm = self.members[0].module.max_norm
        if max_norm is not None:
            _clip(flat, max_norm)
        self.stack.update(gradients)
        self.step += 1
        self._losses.append(losses)
        self._sums.append(torch.stack([entries.sum(1) for entries in flat]).sum(0))
        self._times.append(now_ms())

    def flush(self) -> None:
        """Have each member take its losses of the last steps."""
        if not self._times:
            return
        losses, sums = torch.stack(self._losses), torch.stack(self._sums)  # (steps, members)
        is_good = torch.isfinite(losses + sums).all(0).tolist()
        columns, first = losses.double().T.tolist(), self.step - len(self._times) + 1
        for number, member in self._training():
            if is_good[number]:
                member.recorder.keep(first, self._times, columns[number])
            else:
                member.record(self.step, self._times, losses[:, number], sums[:, number])
        self._losses, self._sums, self._times = [], [], []

    def _write(self) -> None:
        """Have each member write what it took."""
        self._next_write = time.monotonic() + WRITE_EVERY_S
        for member in self.members:
            member.recorder.write()

    def _training(self) -> list[tuple[int, Member]]:
        return [(number, member) for number, member in enumerate(self.members) if member.is_training]

    def _after_step(self) -> None:
        if self._due.after(self.step):
            self.flush()
            for number, _ in self._training():
                self._save(number)
            self._due.done()
        self._due.stop.obey()
        self.trainer.should_stop |= not self._training()

    def _save(self, number: int) -> None:
        member = self.members[number]
        if member.watch:
            member.watch.weights = self.stack.take_kept(number)
        self.stack.put_weights(number)
        member.save(self.step, self.stack.state_of(number))

    def validation_step(self, batch: Part, batch_idx: int) -> None:
        self._evaluate(batch)

    def on_validation_epoch_end(self) -> None:
        self.flush()
        found = self._evaluation.end()
        better = [number for number, member in self._training() if member.validated(self.step, found[number])]
        if better:
            self.stack.keep(better)
        for number, member in self._training():
            if member.watch and member.watch.is_over:
                self._save(number)
                member.is_training = False
        self._after_step()

    def test_step(self, batch: Part, batch_idx: int) -> None:
        self._evaluate(batch)

    def on_test_epoch_end(self) -> None:
        found = self._evaluation.end()
        for number, member in self.finished():
            member.recorder.write_all({f"test/{name}": value for name, value in found[number].items()})

    def finished(self) -> list[tuple[int, Member]]:
        """The members that have not failed, and their numbers."""
        return [(number, member) for number, member in enumerate(self.members) if member.error is None]

    def _evaluate(self, part: Part) -> None:
        x, y, num_rows = part
        prediction, losses = self.stack.evaluate(x, y, num_rows)
        self._evaluation.take(prediction, y, losses)


def _clip(gradients: list[Tensor], max_norm: float) -> None:
    """As torch's `clip_grad_norm_`, for each member; gradients: (members, entries), changed in place."""
    norm = vector_norm(
        torch.stack([vector_norm(entries, dim=1) for entries in gradients]), dim=0
    )  # (members,)
    factor = torch.clamp(max_norm / (norm + 1e-6), max=1.0)
    for entries in gradients:
        entries.mul_(factor[:, None])
