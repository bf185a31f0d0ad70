"""The best weights by a watched metric, and when to stop because it no longer improves."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from primer.direction import rank
from primer.training.checkpoint import VerifiedCheckpointIO
from primer.training.module import TrainingModule
from primer.training.replicas import Replicas
from primer.training.sharded import load, whole

BEST = "best.ckpt"


class Watch(Callback):
    """Keeps the best weights in memory, and on the disk as `best.ckpt` from each checkpoint on.

    Stops the run after `patience` validations in a row that were no better than the best; None: never.
    """

    def __init__(
        self, folder: Path, *, monitor: str, patience: int | None, replicas: Replicas | None = None
    ) -> None:
        self.replicas = replicas or Replicas()
        self.path = folder / BEST
        self.monitor = monitor
        self.patience = patience
        self.best: float | None = None
        self.num_worse = 0  # validations in a row
        self.is_over = False  # it no longer improves
        self.weights: dict[str, Tensor] | None = None  # of the best, where it is newer than its file

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "num_worse": self.num_worse}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best, self.num_worse = state_dict["best"], state_dict["num_worse"]

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        assert isinstance(module, TrainingModule)
        if self.look(module.evaluated):
            weights = module.net.state_dict()
            self.weights = {name: weight.detach().clone() for name, weight in weights.items()}
        trainer.should_stop |= self.is_over

    def look(self, evaluated: dict[str, float]) -> bool:
        """Look at what a validation found, and say whether it is the best so far."""
        value = evaluated[self.monitor]
        is_first = self.best is None or math.isnan(self.best)
        is_better = is_first or rank(self.monitor, value) < rank(self.monitor, self.best)
        if is_better:
            self.best, self.num_worse = value, 0
        else:
            self.num_worse += 1
        self.is_over = self.patience is not None and self.num_worse >= self.patience
        return is_better

    def save(self) -> None:
        """Put the best weights on the disk, if they are not there; one replica does."""
        weights = None if self.weights is None else whole(self.weights)
        if weights is not None and self.replicas.rank == 0:
            content = {"net": weights, self.monitor: self.best}
            VerifiedCheckpointIO().save_checkpoint(content, self.path)
        self.weights = None

    def take_best(self, module: TrainingModule) -> None:
        """Go back to the best weights, if there was a validation."""
        self.save()
        self.replicas.wait()
        if self.path.exists():
            content = VerifiedCheckpointIO().load_checkpoint(self.path, map_location="cpu")
            load(module.net, content["net"])
