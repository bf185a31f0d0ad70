"""When a run is saved, and what a checkpoint holds beyond Lightning's: all that the next step depends on."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lightning import LightningModule, Trainer
from torch import Tensor

from primer.errors import Stopped
from primer.stopping import StopSignal
from primer.training.checkpoint import Checkpoints
from primer.training.module import StepCallback, TrainingModule
from primer.training.randomness import States, random_states, set_random_state
from primer.training.recorder import Recorder
from primer.training.replicas import Replicas, Wish, same_again
from primer.training.timetable import Timetable
from primer.training.watch import Watch


class Due:
    """Whether a run is to be saved after a step, as far as that follows from steps, time and signals.

    Replicas agree on time and signals, in the step before.
    """

    def __init__(
        self,
        num_steps: int,
        stop: StopSignal,
        *,
        every_n_steps: int | None,
        every_n_minutes: float | None,
        replicas: Replicas | None = None,
    ) -> None:
        self._replicas = replicas or Replicas()
        self._replicas.wish = self._wish
        self.num_steps, self.stop = num_steps, stop
        self.every_n_steps, self.every_n_minutes = every_n_steps, every_n_minutes
        self._saved_at = time.monotonic()

    def _wish(self) -> Wish:
        minutes = self.every_n_minutes
        is_late = minutes is not None and time.monotonic() - self._saved_at >= 60 * minutes
        return self.stop.received is not None, is_late

    def after(self, step: int) -> bool:
        """Whether it is."""
        is_regular = self.every_n_steps is not None and step % self.every_n_steps == 0
        return step == self.num_steps or is_regular or any(self._replicas.agreed())

    def obey(self) -> None:
        """Raise Stopped if a signal came, to any of the replicas."""
        if self._replicas.agreed()[0]:
            raise Stopped(self.stop.received or signal.SIGTERM)

    def done(self) -> None:
        """It was saved."""
        self._saved_at = time.monotonic()


def position_of(timetable: Timetable, step: int, *, is_over: bool, states: States) -> dict[str, Any]:
    """What a checkpoint says of the place that a run is at; `is_over`: it is not to train further."""
    own = {
        "num_steps": timetable.num_steps,
        "stopped_early": is_over and step < timetable.num_steps,
        "random_states": states,
    }
    return {"epoch": timetable.position(step)[0], "global_step": step, "primer": own}


def save(
    module: TrainingModule,
    recorder: Recorder,
    watch: Watch | None,
    checkpoints: Checkpoints,
    write: Callable[[Path], None],
) -> None:
    """Have a checkpoint written; what was recorded by then is on the disk first."""
    recorder.guard.check_weights(module)
    recorder.write()
    recorder.journal.sync()
    path = checkpoints.path(module.step)
    if watch:
        watch.save()
    write(path)
    if module.replicas.rank == 0:
        checkpoints.prune()
    recorder.journal.write("checkpoint", step=module.step, file=path.name)


class Checkpointer(StepCallback):
    """Save after every n steps, every n minutes, at the end, and when a signal asks the run to stop.

    Only between steps: what follows from a step (its validation, the best so far) is done before it is
    saved, so it comes after the callbacks whose state it saves. `watch` is there if there are validations.
    """

    def __init__(
        self,
        folder: Path,
        recorder: Recorder,
        timetable: Timetable,
        due: Due,
        watch: Watch | None,
    ) -> None:
        self.checkpoints = Checkpoints(folder)
        self.recorder = recorder
        self.timetable = timetable
        self.due = due
        self.watch = watch
        self._random_states: States | None = None

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        self.due.stop.defer()  # here, since Lightning puts its own handlers in place before
        assert isinstance(module, TrainingModule)
        if self._random_states and len(self._random_states) == module.replicas.size:
            set_random_state(self._random_states, module.replicas.rank)
        elif self._random_states:  # of another number of replicas
            set_random_state(self._random_states)
            module.replicas.seed(same_again())

    def after_step(self, module: TrainingModule, loss: Tensor) -> None:
        if not (self.watch and self.timetable.is_validated(module.step)):
            self._after_step(module)

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        assert isinstance(module, TrainingModule)
        self._after_step(module)

    def _after_step(self, module: TrainingModule) -> None:
        if self.due.after(module.step) or module.trainer.should_stop:
            self.save(module)
        self.due.obey()

    def save(self, module: TrainingModule) -> None:
        """Save the state after the last step."""
        self.recorder.flush()
        save(module, self.recorder, self.watch, self.checkpoints, module.trainer.save_checkpoint)
        self.due.done()

    def on_save_checkpoint(
        self, trainer: Trainer, module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        assert isinstance(module, TrainingModule)
        del checkpoint["loops"]  # where a run is follows from the step alone
        checkpoint |= position_of(
            self.timetable, module.step, is_over=trainer.should_stop, states=random_states()
        )

    def on_load_checkpoint(
        self, trainer: Trainer, module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        assert isinstance(module, TrainingModule)
        module.step = checkpoint["global_step"]
        self._random_states = checkpoint["primer"]["random_states"]
