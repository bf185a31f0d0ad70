"""Lightning's Trainer, set up so that a run is the same bits twice and nothing prints or logs but us."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch
from lightning import Callback, Trainer
from lightning.pytorch.plugins.precision import DoublePrecision, MixedPrecision
from lightning.pytorch.strategies import Strategy

from primer.errors import ConfigError
from primer.training.checkpoint import VerifiedCheckpointIO
from primer.training.strategies import environment

PRECISIONS: dict[str, Any] = {"32": "32-true", "bf16-mixed": "bf16-mixed"}
FLOAT16: Literal["16-mixed"] = "16-mixed"

SMALL_STEP_FLOPS = 1e8  # measured on 2 cores: below it a second thread saves at most a fifth of a step


def use_threads(num_threads: int | None, *, num_params: int, batch_size: int, num_processes: int = 1) -> int:
    """Set torch's CPU threads, by the size of a step where no number is given; returns the number.

    Those of the machine are shared out among the processes that train together.

    A small step is done sooner by one thread than it is shared out, and other busy processes on the
    machine make waiting for the second thread far worse.
    """
    if num_threads is None:
        flops = 6 * num_params * batch_size / num_processes  # forward and backward of dense layers
        num_there = max(1, torch.get_num_threads() // num_processes)
        num_threads = 1 if flops < SMALL_STEP_FLOPS else num_there
    torch.set_num_threads(num_threads)
    return num_threads


def make_trainer(
    folder: Path,
    callbacks: list[Callback],
    *,
    accelerator: str,
    devices: int | str,
    num_nodes: int,
    strategy: Strategy | str,
    precision: str,
    num_legs: int,
    deterministic: bool,
) -> Trainer:
    """A quiet Trainer for so many legs of a training; see `primer.training.batches.Legs`."""
    check_device(accelerator)
    silence_lightning()
    plugins: list[Any] = [VerifiedCheckpointIO(), environment()]
    # as plugins what Lightning would refuse or replace: float16 on a CPU, float64 with shared out weights
    if precision == FLOAT16:
        plugins.append(MixedPrecision(FLOAT16, _kind_of(accelerator)))
    elif precision == "64":
        plugins.append(DoublePrecision())
    trainer = Trainer(
        accelerator=accelerator,
        devices=devices,
        num_nodes=num_nodes,
        strategy=strategy,
        precision=PRECISIONS.get(precision),
        max_epochs=num_legs,
        deterministic=deterministic,
        callbacks=callbacks,
        plugins=plugins,
        default_root_dir=folder,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        enable_checkpointing=False,  # ours
        use_distributed_sampler=False,
    )
    # Lightning's handlers would broadcast in the midst of a collective; ours are there from the start
    trainer._signal_connector.register_signal_handlers = lambda: None  # type: ignore[method-assign]
    return trainer


def _kind_of(accelerator: str) -> str:
    """The kind of device that Lightning will choose."""
    if accelerator != "cpu" and torch.cuda.is_available():
        return "cuda"
    return "mps" if accelerator in ("auto", "mps") and torch.backends.mps.is_available() else "cpu"


def on_its_device(trainer: Trainer) -> Callable[[Any], Any]:
    """What brings tensors to the trainer's device, in its precision."""
    return lambda rows: trainer.strategy.batch_to_device(trainer.precision_plugin.convert_input(rows))


def silence_lightning() -> None:
    """Keep Lightning from advertising, and from warnings that nobody who runs primer can act on."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    for message in (
        "`isinstance\\(treespec, LeafSpec\\)` is deprecated",  # Lightning 2.6 with torch 2.13
        "You defined a `validation_step` but have no `val_dataloader`",  # data=primer has none
        "The `srun` command is available on your system but is not used",  # one process needs none
    ):
        warnings.filterwarnings("ignore", message=f".*{message}")


def check_device(accelerator: str) -> None:
    """Raise ConfigError when no device of that kind is there."""
    there = {"cpu": True, "gpu": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there.get(accelerator, True):
        found = ", ".join(kind for kind, is_there in there.items() if is_there)
        raise ConfigError(f"accelerator={accelerator}: no such device is visible; found {found}")
