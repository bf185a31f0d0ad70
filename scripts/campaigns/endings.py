"""Runs that end in every way, at any time: what MLflow says of them after the next `primer sync`."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from pathlib import Path

from going import AS_MUCH_AS, Going

from primer.tracking.store import Store

KINDS = ("KILL", "TERM", "INT", "exception", "memory")
OVERRIDES = {"exception": "net.breaks={}", "memory": "net.eats={}"}


def main(root: Path, sample: int | None) -> bool:
    """Whether none was left RUNNING."""
    store = f"sqlite:///{root / 'mlflow.db'}"
    Store(store)
    chooser = random.Random(0)
    num_each = sample or 8
    exit_codes: dict[str, Counter[int]] = {kind: Counter() for kind in KINDS}
    statuses: dict[str, Counter[str]] = {kind: Counter() for kind in KINDS}
    num_left = 0
    for kind in KINDS:
        for number in range(num_each):
            run = _ended(root / f"{kind}_{number}", store, kind, chooser)
            run.until(lambda going=run: not going.processes())
            run.sync()
            exit_codes[kind][run.exit_code] += 1
            statuses[kind][run.stored().info.status] += 1
            num_left += run.stored().info.status == "RUNNING"
    for kind in KINDS:
        print(f"  {kind}: exit codes {dict(exit_codes[kind])}, {dict(statuses[kind])}", flush=True)
    num_all = num_each * len(KINDS)
    print(f"endings: {num_left} of {num_all} left RUNNING after the next primer sync", flush=True)
    return num_left == 0


def _ended(cwd: Path, store: str, kind: str, chooser: random.Random) -> Going:
    """A run that has ended; KILL takes the controller and the worker."""
    overrides = [OVERRIDES[kind].format(chooser.randint(10, 60))] if kind in OVERRIDES else []
    run = Going(cwd, store, *overrides, first=AS_MUCH_AS if kind == "memory" else "true")
    if kind in OVERRIDES:
        return run.over()
    run.until(lambda: run.records("run"))
    time.sleep(chooser.random() * 8)  # from the first imports to the training
    if kind == "KILL":
        pids = [run.run.pid, run.worker()]
        for pid in filter(None, pids):
            os.kill(pid, signal.SIGKILL)
    else:
        run.run.send_signal(signal.Signals[f"SIG{kind}"])
    return run.over()
