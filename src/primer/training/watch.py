"""The best weights by a watched metric, and when to stop because it no longer improves."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from primer.direction import is_falling
from primer.training.checkpoint import VerifiedCheckpointIO
from primer.training.module import TrainingModule

BEST = "best.ckpt"


class Watch(Callback):
    """Keeps the best weights in memory, and on the disk as `best.ckpt` from each checkpoint on.

    Stops the run after `patience` validations in a row that were no better than the best; None: never.
    """

    def __init__(self, folder: Path, *, monitor: str, patience: int | None) -> None:
        self.path = folder / BEST
        self.monitor = monitor
        self.patience = patience
        self.best: float | None = None
        self.num_worse = 0  # validations in a row
        self.is_over = False  # it no longer improves
        self._weights: dict[str, Tensor] | None = None  # of the best, where it is newer than its file

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "num_worse": self.num_worse}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best, self.num_worse = state_dict["best"], state_dict["num_worse"]

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        assert isinstance(module, TrainingModule)
        self.look(module)
        trainer.should_stop |= self.is_over

    def look(self, module: TrainingModule) -> None:
        """Look at what a validation found, and keep the weights that it was the best of."""
        if self.is_better(module):
            self.best, self.num_worse = module.evaluated[self.monitor], 0
            weights = module.net.state_dict()
            self._weights = {name: weight.detach().clone() for name, weight in weights.items()}
        else:
            self.num_worse += 1
        self.is_over = self.patience is not None and self.num_worse >= self.patience

    def is_better(self, module: TrainingModule) -> bool:
        """Whether what a validation found is better than the best so far."""
        value = module.evaluated[self.monitor]
        if self.best is None or math.isnan(self.best):
            return True
        return value < self.best if is_falling(self.monitor) else value > self.best

    def save(self) -> None:
        """Put the best weights on the disk, if they are not there."""
        if self._weights is not None:
            content = {"net": self._weights, self.monitor: self.best}
            VerifiedCheckpointIO().save_checkpoint(content, self.path)
            self._weights = None

    def take_best(self, module: TrainingModule) -> None:
        """Go back to the best weights, if there was a validation."""
        self.save()
        if self.path.exists():
            content = VerifiedCheckpointIO().load_checkpoint(self.path, map_location="cpu")
            module.net.load_state_dict(content["net"])
