"""Runs whose MLflow server has a fault in the middle, some of them killed in it: what arrives in the end."""

from __future__ import annotations

import itertools
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from faulty_server import FaultyFront, MlflowServer, points_of
from going import worker_of
from runs import primer, run_folders
from shipping import Points, finite_points, started, the_run

from primer.tracking.journal import read

FAULTS = ("500", "429", "reset", "hang", "garbage", "html", "truncated", "lost_answer", "slow", "refuse")
OPTIONS = ("max_steps=8000", "checkpoint_every_n_steps=500", "tracking.log_model=false")
FAULT_S, KILLED_EVERY = 4.0, 4


class Outcome(NamedTuple):
    """What a run with a fault came to, after `primer sync`."""

    num_lost: int
    num_doubled: int
    was_aborted: bool
    largest_gap_ms: int


def main(root: Path, sample: int | None) -> bool:
    """Whether nothing was lost, doubled or aborted."""
    num_faults, chooser = sample or 20, random.Random(0)
    with MlflowServer(root / "server") as server:
        calm = _outcome(root / "calm", server, None, False, chooser)
        outcomes = []
        for number in range(num_faults):
            mode, is_killed = FAULTS[number % len(FAULTS)], number % KILLED_EVERY == KILLED_EVERY - 1
            outcome = _outcome(root / f"fault_{number}", server, mode, is_killed, chooser)
            outcomes.append(outcome)
            print(f"  {mode}{', trainer killed' if is_killed else ''}: {outcome}", flush=True)
    num_killed = num_faults // KILLED_EVERY
    num_lost, num_doubled, num_aborted, _ = (sum(column) for column in zip(*outcomes, strict=True))
    largest = max(outcome.largest_gap_ms for outcome in outcomes)
    print(
        f"outages: {num_faults} faults, {num_killed} with SIGKILL of the trainer: {num_lost} points lost, "
        f"{num_doubled} doubled, {num_aborted} runs aborted; largest time between two steps {largest} ms, "
        f"without a fault {calm.largest_gap_ms} ms",
        flush=True,
    )
    return num_lost == num_doubled == num_aborted == 0


def _outcome(
    cwd: Path, server: MlflowServer, mode: str | None, is_killed: bool, chooser: random.Random
) -> Outcome:
    """Train through a fault, then sync until all is said to be there."""
    cwd.mkdir()
    with FaultyFront(server.uri) as front:
        run = started(cwd, *OPTIONS, f"tracking.uri={front.uri}", f"tracking.experiment={cwd.name}")
        if mode:
            _wait(lambda: front.count("log-batch") > 1 or run.poll() is not None)
            front.mode = mode
            time.sleep(FAULT_S * chooser.random())
            if is_killed:
                for pid in (worker_of(run.pid), run.pid):
                    if pid:
                        os.kill(pid, signal.SIGKILL)
            time.sleep(1)
            front.mode = "ok"
        run.communicate(timeout=240)
        (folder,) = run_folders(cwd)
        done = primer("sync", cwd=cwd)
        assert done.returncode == 0, done.stdout + done.stderr
    status = "KILLED" if is_killed else "FINISHED"
    stored_run = the_run(server.uri, cwd.name)
    was_aborted = read(folder)[-1]["status"] != status or stored_run.info.status != status
    mine = finite_points(folder)
    stored = _stored(server.db_uri, stored_run.info.run_id, mine)
    num_doubled = sum(count - 1 for count in stored.values())
    return Outcome(len(mine.keys() - stored.keys()), num_doubled, was_aborted, _largest_gap(mine))


def _stored(db_uri: str, run_id: str, points: Points) -> Counter[tuple[str, int]]:
    keys = {key for key, _ in points}
    return Counter((key, step) for key in keys for step, _, _ in points_of(db_uri, run_id, key))


def _largest_gap(points: Points) -> int:
    """The longest time between two recorded steps, milliseconds."""
    times = [at for (key, _), (at, _) in sorted(points.items()) if key == "train/loss"]
    return max(after - before for before, after in itertools.pairwise(times))


def _wait(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)
