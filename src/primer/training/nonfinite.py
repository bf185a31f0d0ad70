"""Stop before a loss or gradient that is not finite reaches the weights, or such weights a checkpoint."""

from __future__ import annotations

import math
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer

from primer.errors import RunError
from primer.tracking.journal import Journal
from primer.training.module import TrainingModule
from primer.training.timetable import Timetable


class NonfiniteGuard(Callback):
    """Look at each loss and gradient before the optimizer does, and at the weights before they are saved.

    `stop` raises RunError with the weights as the step before left them; `skip` leaves out the update, in
    which optimizers pass over parameters that have no gradient; `ignore` is to have no guard at all. Finite
    gradients can still overflow the weights: those are never saved.
    """

    def __init__(self, journal: Journal, timetable: Timetable, *, on_nonfinite: str) -> None:
        self.journal = journal
        self.timetable = timetable
        self.skips = on_nonfinite == "skip"
        self._has_warned = False

    def on_before_optimizer_step(
        self, trainer: Trainer, module: LightningModule, optimizer: Optimizer
    ) -> None:
        assert isinstance(module, TrainingModule)
        gradients = [weight.grad for weight in module.net.parameters() if weight.grad is not None]
        loss = module.step_losses[-1]
        # the largest entry, not the root of squares, which overflows for finite gradients
        largest = get_total_norm(gradients, math.inf)
        if bool(torch.isfinite(loss + largest)):
            return
        message = self._message(loss, trainer.global_step + 1)
        if not self.skips:
            raise RunError(f"{message}; try a smaller optimizer.lr, or on_nonfinite=skip")
        optimizer.zero_grad(set_to_none=True)
        if not self._has_warned:
            self.journal.write("warning", message=f"{message}; such updates are left out")
            self._has_warned = True

    def on_save_checkpoint(
        self, trainer: Trainer, module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        assert isinstance(module, TrainingModule)
        for name, weight in module.net.named_parameters():
            if not bool(torch.isfinite(weight).all()):
                raise RunError(
                    f"{name} is not finite after step {trainer.global_step}, so it is not saved; "
                    "try a smaller optimizer.lr"
                )

    def _message(self, loss: Tensor, step: int) -> str:
        epoch, num_rows = self.timetable.position(step - 1)
        batch = num_rows // self.timetable.batch_size + 1
        what = "its gradient" if bool(torch.isfinite(loss)) else "train/loss"
        value = "is not finite" if bool(torch.isfinite(loss)) else f"is {float(loss)}"
        place = f"batch {batch} of {self.timetable.steps_per_epoch} in epoch {epoch + 1}"
        return f"{what} {value} at step {step} ({place})"


def guards(journal: Journal, timetable: Timetable, *, on_nonfinite: str) -> list[Any]:
    """The guard, or none."""
    if on_nonfinite == "ignore":
        return []
    return [NonfiniteGuard(journal, timetable, on_nonfinite=on_nonfinite)]
