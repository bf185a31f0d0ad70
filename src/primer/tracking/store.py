"""An MLflow store, through MlflowClient only: the fluent API keeps global state that leaks between runs."""

from __future__ import annotations

import json
import logging
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock
from mlflow import MlflowClient
from mlflow.entities import (
    Dataset,
    DatasetInput,
    InputTag,
    LoggedModelOutput,
    LoggedModelStatus,
    Metric,
    Param,
    RunTag,
)
from mlflow.exceptions import MlflowException
from mlflow.models import Model

from primer.tracking.journal import Record
from primer.tracking.uri import SQLITE, sqlite_path

MAX_METRICS, MAX_PARAMS = 1000, 100  # of one request: mlflow.utils.validation


class Store:
    """One MLflow store, opened; created and migrated under a lock when it is a SQLite file."""

    def __init__(self, uri: str) -> None:
        for noisy in ("mlflow.store.db.utils", "alembic"):
            logging.getLogger(noisy).setLevel(logging.WARNING)
        self.uri = uri
        if uri.startswith(SQLITE):
            path = sqlite_path(uri)
            path.parent.mkdir(parents=True, exist_ok=True)
            # two first runs at once would both migrate: github.com/daizutabi/hydraflow/issues/245
            with FileLock(f"{path}.lock"):
                self.client = MlflowClient(uri)
                self.client.search_experiments(max_results=1)  # touches, and so creates, the tables
                _use_wal(path)
        else:
            self.client = MlflowClient(uri)

    def experiment(self, name: str) -> str:
        """The id of an experiment, created when it is not there."""
        found = self.client.get_experiment_by_name(name)
        if found is not None:
            return str(found.experiment_id)
        try:
            return str(self.client.create_experiment(name, artifact_location=self._artifacts(name)))
        except MlflowException:  # somebody else was faster
            found = self.client.get_experiment_by_name(name)
            if found is None:
                raise
            return str(found.experiment_id)

    def newest_experiment(self) -> str:
        """The id of the experiment that was changed last."""
        (newest,) = self.client.search_experiments(max_results=1, order_by=["last_update_time DESC"])
        return str(newest.experiment_id)

    def _artifacts(self, experiment: str) -> str | None:
        if not self.uri.startswith(SQLITE):
            return None  # the server knows where
        root = sqlite_path(self.uri).parent / "mlartifacts"
        return (root / re.sub(r"[^\w-]+", "_", experiment)).as_uri()

    def create_run(self, experiment_id: str, header: Record) -> str:
        """Create the run that a journal's first record describes; returns its id."""
        run = self.client.create_run(
            experiment_id, start_time=header["time"], run_name=header["name"], tags=header["tags"]
        )
        run_id = str(run.info.run_id)
        self.log_params(run_id, header["params"])
        return run_id

    def log_params(self, run_id: str, params: dict[str, Any]) -> None:
        """Log params, whole, whatever their number."""
        entities = [Param(key, _text(value)) for key, value in params.items()]
        for batch in _chunks(entities, MAX_PARAMS):
            self.client.log_batch(run_id, params=batch)

    def log_points(self, run_id: str, records: list[Record]) -> None:
        """Log the points of some records; a point logged twice is kept once."""
        metrics = [
            Metric(record["key"], value, time, step)
            for record in records
            for step, time, value in zip(record["steps"], record["times"], record["values"], strict=True)
        ]
        for batch in _chunks(metrics, MAX_METRICS):
            self.client.log_batch(run_id, metrics=batch)

    def log_tags(self, run_id: str, tags: dict[str, str]) -> None:
        """Set tags."""
        self.client.log_batch(run_id, tags=[RunTag(key, value) for key, value in tags.items()])

    def log_dataset(self, run_id: str, record: Record) -> None:
        """Log what the run trained on, from the journal's `data` record."""
        columns = [{"name": name} for name in record["features"]]
        dataset = Dataset(
            name=record["name"],
            digest=record["digest"],
            source_type="local",
            source=json.dumps({"uri": record["source"]}),
            schema=json.dumps({"features": columns, "target": record["target"]})[:65_535],
            profile=json.dumps({"num_rows": record["num_rows"], "task": record["task"]}),
        )
        context = InputTag("mlflow.data.context", "training")
        self.client.log_inputs(run_id, datasets=[DatasetInput(dataset, [context])])

    def log_model(self, run_id: str, experiment_id: str, folder: Path, step: int) -> None:
        """Log a saved model as the run's, ready to be loaded and served."""
        model = self.client.create_logged_model(experiment_id, name="model", source_run_id=run_id)
        saved = Model.load(folder)
        saved.run_id, saved.model_id = run_id, model.model_id
        saved.save(folder / "MLmodel")
        self.client.log_model_artifacts(model.model_id, str(folder))
        self.client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
        self.client.log_outputs(run_id, models=[LoggedModelOutput(model.model_id, step)])

    def log_artifact(self, run_id: str, path: Path) -> None:
        """Copy a file to the run's artifacts."""
        self.client.log_artifact(run_id, str(path))

    def end(self, run_id: str, status: str, time_ms: int) -> None:
        """Say how the run ended."""
        self.client.set_terminated(run_id, status=status, end_time=time_ms)


def _use_wal(path: Path) -> None:
    """Let readers and one writer work at once; MLflow itself leaves SQLite's default."""
    connection = sqlite3.connect(path, timeout=20)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
    finally:
        connection.close()


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _chunks(items: list[Any], size: int) -> Iterator[list[Any]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
