"""The one LightningModule: a net, a criterion, an optimizer, a scheduler, as plain arguments."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from lightning import LightningModule
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from primer.training.batches import Batch, Part
from primer.training.criteria import Criterion
from primer.training.metrics import TargetScale, metrics_of
from primer.training.steps import StepCallback


class TrainingModule(LightningModule):
    """Trains `net` on `criterion` and evaluates it; what it finds is read off by callbacks.

    `optimizer` is called with the parameters, `scheduler` with the optimizer; gradients are scaled down to
    `max_norm`, if one is given. `target_scale` undoes the
    standardization of a real-valued target, so that metrics are in the target's own unit; losses stay in
    the unit that is trained on.

    A batch of Lightning's is many optimizer steps, see `Legs`; callbacks that look at each are StepCallbacks.
    """

    step: int  # optimizer steps done
    weights: list[nn.Parameter]  # those that are trained, once they are

    def __init__(
        self,
        net: nn.Module,
        criterion: Criterion,
        *,
        optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
        scheduler: Callable[[Optimizer], LRScheduler | None],
        task: str,
        target_scale: TargetScale,
        max_norm: float | None = None,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.step = 0
        self.net = net
        self.criterion = criterion
        self.target_scale = target_scale
        self._losses: list[Tensor] = []  # of the parts of an evaluation; torchmetrics' sum is a float32 one
        self.metrics = metrics_of(task, target_scale.out_features)
        self.evaluated: dict[str, float] = {}  # what the last evaluation found
        self._optimizer, self._scheduler, self.max_norm = optimizer, scheduler, max_norm

    def forward(self, x: Tensor) -> Tensor:
        """x: (batch, in_features) -> (batch, out_features)."""
        prediction: Tensor = self.net(x)
        return prediction

    def loss_of(self, x: Tensor, y: Tensor, num_rows: int) -> Tensor:
        """A part's share of the loss of a batch of `num_rows` rows, a scalar."""
        loss: Tensor = self.criterion(self.net(x), y, num_rows)
        return loss

    def configure_optimizers(self) -> Any:
        return self.make_optimizer(self.net.parameters())

    def make_optimizer(self, weights: Iterable[nn.Parameter]) -> dict[str, Any]:
        """The optimizer of these weights, and its scheduler if it has one, in Lightning's words."""
        optimizer = self._optimizer(weights)
        scheduler = self._scheduler(optimizer)
        return {"optimizer": optimizer} | ({"lr_scheduler": scheduler} if scheduler else {})

    def training_step(self, leg: Iterator[Batch], batch_idx: int) -> None:
        (optimizer,) = self.trainer.optimizers
        self.weights = [weight for group in optimizer.param_groups for weight in group["params"]]
        schedulers = [config.scheduler for config in self.trainer.lr_scheduler_configs]
        every: list[Any] = self.trainer.callbacks  # type: ignore[attr-defined]
        callbacks = [callback for callback in every if isinstance(callback, StepCallback)]
        for batch in leg:
            loss = self._take_step(optimizer, batch, callbacks)
            for scheduler in schedulers:
                scheduler.step()
            self.step += 1
            for callback in callbacks:
                callback.after_step(self, loss)

    def _take_step(self, optimizer: Optimizer, batch: Batch, callbacks: list[StepCallback]) -> Tensor:
        """One update by a batch; returns the loss before it, a scalar."""
        first: list[Tensor] = []

        def closure() -> Tensor:
            loss = self._gradients(batch)
            for callback in callbacks:
                callback.before_update(self, loss)
            first.append(loss)
            return loss

        optimizer.step(closure)  # type: ignore[arg-type]
        return first[0]  # LBFGS asks again for a step

    def _gradients(self, batch: Batch) -> Tensor:
        """Put the gradients of a batch's loss in place; returns that loss, a scalar."""
        for weight in self.weights:
            weight.grad = None
        losses = []
        for x, y, num_rows in batch:
            loss = self.loss_of(x, y, num_rows)
            backward(loss)
            losses.append(loss.detach())
        if self.max_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.weights, self.max_norm)
        return losses[0] if len(losses) == 1 else torch.stack(losses).sum()

    def _evaluate(self, part: Part) -> None:
        x, y, num_rows = part
        prediction = self(x)
        self._losses.append(self.criterion(prediction, y, num_rows).double())
        self.metrics.update(*self.target_scale(prediction, y))

    def _evaluated(self, split: str) -> None:
        found = {"loss": torch.stack(self._losses).sum(), **self.metrics.compute()}
        self._losses = []
        self.metrics.reset()
        self.evaluated = {f"{split}/{name}": float(value) for name, value in found.items()}

    def validation_step(self, batch: Part, batch_idx: int) -> None:
        self._evaluate(batch)

    def on_validation_epoch_end(self) -> None:
        self._evaluated("val")

    def test_step(self, batch: Part, batch_idx: int) -> None:
        self._evaluate(batch)

    def on_test_epoch_end(self) -> None:
        self._evaluated("test")


def backward(loss: Tensor) -> None:
    """Compute a loss's gradients; Lightning's autocast is around all of a leg, where none belongs here."""
    device = loss.device.type
    if torch.is_autocast_enabled(device):
        with torch.autocast(device, enabled=False):
            loss.backward()  # type: ignore[no-untyped-call]
    else:
        loss.backward()  # type: ignore[no-untyped-call]
