"""A sweep of 64 runs against the same runs the usual way: whole commands, and training alone."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from torch import nn

from primer.data import Dataset, bundled, synthetic
from primer.tracking.journal import read
from primer.training.batches import Batches

PEER = Path(__file__).parent / "peers" / "hydra_lightning_mlflow.py"
NUM_RUNS = 64
SEEDS = "seed=range(8)"
SPLITS = {"val_fraction": 0.15, "test_fraction": 0.15, "standardize": True, "seed": 0}
PRIMER = ("experiment=primer/two_layer", "log_every_n_steps=1")
TINY = ("data=diabetes", "net.hidden_dim=32", "max_epochs=null", "max_steps=2000", "optimizer=sgd")
# our overrides, the peer's, and the net of both
CASES = {
    "digits": (
        ("data=digits", "max_epochs=20", "optimizer.lr=1e-4,3e-4,1e-3,2e-3,3e-3,5e-3,7e-3,1e-2"),
        ("data=digits", "max_steps=800"),
        (64, 100, 10),
    ),
    "primer": (
        (*PRIMER, "optimizer.lr=1e-7,2e-7,3e-7,4e-7,5e-7,6e-7,8e-7,1e-6"),
        ("data=primer", "max_steps=500", "optimizer=SGD"),
        (1000, 100, 10),
    ),
    "tiny": (
        (*TINY, "optimizer.lr=1e-4,3e-4,1e-3,2e-3,3e-3,5e-3,7e-3,1e-2"),
        ("data=diabetes", "max_steps=2000", "optimizer=SGD", "hidden_dim=32"),
        (10, 32, 1),
    ),
}


def bench_sweep(num_peer_runs: int = 4, num_repeats: int = 1) -> None:
    """64 tracked runs by one `primer train -m`, against the peer's (`num_peer_runs`, as many times over)."""
    for name, (ours, peers, shape) in CASES.items():
        seconds, training = zip(*(_ours(ours) for _ in range(num_repeats)), strict=True)
        peer = statistics.median(_peer(peers, num_peer_runs) for _ in range(num_repeats))
        raw = statistics.median(_raw(name, shape) for _ in range(3)) * NUM_RUNS
        mine, phase = statistics.median(seconds), statistics.median(training)
        print(
            f"{name}: {NUM_RUNS} runs {mine:.1f} s, Hydra + Lightning + MLFlowLogger {peer:.0f} s "
            f"({num_peer_runs} runs, scaled): {peer / mine:.1f} x; training {phase:.2f} s, "
            f"raw loops {raw:.1f} s: {raw / phase:.1f} x",
            flush=True,
        )


def _ours(overrides: tuple[str, ...]) -> tuple[float, float]:
    """Seconds of the whole command, and from the first step of any run to the last of all."""
    with tempfile.TemporaryDirectory() as cwd:
        command = [sys.executable, "-m", "primer", "train", "-m", SEEDS, *overrides]
        seconds = _seconds(command, cwd)
        times = [
            time
            for journal in Path(cwd).glob("outputs/*/*/*/journal")
            for record in read(journal.parent)
            if record["kind"] == "points" and record["key"] == "train/loss"
            for time in (record["times"][0], record["times"][-1])
        ]
        return seconds, (max(times) - min(times)) / 1000


def _peer(overrides: tuple[str, ...], num_runs: int) -> float:
    """Seconds that the peer takes for 64 runs, from those of `num_runs`, what comes once counted once."""
    with tempfile.TemporaryDirectory() as cwd:
        command = [sys.executable, str(PEER), "-m", *overrides]
        once = _seconds([*command, "seed=0"], cwd)
        many = _seconds([*command, f"seed=range({num_runs + 1})"], cwd)
        return once + (many - once) / num_runs * (NUM_RUNS - 1)


def _seconds(command: list[str], cwd: str) -> float:
    environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    begun_at = time.perf_counter()
    subprocess.run(
        command,
        cwd=cwd,
        env=environment | {"PYTHONWARNINGS": "ignore"},
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return time.perf_counter() - begun_at


def _raw(name: str, shape: tuple[int, int, int]) -> float:
    """Seconds of one run as the article writes it: a loop over batches, the loss read at every step."""
    data: Dataset
    if name == "primer":
        data = synthetic(num_samples=64, in_features=1000, out_features=10, seed=0)
    else:
        kind = {"digits": "digits", "tiny": "diabetes"}[name]
        data = bundled(kind, **SPLITS, stratify=name == "digits")
    num_steps = {"digits": 800, "primer": 500, "tiny": 2000}[name]
    net = nn.Sequential(nn.Linear(shape[0], shape[1]), nn.ReLU(), nn.Linear(shape[1], shape[2]))
    criterion = nn.CrossEntropyLoss() if name == "digits" else nn.MSELoss()
    kind_of = torch.optim.Adam if name == "digits" else torch.optim.SGD
    optimizer = kind_of(net.parameters(), lr=1e-4)
    batches = Batches(data.train, batch_size=64 if name == "primer" else 32, seed=0).after(0)
    losses = []
    begun_at = time.perf_counter()
    for _, ((x, y, _),) in zip(range(num_steps), batches, strict=False):
        loss = criterion(net(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return time.perf_counter() - begun_at
