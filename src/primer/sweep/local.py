"""Jobs on this machine: workers forked by this process, which is their controller."""

from __future__ import annotations

from functools import cached_property, partial
from pathlib import Path
from typing import Any

from primer.attempt import Worker, environment, start_worker
from primer.gpus import shared_out, visible_gpus
from primer.ranks import is_shared
from primer.result import RunResult
from primer.sweep import ledger
from primer.sweep.backend import Attempt, Need
from primer.sweep.executor import Slot, slots_of
from primer.sweep.forkserver import ForkedWorker, warm_up
from primer.sweep.fused import Start, run_tile
from primer.sweep.job import JobMeans, run_job


class LocalBackend:
    """Trains jobs on this machine; `settings` are the keys of `hydra.launcher`."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self._settings = settings

    def open(self) -> None:
        """Share out the GPUs, and start the process that workers are forked from."""
        self._places(1)  # said now, if that can't be
        warm_up()

    def _places(self, num_devices: int) -> list[str]:
        """What each of the jobs that run at once sees of the GPUs, of which one takes so many."""
        per_job = self._settings["gpus_per_job"]
        return shared_out(self._gpus, per_job if num_devices == 1 else max(per_job, num_devices))

    @cached_property
    def _gpus(self) -> list[str]:
        asked = self._settings["gpus"]
        return visible_gpus() if asked is None else asked

    def slots(self, num_jobs: int, need: Need) -> list[Slot]:
        """One for each place on GPUs, else on CPUs; fewer where fewer workers are asked for."""
        places = self._places(need.num_devices) if need.is_gpu else []
        return slots_of(self._settings["workers"], places, num_jobs, num_processes=need.num_devices)

    def run(self, attempt: Attempt) -> RunResult | None:
        """Train a job in a process of its own."""
        (job,) = attempt.jobs
        attempt.stop.begin()

        def start(folder: Path, secrets: dict[str, Any], lock: int) -> Worker:
            if is_shared(job.config):  # whose ranks are started by its command
                return start_worker(folder, secrets, lock, _variables(attempt))
            return _start(attempt)([folder], [secrets], [lock])

        means = JobMeans(job, attempt.courier, attempt.stop, partial(attempt.hear, job), start)
        origin = ledger.origin_of(attempt.sweep, job.number)
        return run_job(means, origin, partial(attempt.begin, job))

    def run_tile(self, attempt: Attempt) -> dict[int, RunResult]:
        """Train jobs in one process."""
        attempt.stop.begin()
        return run_tile(attempt, _start(attempt))

    def close(self) -> None:
        """Nothing to do: the process that workers are forked from ends with this one."""


def _start(attempt: Attempt) -> Start:
    return partial(ForkedWorker, environment=_variables(attempt), num_threads=attempt.slot.num_threads)


def _variables(attempt: Attempt) -> dict[str, str]:
    gpus = {} if attempt.slot.gpus is None else {"CUDA_VISIBLE_DEVICES": attempt.slot.gpus}
    return environment() | attempt.environment | gpus
