"""One worker process: start it, show how it comes along, pass on a wish to stop, return its exit code."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

from primer.ending import Ending
from primer.ranks import PARENT, SECRETS, unplaced
from primer.stopping import Stopping
from primer.tracking.courier import Courier
from primer.tracking.journal import Follower, Journal, Record
from primer.vigil import FOLDER as RANKS
from primer.vigil import SILENT_AFTER_S, Silence

POLL_S = 0.05  # chosen: a progress bar that looks alive
STOP_WITHIN_S = 6.0  # chosen: a worker that does not end by then is killed


class Worker(Protocol):
    """A process that trains: what is asked of a subprocess.Popen."""

    def poll(self) -> int | None: ...
    def wait(self) -> int: ...
    def kill(self) -> None: ...
    def send_signal(self, sig: int, /) -> None: ...


class Means(Protocol):
    """What an attempt works with: a run alone has its own, the jobs of a sweep share some."""

    courier: Courier | None
    stop: Stopping

    def start_worker(self, folder: Path, secrets: dict[str, Any], lock: int, /) -> Worker:
        """A process that trains the run of a folder."""

    def show(self, records: Iterable[Record], /) -> None:
        """Show what is new in the run's journal."""

    def judged(self, ending: Ending) -> Ending:
        """The ending of one that was stopped, by whom and what for."""
        return ending


def train_in_worker(folder: Path, secrets: dict[str, Any], lock: int, means: Means) -> int:
    """Train the run of a folder in a process of its own; returns its exit code (negative: a signal).

    The worker inherits the folder's lock, and the secrets that the folder's config is without. It is asked
    to stop when a signal came or the store's disk is full, and killed at the second signal or when it takes
    too long.
    """
    follower = Follower(folder)
    for _ in follower.new():
        pass  # of earlier attempts
    worker = means.start_worker(folder, secrets, lock)
    try:
        wish = _WishToStop(worker, means.stop, means.courier)
        silence = Silence(folder, 0) if (folder / RANKS).exists() else None
        while worker.poll() is None and not wish.is_overdue():
            means.show(follower.new())
            time.sleep(POLL_S)
            if silence and silence.look():
                _tell_silent(folder, worker)
    finally:  # an error in here leaves no process behind
        if worker.poll() is None:
            worker.kill()
        exit_code = worker.wait()
    means.show(follower.new())
    received = means.stop.received
    return -received if exit_code < 0 and received else exit_code


def _tell_silent(folder: Path, worker: Worker) -> None:
    """End the ranks of a run whose first one does not answer, and write that down in its place."""
    worker.kill()
    worker.wait()
    with Journal(folder) as journal:
        message = f"rank 0 does not answer for {SILENT_AFTER_S:g} s"
        journal.write("error", type="RunError", message=message, traceback=f"{message}\n")


class WorkerProcess(subprocess.Popen[bytes]):
    """A worker and the ranks that it starts, which end when it does, and are killed as it is."""

    def poll(self) -> int | None:
        if self.returncode is None and os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            self.kill()  # what is left of its group, before its id can be another's
        return super().poll()

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None and timeout is None:
            os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
            self.kill()
        return super().wait(timeout)

    def kill(self) -> None:
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)


def start_worker(
    folder: Path, secrets: dict[str, Any], lock: int, variables: dict[str, str] | None = None
) -> WorkerProcess:
    """A process that trains the run of a folder, and inherits its lock."""
    command = [sys.executable, "-P", "-m", "primer.worker", str(folder / "config.yaml")]
    with (folder / "worker.log").open("ab") as log:
        return WorkerProcess(
            command,
            env=(variables or environment())
            | {SECRETS: json.dumps(secrets), PARENT: str(os.getpid()), "PYTHONSAFEPATH": "1"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            process_group=0,  # no signal of the terminal's is its own
            pass_fds=[lock],
        )


def environment() -> dict[str, str]:
    """The environment variables of a worker, without what torchrun or srun told this process of its place."""
    return unplaced(os.environ) | {
        # cuBLAS reads it once, when it starts; without it deterministic algorithms raise on CUDA
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
        "PYTHONUNBUFFERED": "1",
    }


class _WishToStop:
    """Asks a worker once to stop, when that is wanted, and knows when to wait for it no longer."""

    def __init__(self, worker: Worker, stop: Stopping, courier: Courier | None) -> None:
        self._worker, self._stop, self._courier = worker, stop, courier
        self._asked_at: float | None = None

    def is_overdue(self) -> bool:
        is_full = self._courier is not None and self._courier.is_out_of_room
        if self._asked_at is None and (self._stop.received or is_full):
            self._worker.send_signal(self._stop.received or signal.SIGTERM)
            self._asked_at = time.monotonic()
        is_late = self._asked_at is not None and time.monotonic() - self._asked_at > STOP_WITHIN_S
        return is_late or self._stop.num_received > 1
