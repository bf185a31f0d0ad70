"""Who hears of each optimizer step: Lightning's hooks are called once for many of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lightning import Callback
from torch import Tensor

if TYPE_CHECKING:
    from primer.training.module import TrainingModule


class StepCallback(Callback):
    """A callback that looks at optimizer steps, in the order of the Trainer's callbacks."""

    def before_update(self, module: TrainingModule, loss: Tensor) -> None:
        """The gradients of a step are there, and the optimizer has not used them."""

    def after_step(self, module: TrainingModule, loss: Tensor) -> None:
        """Step `module.step` is done; `loss` is the one before its update, a scalar on the net's device."""
