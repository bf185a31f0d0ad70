"""Stop where a loss or gradient is not finite, before anything that came of it is recorded or saved."""

from __future__ import annotations

import math

import torch
from lightning import LightningModule, Trainer
from torch import Tensor

from primer.errors import RunError
from primer.tracking.journal import Journal
from primer.training.module import TrainingModule
from primer.training.steps import StepCallback
from primer.training.timetable import Timetable


class NonfiniteGuard(StepCallback):
    """Keep what tells whether each loss and gradient is finite, and look at it before points are recorded.

    `stop` raises RunError, and names the first such step; `skip` looks at once and leaves out the update, in
    which optimizers pass over parameters that have no gradient; `ignore` looks at nothing. Finite gradients
    can still overflow the weights, which are looked at before they are saved.
    """

    def __init__(self, journal: Journal, timetable: Timetable, *, on_nonfinite: str) -> None:
        self.journal = journal
        self.timetable = timetable
        self.on_nonfinite = on_nonfinite
        self._has_warned = False
        self._first = 1  # the step of the first of these
        self._losses: list[Tensor] = []
        self._sums: list[list[Tensor]] = []

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        assert isinstance(module, TrainingModule)
        self._first = module.step + 1

    def before_update(self, module: TrainingModule, loss: Tensor) -> None:
        if self.on_nonfinite == "ignore":
            return
        # An entry that is not finite makes the sum so: ten times faster than the largest entry (measured);
        # where only the sum overflows, the run is beyond help.
        sums = [weight.grad.sum() for weight in module.weights if weight.grad is not None]
        if self.on_nonfinite == "stop":
            if len(self._losses) == module.step + 1 - self._first:  # LBFGS asks again for a step
                self._losses.append(loss)
                self._sums.append(sums)
        elif not math.isfinite(float(torch.stack([loss, *sums]).sum())):
            self._skip(module, loss)

    def first_bad_step(self) -> tuple[int, RunError] | None:
        """The first step since the last call whose loss or gradient is not finite, and what to say of it."""
        losses, sums, first = self._losses, self._sums, self._first
        self._losses, self._sums, self._first = [], [], first + len(losses)
        if not losses:
            return None
        together = torch.stack(
            [torch.stack([loss, *own]).sum() for loss, own in zip(losses, sums, strict=True)]
        )
        bad = (~torch.isfinite(together)).nonzero()
        if not len(bad):
            return None
        index = int(bad[0])
        message = self._message(losses[index], first + index)
        return first + index, RunError(f"{message}; try a smaller optimizer.lr, or on_nonfinite=skip")

    def _skip(self, module: TrainingModule, loss: Tensor) -> None:
        for weight in module.weights:
            weight.grad = None
        if not self._has_warned:
            message = f"{self._message(loss, module.step + 1)}; such updates are left out"
            self.journal.write("warning", message=message)
            self._has_warned = True

    def check_weights(self, module: TrainingModule) -> None:
        """Raise RunError where weights that are to be saved are not finite, unless that is to be ignored."""
        for name, weight in module.net.named_parameters():
            if self.on_nonfinite != "ignore" and not bool(torch.isfinite(weight).all()):
                raise RunError(
                    f"{name} is not finite after step {module.step}, so it is not saved; "
                    "try a smaller optimizer.lr"
                )

    def _message(self, loss: Tensor, step: int) -> str:
        epoch, num_rows = self.timetable.position(step - 1)
        batch = num_rows // self.timetable.batch_size + 1
        what = "its gradient" if bool(torch.isfinite(loss)) else "train/loss"
        value = "is not finite" if bool(torch.isfinite(loss)) else f"is {float(loss)}"
        place = f"batch {batch} of {self.timetable.steps_per_epoch} in epoch {epoch + 1}"
        return f"{what} {value} at step {step} ({place})"
