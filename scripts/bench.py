"""Speed of primer, measured beside a reference in the same minutes: figures for LOG.md, never asserted."""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml
from bench_sweep import bench_sweep

from primer.config import compose
from primer.tracking.journal import read

NUM_PAIRS = 5


def write_config(folder: Path, *overrides: str) -> Path:
    """A frozen config in `folder`, as the controller writes it."""
    folder.mkdir(parents=True)
    config = compose([*overrides, "tracking=off"])
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder


def steps_per_s(folder: Path, *, since: int = 0) -> float:
    """From the first recorded step, or one not before `since`, to the last; validations included."""
    points = [r for r in read(folder) if r["kind"] == "points" and r["key"] == "train/loss"]
    times = {s: at for r in points for s, at in zip(r["steps"], r["times"], strict=True) if s >= since}
    first, last = min(times), max(times)
    return (last - first) / (times[last] - times[first]) * 1000


def raw_steps_per_s(num_epochs: int) -> float:
    """The default experiment as a plain PyTorch loop: same net, batches, optimizer and threads."""
    import torch

    from primer.data import bundled
    from primer.nets import TwoLayer
    from primer.training.batches import Batches

    fractions = {"val_fraction": 0.15, "test_fraction": 0.15}
    data = bundled("digits", **fractions, stratify=True, standardize=True, seed=0)
    torch.set_num_threads(1)
    net = TwoLayer(64, 10, torch.nn.ReLU(), hidden_dim=100)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.001)
    batches, num_steps = Batches(data.train, batch_size=32, seed=0), 0
    losses: list[float] = []
    started_at = time.perf_counter()
    for epoch in range(num_epochs):
        for ((x, y, _),) in batches.epoch(epoch):
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(net(x), y)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            num_steps += 1
    return num_steps / (time.perf_counter() - started_at)


def bench_loop() -> None:
    """Steps a second of the default run (every step recorded, 30 validations) against a plain loop."""
    from primer import worker

    with tempfile.TemporaryDirectory() as root:
        ratios = []
        for number in range(NUM_PAIRS):
            folder = write_config(Path(root) / str(number))
            if worker.main(folder / "config.yaml") != 0:
                raise SystemExit("the run failed")
            ours, raw = steps_per_s(folder), raw_steps_per_s(30)
            ratios.append(raw / ours)
            print(f"primer {ours:6.0f} steps/s   plain loop {raw:6.0f} steps/s   ratio {raw / ours:.2f}")
    print(f"median ratio {statistics.median(ratios):.2f}")


def bench_recording(num_steps: int = 8000) -> None:
    """Every step recorded and shipped to MLflow, against tracking=off and one point in 500 steps."""
    runs = {
        "digits": ("data=digits", "max_epochs=null", "val_every_n_steps=500"),
        "primer": ("experiment=primer/tensors",),
    }
    with tempfile.TemporaryDirectory() as root:
        for name, overrides in runs.items():
            ratios = []
            for _ in range(NUM_PAIRS):
                common = (*overrides, f"max_steps={num_steps}", "checkpoint_every_n_minutes=null")
                tracked, bare = (
                    steps_per_s(trained(Path(root), *common, *more), since=500)
                    for more in (("tracking.log_model=false",), ("tracking=off", "log_every_n_steps=500"))
                )
                ratios.append(bare / tracked)
                print(
                    f"{name}: tracked {tracked:6.0f} steps/s   bare {bare:6.0f}   ratio {bare / tracked:.3f}"
                )
            print(f"{name}: median ratio {statistics.median(ratios):.3f}")


def trained(cwd: Path, *overrides: str) -> Path:
    """The run folder of `primer train OVERRIDES`."""
    command = [sys.executable, "-m", "primer", "train", *overrides]
    environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    subprocess.run(command, cwd=cwd, env=environment, check=True, stdout=subprocess.DEVNULL)
    return max(cwd.glob("outputs/*/*/journal")).parent


def make_table(path: Path, num_rows: int) -> int:
    """A CSV of numbers and categories with gaps; returns its size in memory as pandas reads it, bytes."""
    import numpy as np
    import pandas as pd

    chooser = np.random.default_rng(0)
    frame = pd.DataFrame({f"number_{i}": chooser.normal(size=num_rows) for i in range(10)})
    for i, num_values in enumerate((3, 8, 20, 50)):
        frame[f"kind_{i}"] = chooser.choice([f"value {j}" for j in range(num_values)], num_rows)
    frame.loc[chooser.choice(num_rows, num_rows // 100), "number_3"] = None
    frame["price"] = frame["number_0"] * 3 + chooser.normal(size=num_rows)
    frame.to_csv(path, index=False)
    return int(frame.memory_usage(deep=True).sum())


def bench_table(num_rows: int = 50_000) -> None:
    """Rows a second through the training loop of a CSV, and the worker's peak memory over its imports."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        raw_bytes = make_table(root / "rows.csv", num_rows)
        common = ("max_epochs=3", "batch_size=256", "data=table", f"data.path={root / 'rows.csv'}")
        folder = write_config(root / "run", *common, "data.target=price")
        peak = peak_bytes("-m", "primer.worker", str(folder / "config.yaml"))
        imports = peak_bytes("-c", "import primer.training.trainer, primer.training.module, sklearn.compose")
        rows_per_s = steps_per_s(folder) * 256
        csv_bytes = (root / "rows.csv").stat().st_size
        print(f"{num_rows} rows: {csv_bytes / 1e6:.1f} MB as CSV, {raw_bytes / 1e6:.1f} MB as a DataFrame")
        print(f"training loop: {rows_per_s:,.0f} rows/s (batch 256, validations included)")
        print(
            f"peak memory: {peak / 1e6:.0f} MB, of it imports {imports / 1e6:.0f} MB; "
            f"the rest is {(peak - imports) / csv_bytes:.1f} times the CSV"
        )


def peak_bytes(*arguments: str) -> int:
    """Peak resident memory of a Python process, from a helper that has no other child."""
    code = (
        "import resource, subprocess, sys; subprocess.run([sys.executable, *sys.argv[1:]], check=True, "
        "stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL); "
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
    )
    return int(done.stdout) * (1 if sys.platform == "darwin" else 1024)  # macOS counts bytes, Linux KiB


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    benches = {"loop": bench_loop, "table": bench_table, "recording": bench_recording, "sweep": bench_sweep}
    parser.add_argument("what", choices=list(benches))
    benches[parser.parse_args().what]()
