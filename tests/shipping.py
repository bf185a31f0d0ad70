"""Runs to ship: made quickly out of a trained one, and compared with what MLflow has of them."""

from __future__ import annotations

import copy
import math
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from faulty_server import points_of
from mlflow import MlflowClient
from mlflow.entities import Run
from runs import begun

from primer.tracking.journal import Journal, Record, read
from primer.tracking.shipment import ARTIFACTS, Shipment

STEPS = 400
TRAINING = ("data=iris", "max_epochs=null", f"max_steps={STEPS}", "checkpoint_every_n_steps=50")
FULL = ("max_steps=20000", "checkpoint_every_n_steps=100")
Points = dict[tuple[str, int], tuple[int, float]]  # (key, step) -> time, value


def again(trained: Path, folder: Path, *, has_model: bool = True) -> list[Record]:
    """Make `folder` another run of the same points, begun only; the records that are to follow."""
    without = ("journal", "mlflow.json", *(() if has_model else ("model",)))
    shutil.copytree(trained, folder, ignore=lambda _, names: [name for name in names if name in without])
    header, *rest = copy.deepcopy(read(trained))
    header |= {"id": folder.name, "experiment": folder.name}
    write(folder, [header])
    return rest


def write(folder: Path, records: list[Record]) -> None:
    """Append records to a journal."""
    with Journal(folder) as journal:
        for record in records:
            journal.write(**record)


def finite_points(folder: Path) -> Points:
    """The points of a journal, each once."""
    found: Points = {}
    for r in read(folder):
        if r["kind"] == "points":
            for step, at, value in zip(r["steps"], r["times"], r["values"], strict=True):
                assert (r["key"], step) not in found
                if math.isfinite(value):
                    found[r["key"], step] = (at, value)
    return found


def the_run(uri: str, experiment: str) -> Run:
    """The only run of an experiment."""
    client = MlflowClient(uri)
    found = client.get_experiment_by_name(experiment)
    assert found is not None
    (run,) = client.search_runs([found.experiment_id])
    return run


def check_whole(
    db_uri: str, uri: str, folder: Path, experiment: str | None = None, status: str = "FINISHED"
) -> Run:
    """All of a run folder is in MLflow, once."""
    run = the_run(uri, experiment or folder.name)
    assert run.info.status == status
    points = finite_points(folder)
    stored: Points = {}
    for key in {key for key, _ in points}:
        for step, at, value in points_of(db_uri, run.info.run_id, key):
            assert (key, step) not in stored, f"{key} at step {step} is there twice"
            stored[key, step] = (at, value)
    assert stored == points
    header = read(folder)[0]
    assert header["params"].keys() | {"criterion"} == run.data.params.keys()
    assert run.inputs.dataset_inputs[0].dataset.name == "iris"
    client = MlflowClient(uri)
    artifacts = {file.path: file.file_size for file in client.list_artifacts(run.info.run_id)}
    kept = {name: (folder / name).stat().st_size for name in ARTIFACTS if (folder / name).exists()}
    assert {name: size for name, size in artifacts.items() if name in kept} == kept
    if (folder / "model" / "MLmodel").exists():
        mine = f"source_run_id = '{run.info.run_id}'"
        (model,) = client.search_logged_models([run.info.experiment_id], mine)
        assert model.status.value == "READY"
        there = {file.path for file in client.list_logged_model_artifacts(model.model_id)}
        assert there >= {"MLmodel", "data", "serving", "requirements.txt"}
    return run


def until(is_so: Callable[[], Any], timeout: float = 120) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + timeout
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def shipped(folder: Path, uri: str, tries: int = 1) -> int:
    """Ship a run folder, as `primer sync` does again and again; how many tries failed."""
    for failed in range(tries):
        try:
            Shipment(folder, uri).advance()
            return failed
        except Exception:
            assert failed < tries - 1
    raise AssertionError


def started(cwd: Path, *overrides: str, first: str = "true") -> subprocess.Popen[str]:
    """A run of the command line that goes on."""
    return begun(*TRAINING, *overrides, cwd=cwd, first=first)
