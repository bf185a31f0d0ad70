"""The controller of a sweep: jobs in slots, one courier for all, one table."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from primer.redact import redacted_text
from primer.result import RunResult
from primer.stopping import StopSignal
from primer.sweep import ledger
from primer.sweep.executor import Executor, Slot, slots_of
from primer.sweep.gpus import visible_gpus
from primer.sweep.job import JobMeans, JobStop, run_job
from primer.sweep.plan import Job
from primer.tracking.courier import Courier
from primer.tracking.journal import Record
from primer.tracking.shipment import Shipment
from primer.tracking.trouble import reason_of
from primer.tracking.uri import uri_of

if TYPE_CHECKING:
    from primer.sweep.table import SweepTable

LOCAL_UI = "http://127.0.0.1:5000"  # where `primer ui` serves


@dataclass
class Hooks:
    """Who hears of jobs, in their slots: `begin` when one begins, `hear` what is new in its journal, and
    `end` what it came to, with what `begin` gave."""

    begin: Callable[[Job], Any]
    end: Callable[[Job, Any, RunResult], None]
    hear: Callable[[Job, list[Record], JobStop], None] = lambda *_: None


class Sweep:
    """One sweep at work in its folder, which is held; `settings` are the keys of `hydra.launcher`."""

    def __init__(
        self, folder: Path, settings: dict[str, Any], stop: StopSignal, environment: dict[str, str]
    ) -> None:
        self.folder, self.settings, self.stop = folder, settings, stop
        self.environment = environment
        self._couriers: dict[str, Courier] = {}
        self._shipment: Shipment | None = None
        self._lock = threading.Lock()

    def run(self, jobs: Iterable[Job], num_jobs: int, hooks: Hooks) -> dict[int, RunResult]:
        """Run jobs and return what those came to that were begun, by number.

        The next one is asked of `jobs` when a slot is free.
        """
        from primer.sweep.table import SweepTable  # here, since rich is for what is drawn

        gpus = self.settings["gpus"] if self.settings["gpus"] is not None else visible_gpus()
        slots = slots_of(self.settings, gpus, num_jobs)
        with SweepTable(num_jobs, len(slots)) as table:

            def run(job: Job, slot: Slot) -> RunResult:
                return self._run(job, slot, table, hooks)

            is_strict = self.settings["on_failure"] == "stop"
            executor = Executor(slots, run, self.stop, stops_at_failure=is_strict)
            return executor.work(iter(jobs), table.refresh)

    def _run(self, job: Job, slot: Slot, table: SweepTable, hooks: Hooks) -> RunResult:
        table.begin(job)
        begun: list[Any] = []
        for retries_left in range(self.settings["retries"], -1, -1):
            means = self._means(job, slot, table, hooks)
            origin = ledger.origin_of(self.folder, job.number)
            result = run_job(means, origin, lambda: begun.append(hooks.begin(job)) if not begun else None)
            if result.status == "FINISHED" or self.stop.received or not retries_left:
                break
        table.end(job, result, objective(result.metrics, job.config))
        hooks.end(job, begun[0], result)
        return result

    def _means(self, job: Job, slot: Slot, table: SweepTable, hooks: Hooks) -> JobMeans:
        minutes = self.settings["timeout_minutes"]
        deadline = None if minutes is None else time.monotonic() + 60 * minutes
        stop = JobStop(self.stop, deadline, f"took longer than {minutes} minutes")
        variables = dict(self.environment)
        if slot.gpu is not None:
            variables["CUDA_VISIBLE_DEVICES"] = str(slot.gpu)

        def shown(records: Iterable[Record]) -> None:
            new = list(records)
            table.hear(job.number, new)
            hooks.hear(job, new, stop)

        return JobMeans(job, self.courier(job.config), stop, shown, variables, slot.num_threads)

    def courier(self, config: dict[str, Any]) -> Courier | None:
        """The courier to a job's store, which ships the sweep's own run first."""
        if config["switches"]["tracking"] == "off":
            return None
        uri = uri_of(config)
        with self._lock:  # slots ask at once
            if uri not in self._couriers:
                courier = self._couriers[uri] = Courier(uri)
                if len(self._couriers) == 1:
                    self._shipment = courier.add(self.folder)
                courier.start()
        return self._couriers[uri]

    def ship(self, jobs: Iterable[Job]) -> None:
        """Ship jobs that have ended: an earlier controller may have been killed before their end arrived."""
        for job in jobs:
            courier = self.courier(job.config)
            if courier:
                courier.add(job.folder)

    def leave_view(self, name: str, params: list[str], metrics: list[str]) -> tuple[str, str] | None:
        """Leave a saved view of the jobs in MLflow; its experiment and its address, if it could be left."""
        run_id = self._shipment.run_id if self._shipment else None
        if self._shipment is None or run_id is None:
            return None
        experiment_id = self._shipment.experiment_id
        uri = next(iter(self._couriers))
        try:
            from primer.tracking.view import save_view, view_link

            client = self._couriers[uri].store.open().client
            key = save_view(client, experiment_id, name=name, sweep=run_id, params=params, metrics=metrics)
        except Exception as error:  # MLflow's own format, and a convenience: no sweep fails of it
            print(f"primer: no view was left in MLflow: {reason_of(error)}", file=sys.stderr)
            return None
        base = redacted_text(uri) if uri.startswith("http") else LOCAL_UI
        return experiment_id, view_link(base, experiment_id, key)

    def wait_for_jobs(self, *, is_hurried: bool) -> None:
        """Wait for the jobs' journals to arrive, so that their ids are known."""
        for courier in self._couriers.values():
            others = [shipment for shipment in courier.shipments if shipment is not self._shipment]
            courier.wait_for(others, self.stop, is_hurried=is_hurried)

    def finish(self, end: Record, *, is_hurried: bool) -> bool:
        """The sweep's journal has its end: wait for it to arrive; whether all did."""
        if self._shipment:
            self._shipment.end = end
        arrived = [courier.finish(self.stop, is_hurried=is_hurried) for courier in self._couriers.values()]
        return all(arrived)


def objective(metrics: dict[str, float], config: dict[str, Any]) -> float | None:
    """What a search makes small or large: the best value of the watched metric, else the last."""
    key = config["monitor"]
    value = metrics.get(f"best/{key}", metrics.get(f"final/{key}"))
    return metrics.get("final/train/loss") if value is None else value
