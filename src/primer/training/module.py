"""The one LightningModule: a net, a criterion, an optimizer, a scheduler, as plain arguments."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from lightning import Callback, LightningModule
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from primer.training.batches import Batch, Part
from primer.training.criteria import Criterion
from primer.training.evaluation import Evaluation, TargetScale
from primer.training.replicas import Replicas
from primer.training.sharded import shard


class StepCallback(Callback):
    """A callback that looks at each optimizer step; Lightning's hooks are called once for many of them."""

    def before_update(self, module: TrainingModule, loss: Tensor) -> None:
        """The gradients of a step are there, and the optimizer has not used them."""

    def after_step(self, module: TrainingModule, loss: Tensor) -> None:
        """Step `module.step` is done; `loss` is the one before its update, a scalar on the net's device."""


class TrainingModule(LightningModule):
    """Trains `net` on `criterion` and evaluates it; what it finds is read off by callbacks.

    `optimizer` is called with the parameters, `scheduler` with the optimizer; gradients are scaled down to
    `max_norm`, if one is given. `target_scale` undoes the
    standardization of a real-valued target, so that metrics are in the target's own unit; losses stay in
    the unit that is trained on.

    A batch of Lightning's is many optimizer steps, see `Legs`; callbacks that look at each are StepCallbacks.
    Of several `replicas` each has its share of the rows; losses, gradients and metrics are those of all rows.
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
        target_scale: TargetScale,
        max_norm: float | None = None,
        replicas: Replicas | None = None,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.step = 0
        self.net = net
        self.criterion = criterion
        self.evaluated: dict[str, float] = {}  # what the last evaluation found
        self.num_evaluated = 0  # rows, in it
        self.replicas = replicas or Replicas()
        self.evaluation = Evaluation(target_scale, self.replicas)
        self.scaler: torch.amp.GradScaler | None = None  # of float16, whose small gradients would vanish
        self._optimizer, self._scheduler, self.max_norm = optimizer, scheduler, max_norm

    def forward(self, x: Tensor) -> Tensor:
        """x: (batch, in_features) -> (batch, out_features)."""
        prediction: Tensor = self.net(x)
        return prediction

    def loss_of(self, x: Tensor, y: Tensor, num_rows: int) -> Tensor:
        """A part's share of the loss of a batch of `num_rows` rows, a scalar."""
        loss: Tensor = self.criterion(self.net(x), y, num_rows)
        return loss

    def configure_model(self) -> None:
        if self.replicas.is_sharded:
            assert self.device_mesh
            shard(self.net, self.device_mesh["data_parallel"])

    def configure_optimizers(self) -> Any:
        return self.make_optimizer(self.net.parameters())

    def make_optimizer(self, weights: Iterable[nn.Parameter]) -> dict[str, Any]:
        """The optimizer of these weights, and its scheduler if it has one, in Lightning's words."""
        optimizer = self._optimizer(weights)
        scheduler = self._scheduler(optimizer)
        return {"optimizer": optimizer} | ({"lr_scheduler": scheduler} if scheduler else {})

    def on_fit_start(self) -> None:
        self.scaler = getattr(self.trainer.precision_plugin, "scaler", None)

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
            loss = self._gradients(optimizer, batch)
            for callback in callbacks:
                callback.before_update(self, loss)
            first.append(loss)
            return loss

        if self.scaler:
            closure()
            self.scaler.step(optimizer)
            self.scaler.update()
        else:
            optimizer.step(closure)  # type: ignore[arg-type]
        return first[0]  # LBFGS asks again for a step

    def _gradients(self, optimizer: Optimizer, batch: Batch) -> Tensor:
        """Put the gradients of a batch's loss in place; returns that loss, a scalar."""
        for weight in self.weights:
            weight.grad = None
        losses = []
        for x, y, num_rows in batch:
            loss = self.loss_of(x, y, num_rows)
            backward(self._scaled(loss))
            losses.append(loss.detach())
        total = losses[0] if len(losses) == 1 else self._sum(losses)
        if self.replicas.are_many:
            total = self.replicas.sum_step(self.weights, total)
        if self.scaler:
            self._scaled(total)  # which makes it ready, where this rank had no row
            self.scaler.unscale_(optimizer)
        if self.max_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.weights, self.max_norm)
        return total

    def _scaled(self, loss: Tensor) -> Tensor:
        scaled: Tensor = self.scaler.scale(loss) if self.scaler else loss
        return scaled

    def _sum(self, losses: list[Tensor]) -> Tensor:
        """Of the parts of a batch, of which this rank may have none."""
        if losses:
            return torch.stack(losses).sum()
        return torch.zeros((), dtype=self.weights[0].dtype, device=self.weights[0].device)

    def validation_step(self, batch: Part, batch_idx: int) -> None:
        x, y, num_rows = batch
        if len(x) or self.replicas.is_sharded:  # whose ranks compute alike
            prediction = self(x)
        if len(x):
            self.evaluation.take(prediction, y, self.criterion(prediction, y, num_rows))

    def on_validation_epoch_start(self) -> None:
        self.replicas.share_buffers(self.net.buffers())

    test_step, on_test_epoch_start = validation_step, on_validation_epoch_start

    def on_validation_epoch_end(self) -> None:
        self._evaluated("val")

    def on_test_epoch_end(self) -> None:
        self._evaluated("test")

    def _evaluated(self, split: str) -> None:
        found, self.num_evaluated = self.evaluation.end()
        self.evaluated = {f"{split}/{name}": value for name, value in found.items()}


def backward(loss: Tensor) -> None:
    """Compute a loss's gradients; Lightning's autocast is around all of a leg, where none belongs here."""
    device = loss.device.type
    if torch.is_autocast_enabled(device):
        with torch.autocast(device, enabled=False):
            loss.backward()  # type: ignore[no-untyped-call]
    else:
        loss.backward()  # type: ignore[no-untyped-call]
