"""One job of a sweep on a node of a cluster: a controller with its worker, started by the cluster.

It is told the sweep's folder and the job's number, and finds the rest in the ledger; what it writes is in the
job's folder, on a file system that the sweep's controller sees, too, and ships from there.
"""

from __future__ import annotations

import os
from pathlib import Path

from primer.attempt import start_worker
from primer.errors import UsageError
from primer.stopping import StopSignal
from primer.sweep import ledger
from primer.sweep.job import JobMeans, run_job
from primer.sweep.plan import Job
from primer.sweep.stop import TaskStop
from primer.tracking.journal import read


def run_task(
    sweep: str, number: int, num_ends: int, directory: str, environment: dict[str, str], num_threads: int
) -> str | None:
    """Train a job, unless an attempt of it has ended that was not known when the task was submitted.

    The task's environment variables are `environment` besides its own. Returns what was wrong with the
    question, if it was.
    """
    os.environ.update(environment, OMP_NUM_THREADS=str(num_threads))
    try:
        os.chdir(directory)
        (job,) = [job for job in ledger.jobs_in(Path(sweep)) if job.number == number]
    except (OSError, ValueError):
        return f"{sweep}: is not seen from here; expected a file system that all nodes share"
    if num_ends_of(job) != num_ends:
        return None
    with StopSignal() as signals:
        signals.defer()
        means = JobMeans(job, None, TaskStop(signals, job.folder), lambda _: None, start_worker)
        try:
            run_job(means, ledger.origin_of(Path(sweep), number), lambda: None)
        except UsageError as error:  # another task has it, or a secret is not there
            return str(error)
    return None


def num_ends_of(job: Job) -> int:
    """How many attempts of the job have ended."""
    return sum(record["kind"] == "end" for record in read(job.folder))
