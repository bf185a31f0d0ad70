"""A run that trains with others: what is its own is what it would have alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning import __version__ as lightning_version
from torch import Tensor

from primer.errors import RunError
from primer.training.checkpoint import Checkpoints, VerifiedCheckpointIO
from primer.training.checkpointer import position_of, save
from primer.training.module import TrainingModule
from primer.training.randomness import States
from primer.training.recorder import Recorder
from primer.training.spans import Optimizing
from primer.training.watch import Watch


@dataclass
class Member:
    """One run of a group: its module, which holds its weights when it is looked at, and who looks.

    `is_training` until it stopped early or failed; `error` is what it failed of.
    """

    module: TrainingModule
    recorder: Recorder
    watch: Watch | None
    checkpoints: Checkpoints
    states: States  # of the generators, which no member draws from in training
    is_training: bool = True
    error: RunError | None = None

    def go_on(self, content: dict[str, Any]) -> Optimizing:
        """Take up a checkpoint of the run, and return the states of its optimizer and scheduler."""
        self.module.load_state_dict(content["state_dict"])
        self.module.step, self.states = content["global_step"], content["primer"]["random_states"]
        for callback in (self.recorder, self.watch):
            if callback:
                callback.load_state_dict(content["callbacks"][type(callback).__name__])
        return content["optimizer_states"], content["lr_schedulers"]

    def record(self, step: int, times: list[int], losses: Tensor, sums: Tensor) -> None:
        """Record the losses of the steps up to `step`, one of which is not finite: the member's end.

        losses, sums: (steps,)
        """
        self.module.step = step
        self._or_fail(lambda: self.recorder.record(step, times, losses, sums))

    def validated(self, step: int, found: dict[str, float]) -> bool:
        """Take what a validation found after `step`; whether that is the best so far."""
        self.module.step = step
        self.module.evaluated = {f"val/{name}": value for name, value in found.items()}
        self.recorder.take(self.module.evaluated)
        return bool(self.watch and self.watch.look(self.module.evaluated))

    def save(self, step: int, optimizing: Optimizing) -> None:
        """Write the checkpoint that the run alone would write after this step."""
        self.module.step = step

        def write(path: Path) -> None:
            VerifiedCheckpointIO().save_checkpoint(self._content(optimizing), path)

        self._or_fail(lambda: save(self.module, self.recorder, self.watch, self.checkpoints, write))

    def _content(self, optimizing: Optimizing) -> dict[str, Any]:
        """What Lightning would save, and what `Checkpointer` adds."""
        recorder, module = self.recorder, self.module
        is_over = bool(self.watch and self.watch.is_over)
        callbacks = [recorder, *([self.watch] if self.watch else [])]
        position = position_of(recorder.guard.timetable, module.step, is_over=is_over, states=self.states)
        own = position.pop("primer")
        return {
            **position,
            "pytorch-lightning_version": lightning_version,
            "state_dict": module.state_dict(),
            "callbacks": {type(callback).__name__: callback.state_dict() for callback in callbacks},
            "optimizer_states": optimizing[0],
            "lr_schedulers": optimizing[1],
            "primer": own,
        }

    def _or_fail(self, do: Callable[[], None]) -> None:
        try:
            do()
        except RunError as error:
            self.is_training, self.error = False, error
            self.recorder.write()
            trace = f"{type(error).__name__}: {error}\n"
            self.recorder.journal.write("error", type="RunError", message=str(error), traceback=trace)
