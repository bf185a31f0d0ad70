"""An MLflow store, through MlflowClient only: the fluent API keeps global state that leaks between runs."""

from __future__ import annotations

import json
import logging
import math
import os
import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import (
    Dataset,
    DatasetInput,
    FileInfo,
    InputTag,
    LoggedModelOutput,
    LoggedModelStatus,
    Metric,
    Param,
    Run,
    RunTag,
    ViewType,
)
from mlflow.exceptions import MlflowException
from mlflow.models import Model

from primer.errors import RunError
from primer.tracking.database import client_of, write_rows
from primer.tracking.journal import Record
from primer.tracking.tags import DRIFT, ID, NONFINITE, SHIPPED
from primer.tracking.text import text_of
from primer.tracking.uri import SQLITE, sqlite_path
from primer.yaml_text import from_yaml

LARGEST_FETCHED = 1_000_000  # chosen, in bytes: config.yaml and environment.json have some 4 kB
MAX_METRICS, MAX_PARAMS, MAX_TAGS = 900, 100, 100  # of one request, 1000 in all: mlflow.utils.validation
MIN_ROWS = 50  # chosen: points that MLflow's client takes as long for as for all else
# MLflow's own seven retries hold a call for four minutes (measured); whoever calls this store tries again
SETTINGS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}


class Store:
    """One MLflow store, opened; a SQLite file is created where there is none."""

    def __init__(self, uri: str) -> None:
        for noisy in ("mlflow.store.db.utils", "alembic"):
            logging.getLogger(noisy).setLevel(logging.CRITICAL)  # what they say is raised, too
        for name, value in SETTINGS.items():
            os.environ.setdefault(name, value)
        self.uri = uri
        self._file = sqlite_path(uri) if uri.startswith(SQLITE) else None
        self.client = client_of(self._file) if self._file else MlflowClient(uri)

    def experiment(self, name: str) -> str:
        """The id of an experiment, created when it is not there."""
        found = self.client.get_experiment_by_name(name)
        if found is None:
            try:
                return str(self.client.create_experiment(name, artifact_location=self._artifacts(name)))
            except MlflowException:  # somebody else was faster
                found = self.client.get_experiment_by_name(name)
                if found is None:
                    raise
        elif found.lifecycle_stage == "deleted":
            raise RunError(f"experiment {name!r} is deleted; restore it, or set tracking.experiment")
        return str(found.experiment_id)

    def find_experiment(self, name: str) -> str | None:
        """The id of an experiment; None where there is none of that name."""
        found = self.client.get_experiment_by_name(name)
        return str(found.experiment_id) if found else None

    def newest_experiment(self) -> str:
        """The id of the experiment that was changed last."""
        (newest,) = self.client.search_experiments(max_results=1, order_by=["last_update_time DESC"])
        return str(newest.experiment_id)

    def _artifacts(self, experiment: str) -> str | None:
        if not self._file:
            return None  # the server knows where
        root = self._file.parent / "mlartifacts"
        return (root / re.sub(r"[^\w-]+", "_", experiment)).as_uri()

    def find_runs(self, experiment_id: str, key: str) -> list[Run]:
        """The runs that a journal with that id is shipped to: one, or none.

        More than one where a server answered a request to create it so late that it was asked again.
        """

        def rank(run: Run) -> tuple[bool, bool, str]:
            return run.info.lifecycle_stage == "deleted", SHIPPED not in run.data.tags, run.info.run_id

        found = self.client.search_runs([experiment_id], f"tags.`{ID}` = '{key}'", ViewType.ALL)
        return sorted(found, key=rank)

    def run(self, run_id: str) -> Run | None:
        """A run; None where there is none of that id."""
        try:
            return self.client.get_run(run_id)
        except MlflowException as error:
            if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                return None
            raise

    def tags(self, run_id: str) -> dict[str, str] | None:
        """The tags of a run; None where there is no such run."""
        run = self.run(run_id)
        return dict(run.data.tags) if run else None

    def points(self, run_id: str) -> dict[tuple[str, int], float]:
        """Every point of a run: (metric, step) -> value."""
        metrics = self.client.get_run(run_id).data.metrics
        histories = {key: self.client.get_metric_history(run_id, key) for key in metrics}
        return {(key, point.step): point.value for key, points in histories.items() for point in points}

    def digest(self, run_id: str) -> str | None:
        """The digest of the data that a run trained on."""
        inputs = self.client.get_run(run_id).inputs
        return str(inputs.dataset_inputs[0].dataset.digest) if inputs and inputs.dataset_inputs else None

    def experiment_of(self, run_id: str) -> str:
        """The name of a run's experiment."""
        experiment_id = self.client.get_run(run_id).info.experiment_id
        return str(self.client.get_experiment(experiment_id).name)

    def fetch(self, run_id: str, artifact: str, folder: Path) -> Path | None:
        """Copy an artifact of a run into a folder; None where there is none, or one of no sensible size."""
        listed = self.client.list_artifacts(run_id)
        sizes = {file.path: file.file_size or 0 for file in listed if not file.is_dir}
        if sizes.get(artifact, LARGEST_FETCHED) >= LARGEST_FETCHED:
            return None
        return Path(self.client.download_artifacts(run_id, artifact, str(folder)))

    def create_run(self, experiment_id: str, header: Record, extra_tags: dict[str, str]) -> str:
        """Create the run that a journal's first record describes; returns its id."""
        tags = header["tags"] | extra_tags | {ID: header["id"]}
        run = self.client.create_run(
            experiment_id, start_time=header["time"], run_name=header["name"], tags=tags
        )
        return str(run.info.run_id)

    def delete_doubles(self, experiment_id: str, key: str) -> None:
        """Delete all but the first of the runs that a journal was shipped to; a file answers at once."""
        if self._file:
            return
        for run in self.find_runs(experiment_id, key)[1:]:
            if run.info.lifecycle_stage == "active":
                self.client.delete_run(run.info.run_id)

    def log_params(self, run_id: str, params: dict[str, Any], *, is_new: bool = False) -> None:
        """Log params, whole, whatever their number; one that is logged with another value becomes a tag.

        Of a run that is new here nothing is asked, in this method and in those below.
        """
        if not params:
            return
        logged = {} if is_new else self.client.get_run(run_id).data.params
        texts = {key: text_of(value) for key, value in params.items()}
        drift = {
            f"{DRIFT}{key}": f"{logged[key]} -> {text}"
            for key, text in texts.items()
            if logged.get(key, text) != text
        }
        new = [Param(key, text) for key, text in texts.items() if key not in logged]
        for batch in _chunks(new, MAX_PARAMS):
            self.client.log_batch(run_id, params=batch)
        if drift:
            self.log(run_id, [], drift)

    def log(self, run_id: str, records: list[Record], tags: dict[str, str]) -> None:
        """Log the points of some records, and with the last of them tags; a point logged twice is kept once.

        MLflow would keep an infinite value as 1.797e308; a tag says where the first is.
        """
        metrics = [
            Metric(record["key"], value, time, step)
            for record in records
            for step, time, value in zip(record["steps"], record["times"], record["values"], strict=True)
        ]
        nonfinite = next((metric for metric in metrics if not math.isfinite(metric.value)), None)
        if nonfinite:
            tags = tags | {NONFINITE: f"{nonfinite.key} is {nonfinite.value} at step {nonfinite.step}"}
        metrics = [metric for metric in metrics if math.isfinite(metric.value)]
        if self._file and len(metrics) >= MIN_ROWS:
            metrics = write_rows(self._file, run_id, metrics)
        *first_tags, last_tags = list(_chunks([RunTag(*tag) for tag in tags.items()], MAX_TAGS)) or [[]]
        *first_metrics, last_metrics = list(_chunks(metrics, MAX_METRICS)) or [[]]
        for some in first_metrics:
            self.client.log_batch(run_id, metrics=some)
        for several in first_tags:
            self.client.log_batch(run_id, tags=several)
        self.client.log_batch(run_id, metrics=last_metrics, tags=last_tags)

    def log_dataset(self, run_id: str, record: Record, *, is_new: bool = False) -> None:
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
        if not is_new and self.digest(run_id) == record["digest"]:
            return  # of an earlier attempt; MLflow raises at a second time
        inputs = [DatasetInput(dataset, [context])]
        try:
            self.client.log_inputs(run_id, datasets=inputs)
        except MlflowException:  # another run made the same dataset known in this moment
            self.client.log_inputs(run_id, datasets=inputs)

    def log_model(
        self, run_id: str, experiment_id: str, folder: Path, step: int, *, is_new: bool = False
    ) -> None:
        """Log a saved model as the run's, ready to be loaded and served."""
        mine = f"source_run_id = '{run_id}'"
        found = [] if is_new else self.client.search_logged_models([experiment_id], mine, max_results=1)
        create = partial(self.client.create_logged_model, experiment_id, name="model", source_run_id=run_id)
        model = found[0] if found else create()
        saved = Model.from_dict(from_yaml((folder / "MLmodel").read_text()))
        saved.run_id, saved.model_id = run_id, model.model_id
        saved.save(folder / "MLmodel")
        self.client.log_model_artifacts(model.model_id, str(folder))
        if not self._file:
            _check_model(folder, partial(self.client.list_logged_model_artifacts, model.model_id))
        self.client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
        outputs = None if is_new else self.client.get_run(run_id).outputs
        if model.model_id not in [output.model_id for output in (outputs.model_outputs if outputs else ())]:
            self.client.log_outputs(run_id, models=[LoggedModelOutput(model.model_id, step)])

    def log_artifacts(self, run_id: str, paths: list[Path]) -> None:
        """Copy files to the run's artifacts, and see that they are there.

        A proxy that answers an upload with a page of its own looks like success to MLflow's client.
        """
        for path in paths:
            self.client.log_artifact(run_id, str(path))
        if not self._file:
            _check_arrived({path.name: path for path in paths}, self.client.list_artifacts(run_id))

    def reopen(self, run_id: str) -> None:
        """Say that a run that had ended goes on."""
        self.client.update_run(run_id, status="RUNNING")

    def end(self, run_id: str, status: str, time_ms: int) -> None:
        """Say how the run ended."""
        self.client.set_terminated(run_id, status=status, end_time=time_ms)


def _check_arrived(sent: dict[str, Path], arrived: Iterable[FileInfo]) -> None:
    sizes = {file.path: file.file_size or 0 for file in arrived}
    for name, path in sent.items():
        if sizes.get(name) != path.stat().st_size:
            raise RunError(f"{name} did not arrive whole")


def _check_model(folder: Path, listed: Callable[[str | None], Iterable[FileInfo]]) -> None:
    for place in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
        name = None if place == folder else place.relative_to(folder).as_posix()
        files = {path.relative_to(folder).as_posix(): path for path in place.iterdir() if path.is_file()}
        _check_arrived(files, listed(name))


def _chunks(items: list[Any], size: int) -> Iterator[list[Any]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
