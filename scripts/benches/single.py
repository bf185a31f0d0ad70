"""One tracked run: its training phase, its whole command, its start."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benches.cases import CASES, Case, lightning_loop, raw_loop
from benches.report import Figure, seconds
from benches.sweep import PEER, PEER_NAME
from primer.tracking.journal import read


def bench_single(num_pairs: int) -> Iterator[Figure]:
    """A tracked run, every step recorded, against the usual ways."""
    for name, case in CASES.items():
        pairs = [
            (*run_seconds(case), raw_loop(case), lightning_loop(case), peer_run_seconds(case))
            for _ in range(num_pairs)
        ]
        whole, phase, _, raw, plain, peer = map(list, zip(*pairs, strict=True))
        yield Figure("one run, training", name, "the raw loop", phase, raw)
        yield Figure("one run, training", name, "plain Lightning, nothing logged", phase, plain)
        yield Figure("one run, command", name, PEER_NAME, whole, peer)


def bench_start(num_pairs: int) -> Iterator[Figure]:
    """From the start of `primer train` to its first step, against the imports that it can't avoid."""
    imports = [sys.executable, "-c", "import torch, lightning.pytorch"]
    with tempfile.TemporaryDirectory() as cwd:
        pairs = [(run_seconds(CASES["primer"])[2], seconds(imports, cwd)) for _ in range(num_pairs)]
    first, importing = map(list, zip(*pairs, strict=True))
    yield Figure("to the first step", "primer", "import torch, lightning.pytorch", first, importing)


def run_seconds(case: Case) -> tuple[float, float, float]:
    """Seconds of the whole command, of its training phase, and from its start to the first step."""
    with tempfile.TemporaryDirectory() as cwd:
        before = time.time_ns() // 1_000_000
        whole = seconds([sys.executable, "-m", "primer", "train", *case.overrides], cwd)
        (journal,) = Path(cwd).glob("outputs/*/*/journal")
        points = [r for r in read(journal.parent) if r["kind"] == "points" and r["key"] == "train/loss"]
        first, last = points[0]["times"][0], points[-1]["times"][-1]
        return whole, (last - first) / 1000, (first - before) / 1000


def peer_run_seconds(case: Case) -> float:
    """Seconds of one run of the peer."""
    with tempfile.TemporaryDirectory() as cwd:
        return seconds([sys.executable, str(PEER), *case.peer], cwd)
