"""How sweeps grow: a tiny net with 100 to 1,000 seeds, and the plan of 1,000 jobs."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from benches.cases import TINY
from benches.report import Figure, seconds

SIZES = (100, 250, 500, 1000)


def bench_planning(num_pairs: int) -> Iterator[Figure]:
    """The plan of 1,000 jobs, the whole command, against the imports of one run."""
    command = [sys.executable, "-m", "primer", "train", "-m", "--dry-run", *TINY, "seed=range(1000)"]
    with tempfile.TemporaryDirectory() as cwd:
        imports = [sys.executable, "-c", "import torch, lightning.pytorch"]
        pairs = [(seconds(command, cwd), seconds(imports, cwd)) for _ in range(num_pairs)]
    ours, importing = map(list, zip(*pairs, strict=True))
    yield Figure("plan of 1,000 jobs", "tiny", "import torch, lightning.pytorch", ours, importing)


def bench_scale(picture: Path | None = None) -> None:
    """Seconds and peak memory of sweeps of several sizes; with a picture, if it is asked for."""
    found = []
    for num_runs in SIZES:
        with tempfile.TemporaryDirectory() as cwd:
            took, peak = watched("train", "-m", *TINY, f"seed=range({num_runs})", cwd=cwd)
        found.append(took)
        speed = f"{took:6.1f} s, {num_runs / took:5.1f} runs/s"
        print(f"{num_runs:5} runs: {speed}, all processes {peak / 1e6:.0f} MB", flush=True)
    if picture:
        draw(found, picture)


def watched(*arguments: str, cwd: str) -> tuple[float, int]:
    """Seconds of a primer command, and the most bytes that it and all its processes held at once (Linux)."""
    begun_at, peak = time.perf_counter(), 0
    command = [sys.executable, "-m", "primer", *arguments]
    with subprocess.Popen(command, cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None:
            peak = max(peak, sum(map(held_by, family(process.pid))))
            time.sleep(0.2)
    if process.returncode:
        raise SystemExit(f"the sweep ended with {process.returncode}")
    return time.perf_counter() - begun_at, peak


def family(pid: int) -> list[int]:
    """A process and all that descend from it."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
    found = [pid]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found


def held_by(pid: int) -> int:
    """Bytes of memory; what several processes share is shared out."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return 1024 * int(line.split()[1])
    return 0


def draw(found: list[float], path: Path) -> None:
    """Seconds over runs, and the straight line through the first and the last."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Picture

    picture = Picture(figsize=(6, 3.6), layout="constrained")
    FigureCanvasAgg(picture)
    axes = picture.add_subplot()
    axes.plot(SIZES, found, "o-", label="primer train -m, tracked")
    axes.plot([SIZES[0], SIZES[-1]], [found[0], found[-1]], "--", color="0.6", label="a straight line")
    axes.set_xlabel("runs of a sweep (10-32-1, 2,000 steps each)")
    axes.set_ylabel("seconds, whole command")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    picture.savefig(path, dpi=120)
