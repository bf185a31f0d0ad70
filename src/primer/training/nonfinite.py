"""Stop where a loss or gradient is not finite, before anything that came of it is recorded or saved."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from primer.errors import RunError
from primer.tracking.journal import Journal
from primer.training.module import StepCallback, TrainingModule
from primer.training.replicas import Replicas
from primer.training.sharded import local
from primer.training.timetable import Timetable


class NonfiniteGuard(StepCallback):
    """Keeps what tells whether each gradient is finite; who records the losses asks it.

    `stop`: the run ends, with RunError that names the first such step; `skip` looks at once and leaves out
    the update, in which optimizers pass over parameters that have no gradient; `ignore` looks at nothing.
    Finite gradients can still overflow the weights, which are looked at before they are saved. Of several
    `replicas` the first one speaks for all.
    """

    def __init__(
        self, journal: Journal, timetable: Timetable, *, on_nonfinite: str, replicas: Replicas | None = None
    ) -> None:
        self.replicas = replicas or Replicas()
        self.journal = journal
        self.timetable = timetable
        self.on_nonfinite = on_nonfinite
        self._has_warned = False
        self._sums: list[list[Tensor]] = []
        self._step = 0  # of the last of them

    def before_update(self, module: TrainingModule, loss: Tensor) -> None:
        if self.on_nonfinite == "ignore" or self._step == module.step + 1:  # LBFGS asks again for a step
            return
        # An entry that is not finite makes the sum so: ten times faster than the largest entry (measured);
        # where only the sum overflows, the run is beyond help.
        if self.replicas.gradient_sum is not None:
            sums = [self.replicas.gradient_sum]
        else:
            sums = [weight.grad.sum() for weight in module.weights if weight.grad is not None]
        if module.scaler:
            sums = []  # it leaves out such updates by itself, and scales less from then on
        if self.on_nonfinite == "stop":
            self._step = module.step + 1
            self._sums.append(sums)
        elif not math.isfinite(float(torch.stack([loss, *sums]).sum())):
            self._skip(module, loss)

    def take(self) -> Tensor | None:
        """Of each step since the last call a number that is finite if its gradient is, if that matters."""
        sums, self._sums = self._sums, []
        return torch.stack([torch.stack(own).sum() for own in sums]) if sums and sums[0] else None

    def check(self, first: int, losses: Tensor, sums: Tensor | None) -> tuple[int, RunError | None]:
        """How many steps from step `first` on are finite, and what to say if not all are.

        losses, sums: (steps,)
        """
        if self.on_nonfinite != "stop" or self.replicas.rank:
            return len(losses), None
        bad = (~torch.isfinite(losses if sums is None else losses + sums)).nonzero()
        if not len(bad):
            return len(losses), None
        index = int(bad[0])
        message = self._message(losses[index], first + index)
        return index, RunError(f"{message}; try a smaller optimizer.lr, or on_nonfinite=skip")

    def check_weights(self, module: TrainingModule) -> None:
        """Raise RunError where weights that are to be saved are not finite, unless that is to be ignored."""
        if self.replicas.rank and not self.replicas.is_sharded:
            return
        for name, weight in module.net.named_parameters():
            if self.on_nonfinite != "ignore" and not bool(torch.isfinite(local(weight)).all()):
                raise RunError(
                    f"{name} is not finite after step {module.step}, so it is not saved; "
                    "try a smaller optimizer.lr"
                )

    def _skip(self, module: TrainingModule, loss: Tensor) -> None:
        for weight in module.weights:
            weight.grad = None
        if not self._has_warned:
            message = f"{self._message(loss, module.step + 1)}; such updates are left out"
            self.journal.write("warning", message=message)
            self._has_warned = True

    def _message(self, loss: Tensor, step: int) -> str:
        epoch, num_rows = self.timetable.position(step - 1)
        batch = num_rows // self.timetable.batch_size + 1
        what = "its gradient" if bool(torch.isfinite(loss)) else "train/loss"
        value = "is not finite" if bool(torch.isfinite(loss)) else f"is {float(loss)}"
        place = f"batch {batch} of {self.timetable.steps_per_epoch} in epoch {epoch + 1}"
        return f"{what} {value} at step {step} ({place})"
