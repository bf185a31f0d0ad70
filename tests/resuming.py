"""Kill a training at a step and resume it, in processes forked from one that has torch: 0.2 s, not 10."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import yaml
from lightning.pytorch.trainer.connectors.checkpoint_connector import _CheckpointConnector
from torch import Tensor, nn

from primer import worker
from primer.config import compose
from primer.config.changes import changes_of, with_changes
from primer.tracking.journal import Journal, read
from primer.training import checkpointer
from primer.training.batches import Batch, Batches
from primer.training.checkpoint import Checkpoints
from primer.training.checkpointer import Checkpointer
from primer.training.recorder import Recorder
from primer.training.watch import Watch

# Forks what has torch already, and no threads yet: a fork of a test process may inherit a lock that is held.
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["primer.fitting", "primer.data.bundled"])

NUM_STEPS = 60
DIGITS = ("data=iris", "batch_size=16", "max_epochs=null", f"max_steps={NUM_STEPS}", "tracking=off")
EVERY_5 = "checkpoint_every_n_steps=5"  # of epochs of 7: within and at their ends
EARLY = ("val_every_n_steps=5", "patience=4")
KILL_AT = "KILL_AT"  # an environment variable: the step in which the process kills itself


class KilledNet(nn.Module):
    """A two-layer net with dropout that draws from three generators, and a bomb in its forward."""

    def __init__(self, in_features: int, out_features: int, activation: nn.Module, dropout: float) -> None:
        super().__init__()
        self.hidden, self.out = nn.Linear(in_features, 32), nn.Linear(32, out_features)
        self.activation, self.dropout = activation, nn.Dropout(dropout)
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.calls += 1
            if self.calls == int(os.environ.get(KILL_AT, "-1")):
                os.kill(os.getpid(), signal.SIGKILL)
        out: Tensor = self.out(self.dropout(self.activation(self.hidden(x))))
        return out


NETS = {
    "plain": {"dropout": 0.0},
    "dropout": {"dropout": 0.3},
}
CASES: dict[str, tuple[str, ...]] = {
    "shuffled": ("net=plain",),
    "dropout": ("net=dropout",),
    "momentum": ("net=plain", "optimizer=sgd", "optimizer.lr=0.05", "optimizer.momentum=0.9"),
    "adam_scheduler": ("net=plain", "optimizer=adam", "scheduler=warmup_cosine", "scheduler.warmup_steps=9"),
    "mid_epoch": ("net=dropout", *EARLY),
    # its best validation is at step 30, and it stops early at step 50
    "unsteady": ("net=plain", "optimizer=sgd", "optimizer.lr=2", "optimizer.momentum=0.9", *EARLY),
    "epoch_end": ("net=dropout", "checkpoint_every_n_steps=6", "batch_size=19"),
    "bf16": ("net=dropout", "accelerator=cpu", "accelerator.precision=bf16-mixed"),
    "float16": ("net=dropout", "accelerator=cpu", "accelerator.precision=16-mixed"),  # with its scaler
    "float64": ("net=dropout", "accelerator=cpu", "accelerator.precision=64"),
    "parts": ("net=dropout", "accumulate_grad_batches=3"),
    "clipped": ("net=dropout", "gradient_clip_val=0.5", "optimizer=rmsprop", "optimizer.momentum=0.5"),
}


def nothing(*_: Any, **__: Any) -> None:
    """What a planted fault puts in place of a function that restores."""


def from_the_start(batches: Batches, step: int) -> Iterator[Batch]:
    """What a planted fault puts in place of `Batches.after`."""
    while True:
        yield from batches.epoch(0)


# What restores a part of a run's state, what is put in its place, and a run that comes out otherwise so.
FAULTS: dict[str, tuple[str, Any, str, Callable[..., Any]]] = {
    "step": ("shuffled", Checkpointer, "on_load_checkpoint", nothing),
    "generators": ("dropout", checkpointer, "set_random_state", nothing),
    "position": ("shuffled", Batches, "after", from_the_start),
    "scheduler": ("adam_scheduler", _CheckpointConnector, "restore_lr_schedulers", nothing),
    "optimizer": ("momentum", _CheckpointConnector, "restore_optimizers", nothing),
    "best so far": ("unsteady", Recorder, "load_state_dict", nothing),
    "best and early stopping": ("unsteady", Watch, "load_state_dict", nothing),
}


def conf_dir(root: Path) -> Path:
    """A folder of options for the nets of this module."""
    (root / "net").mkdir(parents=True)
    for name, keys in NETS.items():
        part = {"_target_": f"{__name__}.KilledNet", **keys}
        (root / "net" / f"{name}.yaml").write_text(yaml.safe_dump(part))
    return root


def begin(folder: Path, *overrides: str, config_dir: Path | None = None) -> Path:
    """A run folder with its frozen config and its journal's first record."""
    folder.mkdir(parents=True)
    config = compose([*DIGITS, EVERY_5, *overrides], config_dir=config_dir)
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    with Journal(folder) as journal:
        journal.write("run", id="0", time=0)
    return folder


def prolong(folder: Path, *overrides: str) -> None:
    """Ask for more, as `primer resume RUN OVERRIDES` does."""
    config = yaml.safe_load((folder / "config.yaml").read_text())
    new = with_changes(config, changes_of(config, overrides), overrides)
    (folder / "config.yaml").write_text(yaml.safe_dump(new))


def work_in(folder: Path, *, kill_at: int | None = None, fault: str | None = None) -> int:
    """Train a run folder's run, killed in its `kill_at`-th forward or with a planted fault if given.

    Returns the exit code, negative for the signal that killed it.
    """
    process = SERVER.Process(target=_work, args=(folder, kill_at, fault))
    process.start()
    process.join()
    assert process.exitcode is not None
    return process.exitcode


def _work(folder: Path, kill_at: int | None, fault: str | None) -> None:
    if kill_at is not None:
        os.environ[KILL_AT] = str(kill_at)
    with (folder / "worker.log").open("ab") as log:
        os.dup2(log.fileno(), 2)
    if fault:
        _, owner, name, instead = FAULTS[fault]
        setattr(owner, name, instead)
    sys.exit(worker.main(folder / "config.yaml"))


def points(folder: Path) -> dict[tuple[str, int], list[float]]:
    """The recorded values of each (metric, step): one each, or something is doubled."""
    found: dict[tuple[str, int], list[float]] = {}
    for record in read(folder):
        if record["kind"] == "points":
            for step, value in zip(record["steps"], record["values"], strict=True):
                found.setdefault((record["key"], step), []).append(value)
    return found


def newest(folder: Path) -> dict[str, Any]:
    """The newest checkpoint."""
    state, _, complaints = Checkpoints(folder / "checkpoints").newest_whole()
    assert state, complaints
    return state


# a folder's name; and Lightning's note of the last score, which it neither restores nor reads
NOT_STATE = ("dirpath", "current_score")


def differences(one: Any, other: Any, place: str = "") -> Iterator[str]:
    """Where two checkpoints are not the same to the bit, paths of folders aside."""
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        if not torch.equal(one, other):
            yield place
    elif isinstance(one, dict) and isinstance(other, dict):
        keys = [dict.fromkeys(key for key in node if "path" not in str(key)) for node in (one, other)]
        if list(keys[0]) != list(keys[1]) and not place.endswith("best_k_models"):
            yield f"{place}: {list(keys[0])} != {list(keys[1])}"
        for key in keys[0]:
            if key in other and key not in NOT_STATE:
                yield from differences(one[key], other[key], f"{place}.{key}")
    elif isinstance(one, list | tuple) and isinstance(other, list | tuple) and len(one) == len(other):
        for index, pair in enumerate(zip(one, other, strict=True)):
            yield from differences(*pair, f"{place}[{index}]")
    elif one != other:
        yield f"{place}: {one} != {other}"


def unlike(one: Path, other: Path) -> list[str]:
    """What differs between two runs: points, final weights, optimizer, everything a checkpoint holds."""
    found = list(differences(newest(one), newest(other)))
    mine, theirs = points(one), points(other)
    found += [f"{key}: {mine.get(key)} != {theirs.get(key)}" for key in mine if mine[key] != theirs.get(key)]
    return found + [f"{key}: only in the other" for key in theirs if key not in mine]
