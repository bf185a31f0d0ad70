"""A table of data: rows a second through training, and the memory that it takes."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from benches.tracking import ms_per_step, trained


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
        folder = trained(root, *common, "data.target=price", "tracking=off")
        peak = peak_bytes("-m", "primer.worker", str(folder / "config.yaml"))
        imports = peak_bytes("-c", "import primer.training.trainer, primer.training.module, sklearn.compose")
        rows_per_s = 256_000 / ms_per_step(folder, since=1)
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
