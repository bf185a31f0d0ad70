"""Which rows each rank computes, written down for who compares the same run on several devices."""

from __future__ import annotations

import json
from pathlib import Path

from lightning import LightningModule, Trainer
from torch import Tensor

from primer.files import write_atomically
from primer.training.batches import Batches
from primer.training.module import StepCallback, TrainingModule


class SampleRecorder(StepCallback):
    """Notes the rows of the training split that `batches` handed to each step; writes them at the end.

    The file at `path` holds a list for each optimizer step: its rows on this rank, in the order computed.
    """

    def __init__(self, batches: Batches, path: Path) -> None:
        self.path = path
        self._handed: list[Tensor] = []  # of the newest batch
        self._steps: list[list[Tensor]] = []  # tensors until the end, so that no step waits for a GPU
        batches.on_batch = self._take

    def _take(self, parts: list[Tensor]) -> None:
        self._handed = parts  # in place of a batch that no step took, as one that is compiled with

    def after_step(self, module: TrainingModule, loss: Tensor) -> None:
        self._steps.append(self._handed)
        self._handed = []

    def on_train_end(self, trainer: Trainer, module: LightningModule) -> None:
        assert isinstance(module, TrainingModule)
        rows = [[row for part in parts for row in part.tolist()] for parts in self._steps]
        self.path.parent.mkdir(exist_ok=True)
        write_atomically(self.path, json.dumps(rows).encode())
        module.replicas.wait()  # the others end when the first one does
