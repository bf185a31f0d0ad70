"""Run folders as a run leaves them, written without training: real configs, headers and journals."""

from __future__ import annotations

import copy
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from primer.compare.runs import TrackedRun, run_in
from primer.config import compose
from primer.folder import create_folder, write_header
from primer.tracking.journal import Journal

STARTED = 1_790_000_000_000  # ms since 1970
NUM_ROWS = {"train": 100, "val": 20, "test": 20}


@functools.cache
def config_of(*overrides: str) -> dict[str, Any]:
    return compose(overrides)


def write_run(
    *overrides: str,
    seed: int = 0,
    val: Sequence[float] = (0.5, 0.4),
    train: Sequence[float] = (1.0, 0.9, 0.8, 0.7),
    best: float | None = None,
    status: str | None = "FINISHED",
    digest: str = "d0",
    criterion: str = "cross_entropy",
    name: str | None = None,
    root: Path | None = None,
    tags: dict[str, str] | None = None,
    num_rows: dict[str, int] = NUM_ROWS,
    accuracy: float = 0.9,
) -> Path:
    """The folder of a run with these settings; `status` is None for one that has no end."""
    config = copy.deepcopy(config_of(*overrides))
    config["seed"] = config["data"]["seed"] = seed
    config["name"] = name or f"{config['switches']['activation']} s{seed}"
    folder = create_folder(config["name"], root)
    write_header(folder, config, tags)
    steps = list(range(1, len(train) + 1))
    val_steps = [steps[-1] * (place + 1) // len(val) for place in range(len(val))]
    curves = {
        "train/loss": (steps, list(train)),
        "val/loss": (val_steps, list(val)),
        "best/val/loss": ([steps[-1]], [min(val) if best is None else best]),
        "final/train/loss": ([steps[-1]], [train[-1]]),
        "test/accuracy": ([steps[-1]], [accuracy]),
    }
    with Journal(folder) as journal:
        facts = {"name": "digits", "source": "x", "digest": digest, "task": "classification"}
        facts |= {"criterion": criterion, "target": "y"}
        journal.write("data", **facts, features=["a"], num_classes=2, num_rows=num_rows)
        journal.write("start", num_steps=steps[-1], step=0, num_params=9, num_threads=1, device="cpu")
        for key, (at, values) in curves.items():
            times = [STARTED + 500 * step for step in at]
            journal.write("points", key=key, steps=at, times=times, values=values)
        if status is not None:
            error = None if status == "FINISHED" else "of a test"
            journal.write("end", time=STARTED, status=status, error=error, duration_s=2.0)
    return folder


def runs_of(scores: dict[str, Sequence[float]], *, first_seed: int = 0) -> list[TrackedRun]:
    """Runs of some activations, a seed for each of the scores, which are the best losses."""
    return [
        run_in(write_run(f"activation={name}", seed=first_seed + seed, best=float(score)))
        for name, some in scores.items()
        for seed, score in enumerate(some)
    ]
