"""When a run is saved, and what a checkpoint holds beyond Lightning's: all that the next step depends on."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from primer.stopping import StopSignal
from primer.training.checkpoint import Checkpoints
from primer.training.position import write_position
from primer.training.randomness import random_states, set_random_state
from primer.training.recorder import Recorder
from primer.training.timetable import Timetable


class Checkpointer(Checkpoint):
    """Save after every n steps, every n minutes, at the end, and when a signal asks the run to stop.

    Only between steps: what follows from a step (its validation, the best so far) is done before it is
    saved. Being a `Checkpoint`, it is called after the callbacks whose state it saves.
    """

    def __init__(
        self,
        folder: Path,
        recorder: Recorder,
        timetable: Timetable,
        stop: StopSignal,
        *,
        every_n_steps: int | None,
        every_n_minutes: float | None,
    ) -> None:
        self.checkpoints = Checkpoints(folder)
        self.recorder = recorder
        self.timetable = timetable
        self.stop = stop
        self.every_n_steps = every_n_steps
        self.every_n_minutes = every_n_minutes
        self._saved_at = time.monotonic()
        self._step = 0
        self._random_states: list[dict[str, Any]] | None = None

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        self.stop.defer()  # here, since Lightning puts its own handlers in place before
        self._step = trainer.global_step
        if self._random_states:
            set_random_state(self._random_states)

    def on_train_batch_end(self, trainer: Trainer, module: LightningModule, *_: Any) -> None:
        step = trainer.global_step
        if step == self._step:
            return  # only a part of a batch
        self._step = step
        is_validated = self.timetable.is_validated(step) or trainer.should_stop
        if not (is_validated and trainer.enable_validation):
            self._after_step(trainer)

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        self._after_step(trainer)

    def _after_step(self, trainer: Trainer) -> None:
        if self._is_due(trainer):
            self.save(trainer)
        self.stop.obey()

    def _is_due(self, trainer: Trainer) -> bool:
        minutes = (time.monotonic() - self._saved_at) / 60
        return (
            self.stop.received is not None
            or trainer.should_stop
            or (self.every_n_steps is not None and self._step % self.every_n_steps == 0)
            or (self.every_n_minutes is not None and minutes >= self.every_n_minutes)
        )

    def save(self, trainer: Trainer) -> None:
        """Save the state after the last step; what the journal holds by then is on the disk first."""
        self.recorder.flush()
        self.recorder.journal.sync()
        path = self.checkpoints.path(self._step)
        trainer.save_checkpoint(path)
        self.checkpoints.prune()
        self.recorder.journal.write("checkpoint", step=self._step, file=path.name)
        self._saved_at = time.monotonic()

    def on_save_checkpoint(
        self, trainer: Trainer, module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        write_position(checkpoint["loops"]["fit_loop"], self.timetable, self._step)
        stopped_early = trainer.should_stop and self._step < self.timetable.num_steps
        checkpoint["primer"] = {
            "num_steps": self.timetable.num_steps,
            "stopped_early": stopped_early,
            "random_states": random_states(),
        }

    def on_load_checkpoint(
        self, trainer: Trainer, module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        self._random_states = checkpoint["primer"]["random_states"]
