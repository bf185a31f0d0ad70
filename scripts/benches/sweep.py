"""64 runs over learning rate and seed: whole commands, and training alone."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benches.cases import CASES, Case, raw_loop, sklearn_runs
from benches.report import Figure, seconds
from primer.tracking.journal import read

PEER = Path(__file__).parents[1] / "peers" / "hydra_lightning_mlflow.py"
NUM_RUNS, NUM_PEER_RUNS = 64, 4
PEER_NAME = "Hydra + Lightning + MLFlowLogger"


def bench_sweep(num_pairs: int) -> Iterator[Figure]:
    """A sweep of 64 tracked runs, against the usual ways."""
    for name, case in CASES.items():
        pairs = [(*sweep_seconds(*case.sweep), peer_seconds(case), raw_loop(case)) for _ in range(num_pairs)]
        whole, phase, peer, raw = map(list, zip(*pairs, strict=True))
        scaled = f"{PEER_NAME} ({NUM_PEER_RUNS} runs, scaled)"
        yield Figure("64 runs, command", name, scaled, whole, peer)
        raws = [one * NUM_RUNS for one in raw]
        yield Figure("64 runs, training", name, "64 raw loops", phase, raws)
        if name != "primer":  # several outputs without a bias: not what scikit-learn's does
            runs = [sklearn_runs(case, NUM_RUNS) for _ in range(num_pairs)]
            yield Figure("64 runs, training", name, "scikit-learn's MLP with joblib", phase, runs)


def sweep_seconds(*overrides: str) -> tuple[float, float]:
    """Seconds of the whole command, and from the first step of any run to the last of all."""
    with tempfile.TemporaryDirectory() as cwd:
        whole = seconds([sys.executable, "-m", "primer", "train", "-m", *overrides], cwd)
        times = [
            time
            for journal in Path(cwd).glob("outputs/*/*/*/journal")
            for record in read(journal.parent)
            if record["kind"] == "points" and record["key"] == "train/loss"
            for time in (record["times"][0], record["times"][-1])
        ]
        return whole, (max(times) - min(times)) / 1000


def peer_seconds(case: Case) -> float:
    """Seconds that the peer takes for 64 runs, from those of a few, what comes once counted once."""
    with tempfile.TemporaryDirectory() as cwd:
        command = [sys.executable, str(PEER), "-m", *case.peer]
        once = seconds([*command, "seed=0"], cwd)
        many = seconds([*command, f"seed=range({NUM_PEER_RUNS + 1})"], cwd)
        return once + (many - once) / NUM_PEER_RUNS * (NUM_RUNS - 1)
