"""The controller of a sweep: jobs in slots, one courier for all, one table."""

from __future__ import annotations

import math
import sys
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from primer.direction import is_falling
from primer.redact import redacted_text
from primer.result import RunResult
from primer.stopping import StopSignal
from primer.sweep.backend import Attempt, Backend
from primer.sweep.executor import Executor, Slot
from primer.sweep.plan import Job
from primer.sweep.stop import JobStop
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
        self,
        folder: Path,
        backend: Backend,
        settings: dict[str, Any],
        stop: StopSignal,
        environment: dict[str, str],
    ) -> None:
        self.folder, self.backend, self.settings, self.stop = folder, backend, settings, stop
        self.environment = environment
        self._couriers: dict[str, Courier] = {}
        self._shipment: Shipment | None = None
        self._lock = threading.Lock()

    def run(
        self, jobs: Iterable[Job], num_jobs: int, hooks: Hooks, *, need_gpus: bool
    ) -> dict[int, RunResult]:
        """Run jobs and return what those came to that were begun, by number.

        The next one is asked of `jobs` when a slot is free.
        """
        from primer.sweep.table import SweepTable  # here, since rich is for what is drawn

        slots = self.backend.slots(num_jobs, need_gpus=need_gpus)
        with SweepTable(num_jobs, len(slots)) as table:

            def run(job: Job, slot: Slot) -> RunResult | None:
                return self._run(job, slot, table, hooks)

            is_strict = self.settings["on_failure"] == "stop"
            executor = Executor(slots, run, self.stop, stops_at_failure=is_strict)
            return executor.work(iter(jobs), table.refresh)

    def _run(self, job: Job, slot: Slot, table: SweepTable, hooks: Hooks) -> RunResult | None:
        begun: list[Any] = []

        def begin() -> None:
            if not begun:  # a retry is the same job
                table.begin(job)
                begun.append(hooks.begin(job))

        retries_left = self.settings["retries"]
        while (result := self.backend.run(self._attempt(job, slot, begin, table, hooks))) is not None:
            if result.status == "FINISHED" or self.stop.received or not retries_left:
                break
            retries_left -= 1
        if result is None:
            return None
        table.end(job, result, objective(result.metrics, job.config))
        if begun:
            hooks.end(job, begun[0], result)
        return result

    def _attempt(
        self, job: Job, slot: Slot, begin: Callable[[], None], table: SweepTable, hooks: Hooks
    ) -> Attempt:
        stop = JobStop(self.stop, self.settings["timeout_minutes"])

        def shown(records: Iterable[Record]) -> None:
            new = list(records)
            table.hear(job.number, new)
            hooks.hear(job, new, stop)

        courier = self.courier(job.config)
        return Attempt(self.folder, job, slot, stop, self.environment, courier, begin, shown)

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


def best_of(results: Iterable[RunResult | None], config: dict[str, Any]) -> tuple[RunResult, float] | None:
    """The job whose objective is best, of those that finished and were not stopped as hopeless."""
    found = [
        (result, value)
        for result in results
        if result is not None
        and result.outcome == "FINISHED"
        and (value := objective(result.metrics, config)) is not None
    ]
    return min(found, key=lambda pair: rank(config["monitor"], pair[1]), default=None)


def rank(metric: str, value: float | None) -> tuple[bool, float]:
    """What sorts values of a metric, the best first, those that are none last."""
    if value is None or math.isnan(value):
        return True, 0.0
    return False, value if is_falling(metric) else -value


def objective(metrics: dict[str, float], config: dict[str, Any]) -> float | None:
    """What a search makes small or large: the best value of the watched metric, else the last."""
    key = config["monitor"]
    value = metrics.get(f"best/{key}", metrics.get(f"final/{key}"))
    return metrics.get("final/train/loss") if value is None else value
