"""One worker process: start it, show how it comes along, pass on a wish to stop, return its exit code."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from primer.progress import Progress
from primer.stopping import StopSignal
from primer.tracking.courier import Courier
from primer.tracking.journal import Follower

# Environment variables that tell the worker what must not stand on a disk, and whom to outlive by no second.
SECRETS, PARENT = "PRIMER_SECRETS", "PRIMER_PARENT"
POLL_S = 0.05  # chosen: a progress bar that looks alive
STOP_WITHIN_S = 6.0  # chosen: a worker that does not end by then is killed


def train_in_worker(
    folder: Path, secrets: dict[str, str], lock: int, stop: StopSignal, courier: Courier | None
) -> int:
    """Train the run of a folder in a process of its own; returns its exit code (negative: a signal).

    The worker inherits the folder's lock, and the secrets that the folder's config is without. It is asked
    to stop when a signal came or the store's disk is full, and killed at the second signal or when it takes
    too long.
    """
    command = [sys.executable, "-P", "-m", "primer.worker", str(folder / "config.yaml")]
    follower = Follower(folder)
    for _ in follower.new():
        pass  # of earlier attempts
    with (folder / "worker.log").open("ab") as log, Progress() as progress:
        worker = subprocess.Popen(
            command,
            env=_environment(secrets),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            pass_fds=[lock],
        )
        try:
            wish = _WishToStop(worker, stop, courier)
            while worker.poll() is None and not wish.is_overdue():
                progress.show(follower.new())
                time.sleep(POLL_S)
        finally:  # an error in here leaves no process behind
            if worker.poll() is None:
                worker.kill()
            worker.wait()
        progress.show(follower.new())
    was_killed = worker.returncode < 0 and stop.received is not None
    return -stop.received if was_killed and stop.received else worker.returncode


def _environment(secrets: dict[str, str]) -> dict[str, str]:
    return os.environ | {
        # cuBLAS reads it once, when it starts; without it deterministic algorithms raise on CUDA
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
        "PYTHONUNBUFFERED": "1",
        SECRETS: json.dumps(secrets),
        PARENT: str(os.getpid()),
    }


class _WishToStop:
    """Asks a worker once to stop, when that is wanted, and knows when to wait for it no longer."""

    def __init__(self, worker: subprocess.Popen[bytes], stop: StopSignal, courier: Courier | None) -> None:
        self._worker, self._stop, self._courier = worker, stop, courier
        self._asked_at: float | None = None

    def is_overdue(self) -> bool:
        is_full = self._courier is not None and self._courier.is_out_of_room
        if self._asked_at is None and (self._stop.received or is_full):
            self._worker.send_signal(self._stop.received or signal.SIGTERM)
            self._asked_at = time.monotonic()
        is_late = self._asked_at is not None and time.monotonic() - self._asked_at > STOP_WITHIN_S
        return is_late or self._stop.num_received > 1
