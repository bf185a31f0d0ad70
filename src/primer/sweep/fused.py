"""The controller of a tile: jobs of a sweep that one worker trains as one, each in its own folder."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from primer.attempt import Worker, train_in_worker
from primer.config.changes import with_secrets
from primer.ending import Ending, ending_of
from primer.folder import held, write_header
from primer.redact import secrets_of
from primer.result import RunResult
from primer.run import conclude
from primer.sweep.plan import Job
from primer.sweep.stop import JobStop
from primer.tracking.courier import Courier
from primer.tracking.journal import Follower, Record, last_attempt, read

Start = Callable[[list[Path], list[dict[str, str]], list[int]], Worker]


@dataclass
class TileMeans:
    """What a tile works with, as `primer.attempt.Means` of its first job; `hear` is told of all of them."""

    jobs: list[Job]
    courier: Courier | None
    stop: JobStop
    hear: Callable[[Job, Iterable[Record]], None]
    start: Start
    configs: list[dict[str, Any]] = field(default_factory=list)
    locks: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._others = [(job, Follower(job.folder)) for job in self.jobs[1:]]

    def start_worker(self, folder: Path, secrets: dict[str, str], lock: int) -> Worker:
        """The process that trains them all."""
        every = [secrets_of(config) for config in self.configs]
        return self.start([job.folder for job in self.jobs], every, self.locks)

    def show(self, records: Iterable[Record]) -> None:
        """Show what is new in their journals."""
        self.hear(self.jobs[0], records)
        for job, follower in self._others:
            self.hear(job, follower.new())

    def judged(self, ending: Ending) -> Ending:
        """The tile's own reason, where it was stopped alone."""
        return self.stop.alone or ending


def run_tile(
    means: TileMeans, origin: Callable[[Job], dict[str, Any]], begin: Callable[[Job], None]
) -> dict[int, RunResult] | str:
    """Begin jobs and have them trained as one; what each came to, by number, or why that can't be.

    `origin` is what a job's journal says of the sweep; `begin` is called once its folder is there. Where they
    can't be trained as one, each is begun, and can go on alone.
    """
    started_at = time.monotonic()
    with ExitStack() as closing:
        for job in means.jobs:
            config = with_secrets(job.config, ())
            job.folder.mkdir(parents=True)
            means.locks.append(closing.enter_context(held(job.folder)))
            means.configs.append(config)
            write_header(job.folder, config, job=origin(job))
            begin(job)
        first = means.jobs[0].folder
        for job in means.jobs[1:]:
            (job.folder / "worker.log").symlink_to(os.path.relpath(first / "worker.log", job.folder))
        shipments = [means.courier.add(job.folder) if means.courier else None for job in means.jobs]
        exit_code = train_in_worker(first, {}, means.locks[0], means.stop, means.courier, means)
        if exit_code == os.EX_UNAVAILABLE:
            for shipment in shipments:
                if shipment:
                    shipment.has_arrived = True  # each ships anew, alone
            return str(next(record["reason"] for record in read(first) if record["kind"] == "alone"))
        results = {}
        for job, config, shipment in zip(means.jobs, means.configs, shipments, strict=True):
            ending = _ending(job.folder, exit_code, means)
            results[job.number] = conclude(
                job.folder, config, ending, time.monotonic() - started_at, shipment, has_picture=False
            )
        return results


def _ending(folder: Path, exit_code: int, means: TileMeans) -> Ending:
    """How one of them ended: its journal says so, where it came to its own end."""
    records = last_attempt(read(folder))
    kinds = {record["kind"] for record in records}
    ending = ending_of(0 if "done" in kinds else 1 if "error" in kinds else exit_code or 1, records, folder)
    return means.judged(ending) if ending.status == "KILLED" else ending
