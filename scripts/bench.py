"""Speed of primer, measured beside others in the same minutes: ratios for LOG.md, never asserted."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

from benches.report import Figure, report
from benches.scale import bench_planning, bench_scale
from benches.single import bench_single, bench_start
from benches.sweep import bench_sweep
from benches.table import bench_table
from benches.tracking import bench_tracking

PAIRED: dict[str, Callable[[int], Iterator[Figure]]] = {
    "start": bench_start,
    "planning": bench_planning,
    "single": bench_single,
    "sweep": bench_sweep,
    "tracking": bench_tracking,
}


def main() -> None:
    """Measure what was asked for, and print a line for each figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    choices = [*PAIRED, "scale", "table"]
    parser.add_argument("what", nargs="*", choices=choices, default=list(PAIRED), metavar="|".join(choices))
    parser.add_argument("--pairs", type=int, default=3, help="how often each pair is measured")
    parser.add_argument("--json", type=Path, help="write the figures to this file, too")
    parser.add_argument("--picture", type=Path, help="of scale: draw seconds over runs, as PNG")
    asked = parser.parse_args()
    figures = []
    for name in asked.what:
        if name == "scale":
            bench_scale(asked.picture)
        elif name == "table":
            bench_table()
        else:
            if not figures:
                print(Figure.header(), flush=True)
            for figure in PAIRED[name](asked.pairs):
                print(figure, flush=True)
                figures.append(figure)
    report(figures, asked.json)


if __name__ == "__main__":
    main()
