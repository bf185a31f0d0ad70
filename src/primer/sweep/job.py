"""One job of a sweep: begun, or gone on with in its own run; stopped alone, or with the others."""

from __future__ import annotations

import dataclasses
import os
import shutil
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from primer.attempt import Means, Worker, train_in_worker
from primer.config.changes import with_secrets
from primer.ending import Ending
from primer.errors import RunError, UsageError
from primer.folder import held, write_header
from primer.joining import check_devices
from primer.leaving import write_end
from primer.ranks import is_shared
from primer.redact import secrets_of
from primer.result import RunResult
from primer.resume import begin_again
from primer.run import attempt, result_of
from primer.sweep.plan import Job
from primer.sweep.stop import JobStop
from primer.tracking.courier import Courier
from primer.tracking.journal import NAME, Record, last_record, read
from primer.vigil import prepare_vigil

# chosen: a worker whose controller was killed notices within 1 s and saves, but on a busy machine the fork
# server, which holds what it was to pass on, takes its time to import torch before it notices
LOCK_WITHIN_S = 60.0


@dataclasses.dataclass
class JobMeans(Means):
    """What one attempt of a job works with."""

    job: Job
    courier: Courier | None
    stop: JobStop
    show: Callable[[Iterable[Record]], None]
    start_worker: Callable[[Path, dict[str, str], int], Worker]

    def judged(self, ending: Ending) -> Ending:
        """Its own reason, where it was stopped alone."""
        return self.stop.alone or ending


def run_job(
    means: JobMeans, origin: dict[str, Any], begin: Callable[[], None], num_ends: int | None = None
) -> RunResult | None:
    """Begin a job, or go on with it from its newest checkpoint; a wrong question is its failure, too.

    `origin` is what its journal says of the sweep; `begin` is called once its folder is there. None where
    another number of its attempts than `num_ends` have ended by the time that its folder is held.
    """
    job, folder, was_begun = means.job, means.job.folder, is_begun(means.job)
    with ExitStack() as until_the_end:
        try:
            config = with_secrets(job.config, ())
            folder.mkdir(parents=True, exist_ok=True)
            lock = until_the_end.enter_context(held(folder, within_s=LOCK_WITHIN_S))
            if num_ends not in (None, num_ends_of(read(folder))):
                return None
            if end := finished_by_now(folder):
                begin()
                return result_in(job, end)
            if is_begun(job):
                begin_again(folder, config)
            else:
                empty(folder)
                write_header(folder, config, job=origin)
            begin()
        except (OSError, RunError) as error:  # a full disk, say: the other jobs may have their room
            return result_of(folder, job.config, Ending("FAILED", 1, f"can't be begun: {error}"), 0.0)
        except UsageError as error:  # its journal is as it was, and the other jobs go on
            if not was_begun:
                raise
            begin()
            return result_of(folder, job.config, Ending("FAILED", 1, str(error)), 0.0)
        return _attempt(means, config, lock)


def finished_by_now(folder: Path) -> Record | None:
    """The end of a job that was to go on, and is FINISHED: somebody went on with it before it was held."""
    last = last_record(folder) or {}
    return last if last.get("kind") == "end" and last["status"] == "FINISHED" else None


def empty(folder: Path) -> None:
    """Remove what a controller left that died before the job's first record; the lock stays held."""
    for path in folder.iterdir():
        if path.name == NAME:
            os.truncate(path, 0)
        elif path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def num_ends_of(records: Iterable[Record]) -> int:
    """How many attempts of a job have ended."""
    return sum(record["kind"] == "end" for record in records)


def result_in(job: Job, end: Record) -> RunResult:
    """What a job came to, as its journal says."""
    exit_code = 0 if end["status"] == "FINISHED" else 1
    ending = Ending(end["status"], exit_code, end["error"], is_pruned=end.get("is_pruned", False))
    return result_of(job.folder, job.config, ending, end["duration_s"])


def is_begun(job: Job) -> bool:
    """Whether the job's journal has its first record; a controller that died before leaves a part of it."""
    journal = job.folder / NAME
    if not journal.exists():
        return False
    with journal.open("rb") as file:
        return file.readline().endswith(b"\n")


def _attempt(means: JobMeans, config: dict[str, Any], lock: int) -> RunResult:
    folder, started_at = means.job.folder, time.monotonic()

    def train() -> int:
        check_devices(config, debug=False, is_alone=False)
        prepare_vigil(folder, is_shared=is_shared(config))
        return train_in_worker(folder, secrets_of(config), lock, means)

    try:
        return attempt(folder, config, means, train)
    except UsageError as error:  # the data, say: other jobs may have others
        ending, duration_s = Ending("FAILED", 1, str(error)), time.monotonic() - started_at
        end = write_end(folder, ending, duration_s)
        if means.courier:
            means.courier.add(folder).finish(end)
        return result_of(folder, config, ending, duration_s)
