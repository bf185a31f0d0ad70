"""How far runs trained as one are from the same runs alone: the largest differences, by optimizer and net."""

from __future__ import annotations

import argparse
import math
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

import torch

from primer.folder import read_config
from primer.tracking.journal import last_record, points_of, read

OPTIMIZERS = {
    "sgd": ("optimizer=sgd", "optimizer.lr=0.05,1e30"),
    "momentum": ("optimizer=sgd", "optimizer.momentum=0.9", "optimizer.lr=0.01,1e30"),
    "adam": ("optimizer=adam", "optimizer.lr=0.003,1e30"),
    "adamw": ("optimizer=adamw", "optimizer.weight_decay=0.1", "optimizer.lr=0.003,1e30"),
    "rmsprop": ("optimizer=rmsprop", "optimizer.lr=0.001,1e30"),
}
COMMON = ("activation=relu,custom_relu,gelu", "data=digits,diabetes", "seed=0,1", "max_epochs=null")
LENGTH = ("max_steps=200", "val_every_n_steps=20", "patience=3", "tracking=off")


def main() -> None:
    """Print a line for each optimizer, data and activation."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--precision", choices=("32", "64"), default="64")
    precision = f"accelerator.precision={parser.parse_args().precision}"
    print("optimizer  data      activation   runs early diverged  points   weights  (largest, relative)")
    for name, overrides in OPTIMIZERS.items():
        with tempfile.TemporaryDirectory() as cwd:
            words = [*COMMON, *LENGTH, *overrides, precision]
            fused, alone = (swept(Path(cwd) / fuse, fuse, *words) for fuse in ("auto", "off"))
            groups = defaultdict(list)
            for one, other in zip(fused, alone, strict=True):
                switches = read_config(one)["switches"]
                groups[switches["data"], switches["activation"]].append((one, other))
            for (data, activation), pairs in groups.items():
                print(f"{name:<10} {data:<9} {activation:<12} {row(pairs)}", flush=True)


def swept(cwd: Path, fuse: str, *overrides: str) -> list[Path]:
    """The folders of a sweep's jobs, in their order; some fail, as they should."""
    cwd.mkdir()
    command = [sys.executable, "-m", "primer", "train", "-m", f"hydra.launcher.fuse={fuse}", *overrides]
    subprocess.run(command, cwd=cwd, env=os.environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return sorted(
        (path.parent for path in cwd.glob("outputs/*/*/*/journal")), key=lambda path: int(path.name)
    )


def row(pairs: list[tuple[Path, Path]]) -> str:
    """How many there were, and the largest differences of points and weights; raises where ends differ."""
    num_diverged = num_early = 0
    points = weights = 0.0
    for one, other in pairs:
        ends = [last_record(folder) or {} for folder in (one, other)]
        if ends[0]["error"] != ends[1]["error"]:
            raise SystemExit(f"{one}: ended otherwise: {ends[0]['error']} and {ends[1]['error']}")
        mine, its = points_of(read(one)), points_of(read(other))
        if mine.keys() != its.keys():
            raise SystemExit(f"{one}: has other points")
        points = max(
            [
                points,
                *(
                    abs(mine[key] - its[key]) / max(abs(its[key]), 1e-300)
                    for key in mine
                    if mine[key] != its[key]
                ),
            ]
        )
        if ends[0]["error"]:
            num_diverged += 1
            continue
        num_early += max(step for _, step in mine) < 200
        weights = max(weights, apart(one, other))
    assert math.isfinite(points)
    return f"{len(pairs):4} {num_early:5} {num_diverged:8}  {points:8.1e} {weights:8.1e}"


def apart(one: Path, other: Path) -> float:
    """The largest difference of the final weights, over the largest weight of the same tensor."""
    states = [
        torch.load(max((folder / "checkpoints").glob("step-*.ckpt")), weights_only=False)["state_dict"]
        for folder in (one, other)
    ]
    return max(
        float((states[0][key] - states[1][key]).abs().max() / states[1][key].abs().max())
        for key in states[1]
        if key.startswith("net.")
    )


if __name__ == "__main__":
    main()
