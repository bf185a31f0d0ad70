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
from primer.sweep.stop import TaskStop


def run_task(
    sweep: str, number: int, num_ends: int, directory: str, environment: dict[str, str], num_threads: int
) -> str | None:
    """Train a job, unless an attempt of it has ended that was not known when the task was submitted.

    The task's environment variables are `environment` besides its own. Returns what went wrong, which stands
    in the job's journal, too, unless the job was not begun.
    """
    os.environ.update(environment, OMP_NUM_THREADS=str(num_threads))
    try:
        os.chdir(directory)
        (job,) = [job for job in ledger.jobs_in(Path(sweep)) if job.number == number]
    except (OSError, ValueError):
        return f"{sweep}: is not seen from here; expected a file system that all nodes share"
    with StopSignal() as signals:
        signals.defer()
        means = JobMeans(job, None, TaskStop(signals, job.folder), lambda _: None, start_worker)
        try:
            result = run_job(means, ledger.origin_of(Path(sweep), number), lambda: None, num_ends)
        except UsageError as error:  # a secret is not there
            return str(error)
    return result.error if result else None
