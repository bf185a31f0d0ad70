"""What tracking costs: every step recorded and shipped, against one point in 500 steps and no MLflow."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benches.report import Figure
from primer.tracking.journal import read

NUM_STEPS = 8000
RUNS = {
    "digits": ("data=digits", "max_epochs=null", "val_every_n_steps=500"),
    "primer": ("experiment=primer/tensors",),
}


def bench_tracking(num_pairs: int) -> Iterator[Figure]:
    """Milliseconds a step, tracked and bare, from step 500 on."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        for case, overrides in RUNS.items():
            common = (*overrides, f"max_steps={NUM_STEPS}", "checkpoint_every_n_minutes=null")
            pairs = [
                (
                    ms_per_step(trained(root, *common, "tracking.log_model=false")),
                    ms_per_step(trained(root, *common, "tracking=off", "log_every_n_steps=500")),
                )
                for _ in range(num_pairs)
            ]
            tracked, bare = map(list, zip(*pairs, strict=True))
            yield Figure("a tracked step", case, "tracking=off, a point in 500 steps", tracked, bare, "ms")


def ms_per_step(folder: Path, *, since: int = 500) -> float:
    """From the first recorded step that is not before `since` to the last; validations included."""
    points = [r for r in read(folder) if r["kind"] == "points" and r["key"] == "train/loss"]
    times = {s: at for r in points for s, at in zip(r["steps"], r["times"], strict=True) if s >= since}
    first, last = min(times), max(times)
    return float((times[last] - times[first]) / (last - first))


def trained(cwd: Path, *overrides: str) -> Path:
    """The run folder of `primer train OVERRIDES`."""
    command = [sys.executable, "-m", "primer", "train", *overrides]
    environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    subprocess.run(command, cwd=cwd, env=environment, check=True, stdout=subprocess.DEVNULL)
    return max(cwd.glob("outputs/*/*/journal"), key=lambda path: path.stat().st_mtime).parent
