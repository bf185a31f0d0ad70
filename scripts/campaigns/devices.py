"""One device and several: the same losses, and what becomes of a run whose ranks are killed or stopped."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import primer
from primer.tracking.journal import points_of, read

DATA = {"primer": "experiment=primer/two_layer", "digits": "data=digits"}
BATCHES = {"primer": (64, 20), "digits": (32, 50)}  # that do and do not divide the rows
LONG = ("train", "data=digits", "max_epochs=null", "max_steps=2000", "precision=64", "tracking=off")
NUM_RANKS = 4


def main(root: Path, sample: int | None) -> bool:
    """Whether all was the same, and every dying rank was told."""
    os.chdir(root)
    is_sound = _same(sample) & _same_bits(sample or 10)
    return is_sound & _dying(root)


def _same(sample: int | None) -> bool:
    """1, 2 and 4 ranks, 100 steps: the same samples, losses and weights."""
    kinds = [
        (data, batch, parts, precision)
        for data in DATA
        for batch, parts, precision in itertools.product(BATCHES[data], (1, 3), ("64", "32"))
    ]
    largest, num_same = {"64": [0.0, 0.0], "32": [0.0, 0.0]}, 0
    for data, batch, parts, precision in kinds[: sample or len(kinds)]:
        words = [
            DATA[data],
            f"batch_size={batch}",
            f"accumulate_grad_batches={parts}",
            f"precision={precision}",
        ]
        found = primer.verify_devices(*words, devices=(1, 2, 4), num_steps=100)
        num_same += found.exit_code == 0
        if found.exit_code:
            print(f"  {' '.join(words)}: {found.verdict}", flush=True)
        for one in found.trainings[1:]:
            for place, value in enumerate((one.loss_difference, one.weight_difference)):
                largest[precision][place] = max(largest[precision][place], value or 0.0)
    for precision, (losses, weights) in largest.items():
        print(f"  precision={precision}: losses {losses:.1e}, weights {weights:.1e}", flush=True)
    num = len(kinds[: sample or len(kinds)])
    print(f"devices: {num_same} of {num} the same on 1, 2 and 4 ranks", flush=True)
    return num_same == num


def _same_bits(num: int) -> bool:
    runs = [
        primer.train("data=digits", "accelerator=ddp_cpu", "devices=2", "max_epochs=2", "tracking=off")
        for _ in range(num)
    ]
    first = points_of(read(runs[0].folder))
    num_same = sum(points_of(read(run.folder)) == first for run in runs)
    print(f"devices: {num_same} of {num} repeats on 2 ranks bitwise", flush=True)
    return num_same == num


def _dying(root: Path) -> bool:
    """Each rank killed in turn, two stopped: what is said, when, what is left, and how it goes on."""
    undisturbed = primer.train(*LONG[1:], "accelerator=cpu")
    expected = points_of(read(undisturbed.folder))
    is_sound = True
    for rank, sig in [
        *((rank, signal.SIGKILL) for rank in range(NUM_RANKS)),
        (0, signal.SIGSTOP),
        (2, signal.SIGSTOP),
    ]:
        cwd = root / f"{sig.name}-{rank}"
        cwd.mkdir()
        is_sound &= _one_dying(cwd, rank, sig, expected)
    return is_sound


def _one_dying(cwd: Path, rank: int, sig: signal.Signals, expected: dict[tuple[str, int], float]) -> bool:
    command = [sys.executable, "-m", "primer", *LONG, "accelerator=ddp_cpu", f"devices={NUM_RANKS}"]
    words = [*command, "checkpoint_every_n_steps=100"]
    run = subprocess.Popen(words, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    while not (journals := [*cwd.glob("outputs/*/*/journal")]) or _num_steps(journals[0].parent) < 150:
        time.sleep(0.1)
    folder = journals[0].parent
    pids = {path.name: json.loads(path.read_text())["pid"] for path in folder.glob("ranks/[0-9]")}
    begun_at = time.monotonic()
    os.kill(pids[str(rank)], sig)
    told = run.communicate()[0]
    seconds = time.monotonic() - begun_at
    left = [pid for pid in pids.values() if Path(f"/proc/{pid}/cmdline").exists() and _is_alive(pid)]
    os.chdir(cwd)
    resumed = primer.resume(str(folder), "devices=2")
    os.chdir(cwd.parent)
    found = points_of(read(folder))
    losses = [key for key in expected if key[0] == "train/loss"]
    largest = max(abs(found[key] - expected[key]) / abs(expected[key]) for key in losses)
    is_sound = run.returncode == 1 and f"rank {rank} " in told and not left and seconds < 30
    is_sound &= resumed.status == "FINISHED" and largest < 1e-9
    print(
        f"  {sig.name} of rank {rank}: exit code {run.returncode} in {seconds:.1f} s, "
        f"{len(left)} left, resumed on 2: {resumed.status}, losses within {largest:.1e}"
        f"{'' if is_sound else ': NOT SOUND'}",
        flush=True,
    )
    return is_sound


def _num_steps(folder: Path) -> int:
    return max((step for key, step in points_of(read(folder)) if key == "train/loss"), default=0)


def _is_alive(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
