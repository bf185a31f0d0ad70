"""`compile=true`: the loss of a batch, forward and backward, by torch.compile; on CUDA as CUDA graphs."""

from __future__ import annotations

from collections.abc import Callable

import torch
from lightning import LightningModule, Trainer

from primer.tracking.journal import Journal
from primer.training.batches import Part
from primer.training.module import TrainingModule, backward
from primer.training.steps import StepCallback


class Compiler(StepCallback):
    """Compiles the loss when training starts; where that can't be, a line says so and it stays as it is.

    `example` gives a batch of the usual size; one of another size is compiled when it comes.
    """

    def __init__(self, example: Callable[[], Part], journal: Journal) -> None:
        self.example = example
        self.journal = journal

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        assert isinstance(module, TrainingModule)
        example = self.example()
        device = example[0].device
        mode = "reduce-overhead" if device.type == "cuda" else None
        before = {name: value.clone() for name, value in module.net.state_dict().items()}
        try:
            with torch.random.fork_rng([device] if device.type == "cuda" else []):
                torch._dynamo.config.suppress_errors = False
                compiled = torch.compile(module.loss_of, dynamic=False, mode=mode)
                backward(compiled(*example))
            module.loss_of = compiled  # type: ignore[method-assign]
        except Exception as error:  # what compilers raise has no common name
            reason = (str(error).strip().splitlines() or [""])[0]
            message = f"compile=true: trained without: {type(error).__name__}: {reason}"
            self.journal.write("warning", message=message)
        finally:
            torch._dynamo.config.suppress_errors = True  # a later shape that can't be compiled ends no run
            module.net.load_state_dict(before)
            module.net.zero_grad()
