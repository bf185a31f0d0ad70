"""Train the article's experiments over many seeds; say where its printed losses lie among them.

    scripts/article_bands [NUM_SEEDS [WAY]...]

Exit code 1 when one lies outside the central 95%.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import numpy as np

from primer.folder import read_config
from primer.tracking.journal import read

EXPERIMENTS = ("manual", "tensors", "two_layer", "custom_function", "sequential")
PRINTED = {  # at steps 100, 200, ... 500
    "manual": (714.8318, 3.5862, 0.035829, 7.4627e-4, 8.2354e-5),
    "tensors": (321.8312, 0.63769, 2.2135e-3, 7.5206e-5, 1.8232e-5),
    "two_layer": (2.70172, 0.050356, 1.56957e-3, 5.8642e-5, 2.4735e-6),
}


def main(num_seeds: int, ways: list[str]) -> int:
    """Print a line for each of the numbers."""
    with tempfile.TemporaryDirectory() as cwd:
        found, seconds = swept(Path(cwd), num_seeds, ways)
    num_outside = 0
    for way in ways:
        losses = np.array(found[way])  # (seeds, 5)
        for column, printed in enumerate(PRINTED.get(way, ())):
            low, middle, high = np.percentile(losses[:, column], [2.5, 50, 97.5])
            rank = (losses[:, column] < printed).mean()
            is_inside = low <= printed <= high
            num_outside += not is_inside
            print(
                f"{way:10} step {100 * (column + 1)}  article {printed:<10.4g} percentile {100 * rank:5.1f}  "
                f"band {low:.3g} .. {high:.3g}  median {middle:.3g}  {'inside' if is_inside else 'OUTSIDE'}"
            )
    print(f"{sum(map(len, found.values()))} runs, tracked, one command: {seconds:.1f} s")
    return 1 if num_outside else 0


def swept(cwd: Path, num_seeds: int, ways: list[str]) -> tuple[dict[str, list[list[float]]], float]:
    """The losses at steps 100, 200, ... 500 of each seed, by experiment; and how long the sweep took."""
    names = ",".join(f"primer/{way}" for way in ways)
    command = [sys.executable, "-m", "primer", "train", "-m", f"experiment={names}"]
    words = [f"seed=range({num_seeds})", "tracking.experiment=article"]
    begun_at = time.perf_counter()
    subprocess.run([*command, *words], cwd=cwd, check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - begun_at
    found = defaultdict(list)
    for journal in cwd.glob("outputs/*/*/*/journal"):
        losses: dict[int, float] = {}
        for record in read(journal.parent):
            if record["kind"] == "points" and record["key"] == "train/loss":
                losses |= dict(zip(record["steps"], record["values"], strict=True))
        words = read_config(journal.parent)["typed"]["overrides"]
        experiment = next(text for text in words if text.startswith("experiment="))
        way = experiment.removeprefix("experiment=primer/")
        found[way].append([losses[step] for step in (100, 200, 300, 400, 500)])
    return found, seconds


if __name__ == "__main__":
    num_seeds, *ways = sys.argv[1:] or ["200"]
    sys.exit(main(int(num_seeds), ways or list(EXPERIMENTS)))
