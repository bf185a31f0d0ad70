"""Jobs on a cluster: tasks that its scheduler starts somewhere, followed here in the jobs' journals.

A task is a controller with its worker (`primer.sweep.task`); the file system that all nodes share is the only
way between it and this process. So a task outlives this process where the scheduler lets it, and a sweep that
is resumed finds it at work.
"""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from primer.ending import Ending
from primer.errors import CantFuse, RunError
from primer.files import step_files
from primer.folder import is_running, write_header
from primer.leaving import leave_files, write_end
from primer.result import RunResult
from primer.sweep import ledger
from primer.sweep.backend import Attempt, Need
from primer.sweep.executor import Slot
from primer.sweep.job import is_begun, num_ends_of, result_in
from primer.sweep.stop import WORD, send_word
from primer.tracking.journal import Follower, Record
from primer.tracking.shipment import Shipment
from primer.tracking.tags import HOST

POLL_S = 0.2  # chosen: journals on a shared file system
CANCEL_AFTER_S = 15.0  # chosen: for a task that was asked to stop, and a file system that tells it late
MOST_AT_ONCE = 64  # chosen: jobs handed to a scheduler, which has others to serve
# what schedulers send before they take a node back
LEAVING = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)


class Task(Protocol):
    """What a cluster was asked to run."""

    def is_done(self) -> bool:
        """Whether it runs no more, nor will."""

    def cancel(self) -> None:
        """End it, begun or not."""

    def error(self) -> str | None:
        """What it, or the cluster, says went wrong, once it is done."""


class Cluster(Protocol):
    """What runs tasks: Ray or Slurm."""

    def open(self) -> None:
        """Connect to it. Raises UsageError where it is not there."""

    def submit(self, name: str, *arguments: Any) -> Task:
        """Have `primer.sweep.task.run_task` called on some node. Raises RunError where it refuses."""

    def close(self) -> None:
        """Let go of it."""


class ClusterBackend:
    """Trains jobs on a cluster; `settings` are the keys of `hydra.launcher`."""

    def __init__(self, cluster: Cluster, settings: dict[str, Any]) -> None:
        self._cluster, self._settings = cluster, settings

    def open(self) -> None:
        """Connect to the cluster."""
        self._cluster.open()

    def slots(self, num_jobs: int, need: Need) -> list[Slot]:
        """As many jobs as are handed to the cluster at once; it knows its GPUs."""
        num_slots = max(1, min(self._settings["workers"] or MOST_AT_ONCE, num_jobs))
        return [Slot(number, self._settings["cpus_per_job"], None) for number in range(num_slots)]

    def run(self, attempt: Attempt) -> RunResult | None:
        """Have a job trained; where its scheduler takes the node back, it goes on in another task."""
        (job,) = attempt.jobs
        while True:
            newest = step_files(job.folder / "checkpoints")[:1]
            result = _Following(self._cluster, attempt).run()
            is_left = result is not None and result.error in {f"stopped by {sig.name}" for sig in LEAVING}
            has_moved = step_files(job.folder / "checkpoints")[:1] != newest
            if attempt.stop.received or not (is_left and has_moved):
                return result

    def run_tile(self, attempt: Attempt) -> dict[int, RunResult]:
        """Each job is a task of its own."""
        raise CantFuse("each is a job of the cluster's")

    def close(self) -> None:
        """Let go of the cluster."""
        self._cluster.close()


class _Following:
    """One task of a job, or one that an earlier controller submitted, until the job has an end."""

    def __init__(self, cluster: Cluster, attempt: Attempt) -> None:
        self._cluster, self._attempt, (self._job,) = cluster, attempt, attempt.jobs
        self._follower = Follower(self._job.folder)
        self._host = ""  # where the last attempt that has no end was begun
        self._task: Task | None = None
        self._shipment: Shipment | None = None
        self._begun_at: float | None = None
        self._asked_at: float | None = None
        self._num_ends = num_ends_of(self._new())
        if self._is_trained():
            self._begin()

    def run(self) -> RunResult | None:
        stop = self._attempt.stop
        while True:
            is_done = self._task is not None and self._task.is_done()  # first: what it wrote is there then
            end = self._hear()
            if end is None and (self._task is None or is_done) and not self._is_trained():
                if stop.received and self._begun_at is None:
                    return None
                end = self._write_end(self._task.error()) if self._task else self._submit()
            if end:
                if self._shipment:
                    self._shipment.finish(end)
                return result_in(self._job, end)
            if stop.received:
                self._ask_to_stop()
            time.sleep(POLL_S)

    def _submit(self) -> Record | None:
        """Hand the job over; its end, where the cluster refuses it."""
        attempt, job = self._attempt, self._job
        (job.folder / WORD).unlink(missing_ok=True)  # which was for the task before
        where = (str(attempt.sweep), job.number, self._num_ends, str(Path.cwd()))
        try:
            self._task = self._cluster.submit(
                job.config["name"], *where, attempt.environment, attempt.slot.num_threads
            )
        except RunError as error:
            return self._write_end(str(error))
        return None

    def _is_trained(self) -> bool:
        """Whether a process works on the job: the task's, or another's."""
        return self._host != "" and is_running(self._job.folder, self._host)

    def _new(self) -> Iterator[Record]:
        for record in self._follower.new():
            if record["kind"] in ("run", "resume"):
                self._host = record["tags"][HOST]
            elif record["kind"] == "end":
                self._host = ""
            yield record

    def _hear(self) -> Record | None:
        """Show what is new in the journal, and return its end, if that is new."""
        new = list(self._new())
        if any(record["kind"] in ("run", "resume") for record in new):
            self._begin()
        if self._begun_at is not None and new:
            self._attempt.hear(self._job, new)
        ends = [record for record in new if record["kind"] == "end"]
        return ends[-1] if ends else None

    def _begin(self) -> None:
        if self._begun_at is None:
            self._begun_at = time.monotonic()
            self._attempt.stop.begin()
            self._attempt.begin(self._job)
            courier = self._attempt.courier
            self._shipment = courier.add(self._job.folder) if courier else None

    def _ask_to_stop(self) -> None:
        stop = self._attempt.stop
        now = time.monotonic()
        if self._asked_at is None:
            self._asked_at = now
            if self._begun_at is not None:
                send_word(self._job.folder, stop)
        is_late = now - self._asked_at > CANCEL_AFTER_S or stop.num_received > 1
        if self._task and (self._begun_at is None or is_late):
            self._task.cancel()

    def _write_end(self, error: str | None) -> Record:
        """The end of a job whose task is gone without one."""
        job, stop = self._job, self._attempt.stop
        if not is_begun(job):
            shutil.rmtree(job.folder, ignore_errors=True)
            job.folder.mkdir(parents=True)
            origin = ledger.origin_of(self._attempt.sweep, job.number)
            write_header(job.folder, job.config, job=origin)
            self._begin()
        reason = error or "its task ended without a word"
        killed = Ending("KILLED", 137, reason) if stop.received else None
        leave_files(job.folder)
        seconds = time.monotonic() - (self._begun_at or time.monotonic())
        return write_end(job.folder, stop.alone or killed or Ending("FAILED", 1, reason), seconds)
