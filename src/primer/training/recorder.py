"""Write what happens in training to the journal, off the hot path: a step costs two list appends."""

from __future__ import annotations

import math
import time
from functools import partial
from typing import Any

import torch
from lightning import LightningModule, Trainer
from torch import Tensor

from primer.direction import rank
from primer.tracking.journal import Journal
from primer.training.module import StepCallback, TrainingModule
from primer.training.nonfinite import NonfiniteGuard

FLUSH_EVERY_S = 0.2  # chosen: what a progress bar needs; a kill loses at most this much

Recorded = dict[tuple[str, int], float]
Point = tuple[int, int, float]  # step, time, value


def now_ms() -> int:
    """Milliseconds since 1970, the unit of MLflow's timestamps."""
    return time.time_ns() // 1_000_000


class Recorder(StepCallback):
    """Record `train/loss` of every optimizer step, each validation, and the best and final numbers.

    Step k is the k-th optimizer step; its loss is the one before its update. Losses stay tensors until a
    flush, so that a GPU is not waited for at every step, and are recorded up to the first that the `guard`
    finds not to be finite. A point that is `recorded` already, before the run was resumed, keeps its first
    time; that it comes out the same again, within a relative `tolerance`, is checked.
    """

    def __init__(
        self,
        journal: Journal,
        guard: NonfiniteGuard,
        *,
        num_steps: int,
        every_n_steps: int,
        step: int = 0,
        recorded: Recorded | None = None,
        tolerance: float = 0.0,
    ) -> None:
        self.journal = journal
        self.guard = guard
        self.num_steps = num_steps
        self.every_n_steps = every_n_steps
        self.best: dict[str, float] = {}
        self.final: dict[str, float] = {}
        self._recorded, self._tolerance = recorded or {}, tolerance
        self._losses: list[Tensor] = []  # of the last steps
        self._times: list[int] = []
        self._waiting: dict[str, list[Point]] = {}  # for the next write, by metric
        self._step = step
        self._told: set[str] = set()  # splits
        self._next_flush = 0.0

    def state_dict(self) -> dict[str, Any]:
        return {"best": dict(self.best), "final": dict(self.final), "step": self._step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best, self.final, self._step = state_dict["best"], state_dict["final"], state_dict["step"]

    def after_step(self, module: TrainingModule, loss: Tensor) -> None:
        self._losses.append(loss)
        self._times.append(now_ms())
        self._step = module.step
        if time.monotonic() >= self._next_flush:
            self.flush()

    def flush(self) -> None:
        """Move the losses kept so far to the journal; raises RunError where the guard says so."""
        self._next_flush = time.monotonic() + FLUSH_EVERY_S
        losses, times, sums = self._losses, self._times, self.guard.take()
        self._losses, self._times = [], []
        try:
            if losses:
                self.record(self._step, times, torch.stack(losses), sums)
        finally:
            self.write()

    def record(self, step: int, times: list[int], losses: Tensor, sums: Tensor | None) -> None:
        """Keep the losses of the steps up to `step`; raises RunError, the good ones kept, as `flush`.

        losses: (steps,); sums: (steps,), each finite if the step's gradient is
        """
        first = step - len(times) + 1
        num_good, error = self.guard.check(first, losses, sums)
        self.keep(first, times[:num_good], losses[:num_good].double().tolist())
        self._step = step
        if error:
            raise error

    def keep(self, first: int, times: list[int], losses: list[float]) -> None:
        """Keep losses that are known to be good, of the steps from `first` on."""
        self._step = first + len(times) - 1
        steps = range(first, first + len(times))
        kept = [
            (step, at, loss)
            for step, at, loss in zip(steps, times, losses, strict=True)
            if step % self.every_n_steps == 0 or step == self.num_steps
        ]
        if kept:
            self.final["train/loss"] = kept[-1][2]
            self._keep("train/loss", kept)

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        assert isinstance(module, TrainingModule)
        self.flush()
        self.tell_rows("val", module.num_evaluated)
        self.take(module.evaluated)
        self.write()

    def tell_rows(self, split: str, num_rows: int) -> None:
        """Tell once how many rows the numbers of a split are of."""
        if split not in self._told:
            self._told.add(split)
            self.journal.write("evaluated", split=split, num_rows=num_rows)

    def take(self, evaluated: dict[str, float]) -> None:
        """Keep what a validation found."""
        self._keep_all(evaluated)
        for key, value in evaluated.items():
            self.best[key] = min(self.best.get(key, value), value, key=partial(rank, key))
            self.final[key] = value

    def on_train_end(self, trainer: Trainer, module: LightningModule) -> None:
        self.flush()

    def on_test_end(self, trainer: Trainer, module: LightningModule) -> None:
        assert isinstance(module, TrainingModule)
        self.tell_rows("test", module.num_evaluated)
        self.write_all(module.evaluated)

    def on_exception(self, trainer: Trainer, module: LightningModule, exception: BaseException) -> None:
        self.flush()

    def write_all(self, values: dict[str, float]) -> None:
        """Record several metrics at the step reached."""
        self._keep_all(values)
        self.write()

    def write_summary(self) -> None:
        """Record `best/...` and `final/...`, which MLflow's tables can sort by."""
        self.flush()
        self.write_all({f"final/{key}": value for key, value in self.final.items()})
        self.write_all({f"best/{key}": value for key, value in self.best.items()})
        self.journal.sync()

    def write(self) -> None:
        """Move what is kept to the journal, a record for each metric."""
        waiting, self._waiting = self._waiting, {}
        for key, points in waiting.items():
            steps, times, values = zip(*points, strict=True)
            self.journal.write("points", key=key, steps=steps, times=times, values=values)

    def _keep_all(self, values: dict[str, float]) -> None:
        for key, value in values.items():
            self._keep(key, [(self._step, now_ms(), value)])

    def _keep(self, key: str, points: list[Point]) -> None:
        if self._recorded:
            points = [point for point in points if self._is_new(key, point[0], point[2])]
        if points:
            self._waiting.setdefault(key, []).extend(points)

    def _is_new(self, key: str, step: int, value: float) -> bool:
        before = self._recorded.pop((key, step), None)
        if not (before is None or math.isclose(before, value, rel_tol=self._tolerance) or before != before):
            message = f"{key} at step {step} was {before} before the run was resumed, and is {value} now"
            self.journal.write("warning", message=message)
        return before is None
