"""One job of a sweep: begun, or gone on with in its own run; stopped alone, or with the others."""

from __future__ import annotations

import dataclasses
import shutil
import signal
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from primer.attempt import Worker, environment
from primer.config.changes import with_secrets
from primer.ending import Ending
from primer.errors import UsageError
from primer.folder import held, write_header
from primer.leaving import write_end
from primer.result import RunResult
from primer.resume import begin_again
from primer.run import attempt, result_of
from primer.stopping import Stopping
from primer.sweep.forkserver import ForkedWorker
from primer.sweep.plan import Job
from primer.tracking.courier import Courier
from primer.tracking.journal import NAME, Journal, Record
from primer.tracking.tags import PRUNED

LOCK_WITHIN_S = 15.0  # chosen: a worker whose controller was killed notices within 1 s and saves


class JobStop:
    """What stops a job: what stops the sweep, or `alone`, the ending that it then has."""

    def __init__(self, sweep: Stopping, deadline: float | None, timeout: str) -> None:
        self._sweep, self._deadline, self._timeout = sweep, deadline, timeout
        self._alone: Ending | None = None

    @property
    def alone(self) -> Ending | None:
        """The ending of a job that is stopped for a reason of its own."""
        if self._alone is None and self._deadline is not None and time.monotonic() > self._deadline:
            self._alone = Ending("FAILED", 1, self._timeout)
        return self._alone

    @alone.setter
    def alone(self, ending: Ending) -> None:
        self._alone = ending

    @property
    def received(self) -> int | None:
        """The signal to pass on."""
        return self._sweep.received or (signal.SIGTERM if self.alone else None)

    @property
    def num_received(self) -> int:
        """How often the sweep was asked to stop."""
        return self._sweep.num_received


@dataclasses.dataclass
class JobMeans:
    """What one attempt of a job works with; see `primer.attempt.Means`."""

    job: Job
    courier: Courier | None
    stop: JobStop
    shown: Callable[[Iterable[Record]], None]
    environment: dict[str, str]
    num_threads: int

    def start_worker(self, folder: Path, secrets: dict[str, str], lock: int) -> Worker:
        """A forked process."""
        variables = environment() | self.environment
        return ForkedWorker(folder, secrets, lock, environment=variables, num_threads=self.num_threads)

    def show(self, records: Iterable[Record]) -> None:
        """Pass it on to the sweep's table."""
        self.shown(records)

    def judged(self, ending: Ending) -> Ending:
        """Its own reason, where it was stopped alone; one that a search stopped has not failed."""
        if self.stop.alone and self.stop.alone.status == "FINISHED":
            with Journal(self.job.folder) as journal:
                journal.write("tags", tags={PRUNED: "true"})
        return self.stop.alone or ending


def run_job(means: JobMeans, origin: dict[str, Any], begin: Callable[[], None]) -> RunResult:
    """Begin a job, or go on with it from its newest checkpoint; a wrong question is its failure, too.

    `origin` is what its journal says of the sweep; `begin` is called once its folder is there.
    """
    job, stop = means.job, means.stop
    folder = job.folder
    if not is_begun(job):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        config = with_secrets(job.config, ())
        with held(folder) as lock:
            write_header(folder, config, job=origin)
            begin()
            return _attempt(folder, config, stop, lock, means)
    with held(folder, within_s=LOCK_WITHIN_S) as lock:
        config = with_secrets(job.config, ())
        begin_again(folder, config)
        begin()
        return _attempt(folder, config, stop, lock, means)


def is_begun(job: Job) -> bool:
    """Whether the job's journal has its first record; a controller that died before leaves a part of it."""
    journal = job.folder / NAME
    if not journal.exists():
        return False
    with journal.open("rb") as file:
        return file.readline().endswith(b"\n")


def _attempt(folder: Path, config: dict[str, Any], stop: JobStop, lock: int, means: JobMeans) -> RunResult:
    started_at = time.monotonic()
    try:
        return attempt(folder, config, stop, lock, means=means)
    except UsageError as error:  # the data, say: other jobs may have others
        ending = Ending("FAILED", 1, str(error))
        duration_s = time.monotonic() - started_at
        end = write_end(folder, ending, duration_s)
        if means.courier:
            means.courier.add(folder).end = end
        return result_of(folder, config, ending, duration_s)
