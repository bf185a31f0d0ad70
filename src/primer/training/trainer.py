"""Lightning's Trainer, set up so that a run is the same bits twice and nothing prints or logs but us."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, Trainer
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint

from primer.direction import is_falling
from primer.errors import ConfigError
from primer.training.checkpoint import VerifiedCheckpointIO

PRECISIONS: dict[str, Any] = {"32": "32-true", "bf16-mixed": "bf16-mixed", "64": "64-true"}

SMALL_STEP_FLOPS = 1e8  # measured on 2 cores: below it a second thread saves at most a fifth of a step


def use_threads(num_threads: int | None, *, num_params: int, batch_size: int) -> int:
    """Set torch's CPU threads, by the size of a step where no number is given; returns the number.

    A small step is done sooner by one thread than it is shared out, and other busy processes on the
    machine make waiting for the second thread far worse.
    """
    if num_threads is None:
        flops = 6 * num_params * batch_size  # forward and backward of dense layers
        num_threads = 1 if flops < SMALL_STEP_FLOPS else torch.get_num_threads()
    torch.set_num_threads(num_threads)
    return num_threads


class Best(ModelCheckpoint):
    """Keeps `best.ckpt`, and knows it again where the run's folder was moved; Lightning would forget it."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        here, score = str(Path(str(self.dirpath)) / "best.ckpt"), state_dict["best_model_score"]
        moved = {
            "dirpath": self.dirpath,
            "best_model_path": "" if score is None else here,
            "best_k_models": {} if score is None else {here: score},
            "kth_best_model_path": "" if score is None else here,
        }
        super().load_state_dict(state_dict | moved)


def best_and_stopping(folder: Path, *, monitor: str, patience: int | None) -> list[Callback]:
    """Keep `checkpoints/best.ckpt` by the watched metric, and stop when it no longer improves."""
    mode = "min" if is_falling(monitor) else "max"
    best = Best(
        dirpath=folder,
        filename="best",
        monitor=monitor,
        mode=mode,
        enable_version_counter=False,
        auto_insert_metric_name=False,
        save_on_train_epoch_end=False,  # with the validation, so that a checkpoint after it knows
    )
    if patience is None:
        return [best]
    stopping = EarlyStopping(monitor, patience=patience, mode=mode, check_on_train_epoch_end=False)
    return [best, stopping]


def make_trainer(
    folder: Path,
    callbacks: list[Callback],
    *,
    accelerator: str,
    devices: int,
    precision: str,
    num_steps: int,
    val_every_n_steps: int | None,
    gradient_clip_val: float | None,
    accumulate_grad_batches: int,
    deterministic: bool,
) -> Trainer:
    """A quiet Trainer that ends after `num_steps` optimizer steps."""
    check_device(accelerator)
    silence_lightning()
    every_n_epochs: dict[str, Any] = {}
    if val_every_n_steps is not None:
        every_n_batches = val_every_n_steps * accumulate_grad_batches
        every_n_epochs = {"val_check_interval": every_n_batches, "check_val_every_n_epoch": None}
    return Trainer(
        accelerator=accelerator,
        devices=devices,
        precision=PRECISIONS[precision],
        max_epochs=-1,
        max_steps=num_steps,
        gradient_clip_val=gradient_clip_val,
        accumulate_grad_batches=accumulate_grad_batches,
        deterministic=deterministic,
        callbacks=callbacks,
        # told, not guessed: in a Slurm job Lightning would take over its signals, and requeue it
        plugins=[VerifiedCheckpointIO(), LightningEnvironment()],
        default_root_dir=folder,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        **every_n_epochs,
    )


def silence_lightning() -> None:
    """Keep Lightning from advertising, and from warnings that nobody who runs primer can act on."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    for message in (
        "`isinstance\\(treespec, LeafSpec\\)` is deprecated",  # Lightning 2.6 with torch 2.13
        "You defined a `validation_step` but have no `val_dataloader`",  # data=primer has none
        "Checkpoint directory .* exists and is not empty",  # a resumed run's own
        "The `srun` command is available on your system but is not used",  # one process needs none
    ):
        warnings.filterwarnings("ignore", message=f".*{message}")


def check_device(accelerator: str) -> None:
    """Raise ConfigError when no device of that kind is there."""
    there = {"cpu": True, "gpu": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there.get(accelerator, True):
        found = ", ".join(kind for kind, is_there in there.items() if is_there)
        raise ConfigError(f"accelerator={accelerator}: no such device is visible; found {found}")
