"""The courier: ships a run's journal to MLflow while it grows, off the training process.

It holds no state but its place in the journal, so a journal can be shipped again from the start: MLflow
keeps a point that it already has once.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from primer.tracking.journal import Follower, Record
from primer.tracking.uri import tracking_uri, without_password

if TYPE_CHECKING:
    from primer.tracking.store import Store

SHIP_EVERY_S = 0.5  # chosen: MLflow's page refreshes no faster
ARTIFACTS = ("config.yaml", "environment.json", "curves.parquet", "curves.png")
RECEIPT = "mlflow.json"


class Courier(threading.Thread):
    """Ships one run folder, until its journal ends or `abandon` is called.

    The store is touched, and so created, once the worker has said that its parts fit and training starts.
    """

    def __init__(self, folder: Path, tracking: dict[str, Any]) -> None:
        super().__init__(name="courier", daemon=True)
        self.run_id: str | None = None
        self._folder = folder
        self._tracking = tracking
        self._wake = threading.Event()
        self._is_abandoned = False

    def finish(self, timeout_s: float | None = None) -> str | None:
        """Wait until everything up to the journal's `end` is shipped; returns the run id, if there is one."""
        self._wake.set()
        self.join(timeout_s)
        if self.is_alive():
            print(f"primer: not all of it is in MLflow yet; {self._folder} holds it", file=sys.stderr)
        return self.run_id

    def abandon(self) -> None:
        """Create nothing: the question was wrong."""
        self._is_abandoned = True
        self._wake.set()
        self.join()

    def run(self) -> None:
        try:
            self._ship()
        except Exception as error:  # a run is not lost because its record could not be sent
            reason = without_password(str(error) or type(error).__name__).splitlines()[0]
            print(f"primer: not all of it is in MLflow: {reason}; {self._folder} holds it", file=sys.stderr)

    def _ship(self) -> None:
        follower = Follower(self._folder)
        records: list[Record] = []
        self._read_until("data", follower, records)
        from primer.tracking.store import Store  # 1.5 s, while the worker imports torch

        self._read_until("start", follower, records)
        if self._is_abandoned:
            return
        run = TrackedRun(Store(tracking_uri(self._tracking["uri"])), self._folder)
        self.run_id = run.create(records[0], self._tracking["experiment"])
        while True:
            run.ship(records)
            if any(record["kind"] == "end" for record in records):
                return
            self._wake.wait(SHIP_EVERY_S)
            records = list(follower.new())

    def _read_until(self, kind: str, follower: Follower, records: list[Record]) -> None:
        """Read on until there is a record of that kind, or of the run's end."""
        while not self._is_abandoned and not any(record["kind"] in (kind, "end") for record in records):
            self._wake.wait(SHIP_EVERY_S)
            records += follower.new()


class TrackedRun:
    """One run in an MLflow store, and what each kind of journal record means for it."""

    def __init__(self, store: Store, folder: Path) -> None:
        self._store = store
        self._folder = folder
        self._run_id = self._experiment_id = ""
        self._last_step = 0

    def create(self, header: Record, experiment: str) -> str:
        """Create the run that a journal's first record describes; returns its id."""
        self._experiment_id = self._store.experiment(experiment)
        self._run_id = self._store.create_run(self._experiment_id, header)
        receipt = {"run_id": self._run_id, "experiment_id": self._experiment_id}
        (self._folder / RECEIPT).write_text(json.dumps(receipt))
        return self._run_id

    def ship(self, records: list[Record]) -> None:
        """Bring records to the store, in their order but for points, which go together."""
        points = [record for record in records if record["kind"] == "points"]
        if points:
            self._last_step = points[-1]["steps"][-1]
            self._store.log_points(self._run_id, points)
        for record in records:
            if record["kind"] == "data":
                self._store.log_dataset(self._run_id, record)
                self._store.log_params(self._run_id, {"criterion": record["criterion"]})
            elif record["kind"] == "start":
                facts = {
                    f"primer.{name}": str(record[name]) for name in ("num_params", "device", "num_threads")
                }
                self._store.log_tags(self._run_id, facts)
            elif record["kind"] == "warning":
                self._store.log_tags(self._run_id, {"primer.warning": record["message"]})
            elif record["kind"] == "end":
                self._end(record)

    def _end(self, record: Record) -> None:
        artifacts = [self._folder / name for name in ARTIFACTS]
        if record["error"]:
            self._store.log_tags(self._run_id, {"primer.error": record["error"]})
            artifacts.append(self._folder / "worker.log")
        for path in artifacts:
            if path.exists():
                self._store.log_artifact(self._run_id, path)
        model = self._folder / "model"
        if (model / "MLmodel").exists():
            self._store.log_model(self._run_id, self._experiment_id, model, self._last_step)
        self._store.end(self._run_id, record["status"], time.time_ns() // 1_000_000)
