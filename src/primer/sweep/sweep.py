"""The controller of a sweep: jobs in slots, one courier for all, one table."""

from __future__ import annotations

import math
import sys
import threading
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from primer.direction import Watched, rank, watched
from primer.errors import CantFuse, RunError
from primer.redact import redacted_text
from primer.result import RunResult
from primer.stopping import StopSignal
from primer.sweep.backend import Attempt, Backend, Need
from primer.sweep.executor import Slot, work
from primer.sweep.plan import Job
from primer.sweep.stop import JobStop
from primer.sweep.tiles import Tile
from primer.tracking.courier import Courier
from primer.tracking.journal import Record
from primer.tracking.shipment import Shipment
from primer.tracking.trouble import reason_of
from primer.tracking.uri import uri_of

if TYPE_CHECKING:
    from primer.config.multirun import Multirun
    from primer.sweep.searching import Searching
    from primer.sweep.table import SweepTable

LOCAL_UI = "http://127.0.0.1:5000"  # where `primer ui` serves


class _Told:
    """The table, Hydra and the search, as they hear of jobs: of each its beginning once, and its end."""

    def __init__(self, table: SweepTable, asked: Multirun, searching: Searching | None) -> None:
        self.table, self._asked, self._searching = table, asked, searching
        self._begun: dict[int, Any] = {}

    def begin(self, job: Job) -> None:
        if job.number not in self._begun:  # a retry is the same job
            self.table.begin(job)
            try:
                self._begun[job.number] = self._asked.begin_job(job.number, job.config, job.folder)
            except OSError as error:
                raise RunError(f"{job.folder}: can't be begun: {error.strerror}") from error

    def hear(self, job: Job, records: Iterable[Record], stop: JobStop) -> None:
        new = list(records)
        self.table.hear(job.number, new)
        if self._searching:
            self._searching.hear(job, new, stop)

    def end(self, job: Job, result: RunResult) -> None:
        self.table.end(job, result, objective(result))
        if job.number not in self._begun:
            return
        if self._searching:
            self._searching.end(job, result)
        error = None if result.status == "FINISHED" else RunError(f"{result.status}: {result.error}")
        self._asked.end_job(self._begun[job.number], objective(result)[1], error)


class Sweep:
    """One sweep at work in its folder, which is held."""

    def __init__(self, folder: Path, backend: Backend, asked: Multirun, stop: StopSignal) -> None:
        self.folder, self.backend, self.stop = folder, backend, stop
        self._asked, self._settings = asked, asked.settings
        self._couriers: dict[str, Courier] = {}
        self._shipment: Shipment | None = None
        self._lock = threading.Lock()

    def run(
        self,
        tiles: Iterable[Tile],
        num_jobs: int,
        num_tiles: int,
        need: Need,
        searching: Searching | None = None,
    ) -> dict[int, RunResult]:
        """Run jobs and return what those came to that were begun, by number.

        The next tile is asked for when a slot is free.
        """
        from primer.sweep.table import SweepTable  # here, since rich is for what is drawn

        slots = self.backend.slots(num_tiles, need)
        is_strict = self._settings["on_failure"] == "stop"
        with SweepTable(num_jobs, len(slots)) as table:
            run = partial(self._run, told=_Told(table, self._asked, searching))
            return work(iter(tiles), slots, run, self.stop, table.refresh, stops_at_failure=is_strict)

    def _run(self, tile: Tile, slot: Slot, told: _Told) -> dict[int, RunResult]:
        """Run jobs as one; where that can't be, or a failed one is to be tried again, alone."""
        if len(tile.jobs) == 1:
            return self._run_alone(tile.jobs[0], slot, told)
        names = f"{tile.jobs[0].config['name']} and {len(tile.jobs) - 1} more"
        try:
            found = self.backend.run_tile(self._attempt(tile.jobs, slot, told))
        except CantFuse as reason:
            told.table.say(f"plan    alone: {names}: {reason}")
            found = {}
        else:
            if num_left := len(tile.jobs) - len(found):
                told.table.say(f"plan    alone: {num_left} runs: the process of {names} failed")
        for job in tile.jobs:
            result = found.get(job.number)
            is_over = result is not None and (result.status == "FINISHED" or not self._settings["retries"])
            if result is not None and (is_over or self.stop.received):
                told.end(job, result)
            elif not self.stop.received:
                found |= self._run_alone(job, slot, told, num_tries=int(result is not None))
        return found

    def _run_alone(self, job: Job, slot: Slot, told: _Told, num_tries: int = 0) -> dict[int, RunResult]:
        retries_left = self._settings["retries"] - num_tries
        while (result := self.backend.run(self._attempt((job,), slot, told))) is not None:
            if result.status == "FINISHED" or self.stop.received or retries_left <= 0:
                told.end(job, result)
                return {job.number: result}
            retries_left -= 1
        return {}

    def _attempt(self, jobs: tuple[Job, ...], slot: Slot, told: _Told) -> Attempt:
        """Jobs that train together have the time of as many jobs one after the other."""
        minutes = self._settings["timeout_minutes"]
        stop = JobStop(self.stop, None if minutes is None else minutes * len(jobs))
        courier, hear = self.courier(jobs[0].config), partial(told.hear, stop=stop)
        return Attempt(self.folder, jobs, slot, stop, self._asked.environment, courier, told.begin, hear)

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

    @property
    def is_tracked(self) -> bool:
        """Whether it has a run of its own in MLflow."""
        return self._shipment is not None

    def leave_view(
        self, name: str, params: list[str], metrics: list[str]
    ) -> tuple[str, str] | tuple[None, None]:
        """Leave a saved view of the jobs in MLflow; its experiment and its address, if it could be left."""
        if self._shipment is None or self._shipment.run_id is None:
            return None, None
        run_id, experiment_id = self._shipment.run_id, self._shipment.experiment_id
        uri = next(iter(self._couriers))
        try:
            from primer.tracking.view import save_view, view_link

            client = self._couriers[uri].store.open().client
            key = save_view(client, experiment_id, name=name, sweep=run_id, params=params, metrics=metrics)
        except Exception as error:  # MLflow's own format, and a convenience: no sweep fails of it
            print(f"primer: no view was left in MLflow: {reason_of(error)}", file=sys.stderr)
            return None, None
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
            self._shipment.finish(end)
        arrived = [courier.finish(self.stop, is_hurried=is_hurried) for courier in self._couriers.values()]
        return all(arrived)


def best_of(results: Iterable[RunResult | None], metric: str) -> tuple[RunResult, float] | None:
    """The job whose objective is best, of those that finished and were not stopped as hopeless."""
    found = [
        (result, value)
        for result in results
        if result is not None and result.outcome == "FINISHED"
        for name, value in [objective(result)]
        if name == metric and value is not None and not math.isnan(value)
    ]
    return min(found, key=lambda pair: rank(metric, pair[1]), default=None)


def metric_of(results: Iterable[RunResult | None], monitor: str) -> str:
    """The metric that jobs are told by: what they watched, else the training loss."""
    found = {name for name, value in map(objective, filter(None, results)) if value is not None}
    return found.pop() if len(found) == 1 else monitor


def cell_of(result: RunResult | None, metric: str) -> str:
    """A job's number in a column of that metric; named, where it is another one's."""
    name, value = objective(result) if result else (metric, None)
    return "" if value is None else f"{value:.5g}" if name == metric else f"{name} {value:.5g}"


def objective(result: RunResult) -> Watched:
    """What a search makes small or large, of a job that has come to its end, and of which metric that is."""
    ends = {key: value for key, value in result.metrics.items() if key.startswith(("best/", "final/"))}
    return watched(ends, result.config["monitor"])


def value_of(result: RunResult) -> float:
    """What a sweeper is told of a job: its objective; NaN for one that failed, so that a search goes on."""
    value = objective(result)[1]
    return math.nan if value is None or result.status != "FINISHED" else value
