"""Train the article's experiments over many seeds; say where its printed losses lie among them.

    scripts/article_bands [NUM_SEEDS [WAY]...]

Exit code 1 when one lies outside the central 95%.
"""

from __future__ import annotations

import multiprocessing
import sys
import tempfile
from pathlib import Path

import numpy as np
import yaml

from primer import worker
from primer.config import compose
from primer.tracking.journal import read

PRINTED = {  # at steps 100, 200, ... 500
    "manual": (714.8318, 3.5862, 0.035829, 7.4627e-4, 8.2354e-5),
    "tensors": (321.8312, 0.63769, 2.2135e-3, 7.5206e-5, 1.8232e-5),
    "two_layer": (2.70172, 0.050356, 1.56957e-3, 5.8642e-5, 2.4735e-6),
}


def printed_losses(job: tuple[str, int]) -> list[float]:
    """The losses at steps 100, 200, ... 500 of one experiment with one seed."""
    way, seed = job
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = compose([f"experiment=primer/{way}", f"seed={seed}", "tracking=off"])
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        if worker.main(folder / "config.yaml") != 0:
            raise SystemExit(f"primer/{way} seed={seed} failed")
        points = [r for r in read(folder) if r["kind"] == "points" and r["key"] == "train/loss"]
    values = [value for record in points for value in record["values"]]
    return [values[step - 1] for step in (100, 200, 300, 400, 500)]


def main(num_seeds: int, ways: list[str]) -> int:
    """Print a line for each of the numbers."""
    jobs = [(way, seed) for way in ways for seed in range(num_seeds)]
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        found = np.array(pool.map(printed_losses, jobs, chunksize=5)).reshape(len(ways), num_seeds, 5)
    num_outside = 0
    for way, losses in zip(ways, found, strict=True):
        for column, printed in enumerate(PRINTED[way]):
            low, middle, high = np.percentile(losses[:, column], [2.5, 50, 97.5])
            rank = (losses[:, column] < printed).mean()
            is_inside = low <= printed <= high
            num_outside += not is_inside
            print(
                f"{way:10} step {100 * (column + 1)}  article {printed:<10.4g} percentile {100 * rank:5.1f}  "
                f"band {low:.3g} .. {high:.3g}  median {middle:.3g}  {'inside' if is_inside else 'OUTSIDE'}"
            )
    return 1 if num_outside else 0


if __name__ == "__main__":
    num_seeds, *ways = sys.argv[1:] or ["200"]
    sys.exit(main(int(num_seeds), ways or list(PRINTED)))
