"""The controller of a tile: jobs of a sweep that one worker trains as one, each in its own folder."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from primer.attempt import Means, Worker, train_in_worker
from primer.config.changes import with_secrets
from primer.ending import Ending, ending_of
from primer.errors import CantFuse, RunError, UsageError
from primer.folder import held, write_header
from primer.redact import keep_secret, secrets_of
from primer.result import RunResult
from primer.resume import begin_again
from primer.run import conclude
from primer.sweep import ledger
from primer.sweep.backend import Attempt
from primer.sweep.job import LOCK_WITHIN_S, finished_by_now, is_begun
from primer.sweep.plan import Job
from primer.tracking.journal import NAME, Follower, Record, first_record, last_attempt, last_record, read
from primer.tracking.shipment import Shipment

TOGETHER = "together"  # in a journal's first record, of its job: the numbers of the jobs it trains with
Start = Callable[[list[Path], list[dict[str, str]], list[int]], Worker]


class TileMeans(Means):
    """What a tile works with, as `primer.attempt.Means` of its first job."""

    def __init__(self, attempt: Attempt, start: Start) -> None:
        self.courier, self.stop, self.jobs = attempt.courier, attempt.stop, attempt.jobs
        self._attempt, self._start = attempt, start
        self.configs: list[dict[str, Any]] = []
        self.locks: list[int] = []
        self.results: dict[int, RunResult] = {}  # what jobs came to, by number
        self._started_at = time.monotonic()
        self._others = [(job, Follower(job.folder)) for job in self.jobs[1:]]
        self._shipments: dict[int, Shipment | None] = {}

    def start_worker(self, folder: Path, secrets: dict[str, Any], lock: int) -> Worker:
        """The process that trains them all."""
        for _, follower in self._others:
            for _ in follower.new():
                pass  # of earlier attempts
        every = [secrets_of(config) for config in self.configs]
        keep_secret(secret for secrets in every for secret in secrets.values())
        return self._start([job.folder for job in self.jobs], every, self.locks)

    def show(self, records: Iterable[Record]) -> None:
        """Show what is new in their journals."""
        self._tell(self.jobs[0], records)
        for job, follower in self._others:
            self._tell(job, follower.new())

    def _tell(self, job: Job, records: Iterable[Record]) -> None:
        """Of a job nothing, before it trains: it may turn out that it can't with the others."""
        new = list(records)
        if any(record["kind"] == "start" for record in new):
            self._attempt.begin(job)
            self._shipment_of(job)
        if job.number in self._shipments:
            self._attempt.hear(job, new)
        # the first one's journal is where their process writes that it is alive
        if job is not self.jobs[0] and any(record["kind"] in ("done", "error") for record in new):
            self.conclude(job, 0)

    def conclude(self, job: Job, exit_code: int) -> None:
        """See to a job's end, if it has come to its own, or was stopped; else it goes on alone.

        The others may be in the making still: the model of each is saved after that of another.
        """
        if job.number in self.results:
            return
        ending = self._ending(job.folder, exit_code)
        if ending is None:
            if shipment := self._shipments.pop(job.number, None):
                shipment.has_arrived = True  # what ships it then takes over
            return
        config, duration_s = self.configs[self.jobs.index(job)], time.monotonic() - self._started_at
        self.results[job.number] = conclude(
            job.folder, config, ending, duration_s, self._shipment_of(job), has_picture=False
        )

    def _ending(self, folder: Path, exit_code: int) -> Ending | None:
        """How one of them ended: its journal says so, where it came to its own end, or all were stopped.

        None where their process failed or was killed, which may be another one's doing.
        """
        records = last_attempt(read(folder))
        kinds = {record["kind"] for record in records}
        if "done" in kinds or "error" in kinds:
            return ending_of(0 if "done" in kinds else 1, records, folder)
        return (self.stop.alone or ending_of(exit_code, records, folder)) if self.stop.received else None

    def _shipment_of(self, job: Job) -> Shipment | None:
        """What ships the job's journal, from now on."""
        if job.number not in self._shipments:
            self._shipments[job.number] = self.courier.add(job.folder) if self.courier else None
        return self._shipments[job.number]


def run_tile(attempt: Attempt, start: Start) -> dict[int, RunResult]:
    """Begin jobs, or go on with them, and have them trained as one; what each came to, by number.

    One that is not there came to nothing of its own, since their process failed: it can go on alone. Raises
    CantFuse where they can't be trained as one: nothing was begun.
    """
    jobs, means = attempt.jobs, TileMeans(attempt, start)
    new = {job.number: job for job in jobs if not is_begun(job)}
    sizes: dict[Path, int] = {}  # of journals that were there
    with ExitStack() as closing:
        try:
            for job in jobs:
                config = with_secrets(job.config, ())
                if job.number in new:
                    shutil.rmtree(job.folder, ignore_errors=True)
                    job.folder.mkdir(parents=True)
                means.locks.append(closing.enter_context(held(job.folder, within_s=LOCK_WITHIN_S)))
                means.configs.append(config)
                if job.number in new:
                    origin = ledger.origin_of(attempt.sweep, job.number)
                    write_header(job.folder, config, job=origin | {TOGETHER: [one.number for one in jobs]})
                elif finished_by_now(job.folder):
                    raise RunError(f"{job.folder}: is FINISHED by now")
                else:
                    sizes[job.folder / NAME] = (job.folder / NAME).stat().st_size
                    begin_again(job.folder, config, num_together=len(jobs))
        except (OSError, RunError, UsageError) as error:
            _leave(new.values(), sizes)
            raise CantFuse(f"one can't be begun: {error}") from None
        first = jobs[0].folder
        exit_code = train_in_worker(first, {}, means.locks[0], means)
        if exit_code == os.EX_UNAVAILABLE:
            records = last_attempt(read(first))
            _leave(new.values(), sizes)
            raise CantFuse(str([record["reason"] for record in records if record["kind"] == "alone"][-1]))
        for job in jobs:
            means.conclude(job, exit_code)
        return means.results


def together(jobs: Sequence[Job]) -> list[list[Job]]:
    """Jobs that were begun, as they trained with each other; those that have failed go on alone."""
    groups: dict[tuple[int, ...], list[Job]] = {}
    for job in jobs:
        numbers = (first_record(job.folder) or {}).get("job", {}).get(TOGETHER, [])
        has_failed = (last_record(job.folder) or {}).get("status") == "FAILED"
        groups.setdefault((job.number,) if has_failed else tuple(numbers) or (job.number,), []).append(job)
    return list(groups.values())


def _leave(new: Iterable[Job], sizes: dict[Path, int]) -> None:
    """Leave jobs as they were: nothing of the new ones, and of the others their journals of these sizes."""
    for job in new:
        shutil.rmtree(job.folder, ignore_errors=True)
    for journal, size in sizes.items():
        os.truncate(journal, size)
