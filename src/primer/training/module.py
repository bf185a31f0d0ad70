"""The one LightningModule: a net, a criterion, an optimizer, a scheduler, as plain arguments."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from lightning import LightningModule
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torchmetrics import SumMetric

from primer.training.batches import Batch
from primer.training.criteria import Criterion
from primer.training.metrics import TargetScale, metrics_of


class TrainingModule(LightningModule):
    """Trains `net` on `criterion` and evaluates it; what it finds is read off by callbacks.

    `optimizer` is called with the parameters, `scheduler` with the optimizer. `target_scale` undoes the
    standardization of a real-valued target, so that metrics are in the target's own unit; losses stay in
    the unit that is trained on.
    """

    def __init__(
        self,
        net: nn.Module,
        criterion: Criterion,
        *,
        optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
        scheduler: Callable[[Optimizer], LRScheduler],
        task: str,
        target_scale: TargetScale,
    ) -> None:
        super().__init__()
        self.net = net
        self.criterion = criterion
        self.target_scale = target_scale
        self.loss_sum = SumMetric(nan_strategy="disable").set_dtype(torch.float64)
        self.metrics = metrics_of(task, target_scale.out_features)
        self.step_losses: list[Tensor] = []  # shares of the step in progress, scalars
        self.evaluated: dict[str, float] = {}  # what the last evaluation found
        self._optimizer, self._scheduler = optimizer, scheduler

    def forward(self, x: Tensor) -> Tensor:
        """x: (batch, in_features) -> (batch, out_features)."""
        prediction: Tensor = self.net(x)
        return prediction

    def configure_optimizers(self) -> Any:
        optimizer = self._optimizer(self.net.parameters())
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": self._scheduler(optimizer), "interval": "step"},
        }

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        x, y, num_rows = batch
        loss: Tensor = self.criterion(self(x), y, num_rows)
        if len(self.step_losses) < self.trainer.accumulate_grad_batches:  # LBFGS asks again for a step
            self.step_losses.append(loss.detach())
        # Lightning divides by this, as if every part were a batch of its own
        return loss * self.trainer.accumulate_grad_batches

    def pop_step_loss(self) -> Tensor:
        """The loss of the optimizer step that just ended, before its update; a scalar."""
        losses, self.step_losses = self.step_losses, []
        return losses[0] if len(losses) == 1 else torch.stack(losses).sum()

    def _evaluate(self, batch: Batch) -> None:
        x, y, num_rows = batch
        prediction = self(x)
        self.loss_sum.update(self.criterion(prediction, y, num_rows))
        self.metrics.update(*self.target_scale(prediction, y))

    def _evaluated(self, split: str) -> None:
        found = {"loss": self.loss_sum.compute(), **self.metrics.compute()}
        self.loss_sum.reset()
        self.metrics.reset()
        self.evaluated = {f"{split}/{name}": float(value) for name, value in found.items()}
        self.log_dict(self.evaluated, logger=False)  # for best checkpoint and early stopping

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self._evaluate(batch)

    def on_validation_epoch_end(self) -> None:
        self._evaluated("val")

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self._evaluate(batch)

    def on_test_epoch_end(self) -> None:
        self._evaluated("test")
