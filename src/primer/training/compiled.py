"""`compile=true`: the loss of a batch, forward and backward, by torch.compile; on CUDA as CUDA graphs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from lightning import LightningModule, Trainer
from torch import Tensor

from primer.errors import first_line
from primer.tracking.journal import Journal
from primer.training.batches import Batch
from primer.training.module import StepCallback, TrainingModule, backward


class Compiler(StepCallback):
    """Compiles the loss when training starts; where that can't be, a line says so and it stays as it is.

    `example` gives a batch of the usual size; one of another size is compiled when it comes.
    """

    def __init__(self, example: Callable[[], Batch], journal: Journal) -> None:
        self.example = example
        self.journal = journal

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        assert isinstance(module, TrainingModule)
        batch = self.example()
        device = batch[0][0].device
        # a graph's memory is used again by its next call, so that gradients of parts can't be added up
        has_graphs = device.type == "cuda" and len(batch) == 1
        before = {name: value.clone() for name, value in module.net.state_dict().items()}
        try:
            with torch.random.fork_rng([device] if device.type == "cuda" else []):
                torch._dynamo.config.suppress_errors = False
                loss_of = _compiled(module.loss_of, has_graphs=has_graphs)
                backward(loss_of(*batch[0]))
            module.loss_of = loss_of  # type: ignore[method-assign]
        except Exception as error:  # what compilers raise has no common name
            message = f"compile=true: trained without: {type(error).__name__}: {first_line(error)}"
            self.journal.write("warning", message=message)
        finally:
            torch._dynamo.config.suppress_errors = True  # a later shape that can't be compiled ends no run
            module.net.load_state_dict(before)
            module.net.zero_grad()


def _compiled(loss_of: Callable[..., Tensor], *, has_graphs: bool) -> Callable[..., Tensor]:
    if not has_graphs:
        return torch.compile(loss_of, dynamic=False)
    replayed = torch.compile(loss_of, dynamic=False, mode="reduce-overhead")

    def call(*part: Any) -> Tensor:
        torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
        return replayed(*part).clone()  # which the next call leaves alone

    return call
