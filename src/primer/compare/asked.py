"""Which runs are meant: by folder, id, sweep or filter; in the folders of this directory, or in MLflow."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from primer.compare.runs import TrackedRun, run_in, run_of
from primer.compare.settings import number_of
from primer.config.wording import shown
from primer.errors import UsageError
from primer.finding import find_folder, is_there, jobs_of, run_folders, sweep_folders
from primer.folder import is_sweep
from primer.tracking.shipment import id_of
from primer.tracking.text import text_of
from primer.tracking.trouble import asking
from primer.tracking.uri import tracking_uri

KINDS = ("params", "param", "metrics", "metric", "tags", "tag", "attributes", "dataset", "datasets")
ATTRIBUTES = ("status", "run_name", "start_time", "end_time", "run_id")
CONDITION = re.compile(
    r"(?P<key>[\w./`-]+)\s*(?P<operator>!=|>=|<=|=|>|<|\bI?LIKE\b|\bIN\b)\s*(?P<number>-?[\d.]+(?:e-?\d+)?\b)?",
    re.I,
)


def asked_runs(
    runs: Sequence[str], *, sweep: str | None, where: str | None, experiment: str | None
) -> list[TrackedRun]:
    """The runs that are named, those of the sweeps that are, and those of the store that a filter lets pass.

    Raises UsageError where there is none.
    """
    if where is not None or experiment is not None:
        if runs or sweep:
            raise UsageError("--filter and --experiment look through MLflow; expected no RUN and no --sweep")
        return runs_in_store(where, experiment)
    named = [*runs, *([sweep_called(sweep)] if sweep else [])]
    found = {run.run_id or str(run.folder): run for name in named for run in _runs_of(name)}
    return list(found.values())


def sweep_called(name: str) -> str:
    """The id of a sweep in MLflow, or its folder; of `last` the newest one of this directory."""
    if name != "last":
        return name
    folders = sweep_folders()
    if not folders:
        raise UsageError("there is no sweep below outputs; expected runs, --sweep ID or --filter")
    return id_of(folders[-1]) or str(folders[-1])


def run_called(name: str) -> TrackedRun:
    """One run, or a sweep's own: by its folder, its id in MLflow, or `last`."""
    folder = _folder_here(name)
    return run_in(folder) if folder else _of_store(name, with_jobs=False)[0]


def jobs_called(sweep: str) -> list[TrackedRun]:
    """The jobs of a sweep, in the order they were begun; raises UsageError for a single run."""
    name = sweep_called(sweep)
    found = _runs_of(name)
    folder = _folder_here(name)
    if (folder and not is_sweep(folder)) or (not folder and found[0].run_id == name):
        raise UsageError(f"{sweep}: is a single run; expected a sweep, or `primer show {sweep}`")
    return found


def _runs_of(name: str) -> list[TrackedRun]:
    folder = _folder_here(name)
    if folder is None:
        return _of_store(name)
    if not is_sweep(folder):
        return [run_in(folder)]
    jobs = [run_in(job) for job in sorted(jobs_of(folder), key=_number)]
    if not jobs:
        raise UsageError(f"{name}: is a sweep of which no job was begun")
    return jobs


def _number(job: Path) -> tuple[int, str]:
    return (int(job.name) if job.name.isdigit() else 0, str(job))


def _folder_here(name: str) -> Path | None:
    if name == "last" or is_there(name):
        return find_folder(name)
    return next((folder for folder in run_folders() if id_of(folder) == name), None)


def _of_store(run_id: str, *, with_jobs: bool = True) -> list[TrackedRun]:
    """A run of the store, or the jobs of a sweep."""
    from primer.tracking import reading

    uri = tracking_uri(None)
    with asking(uri):
        store = reading.open_existing(uri)
        run = store.run(run_id)
        if run is None:
            raise UsageError(
                f"{shown(run_id)}: no run folder, and no run of that id in outputs or in the store"
            )
        return [run_of(one, store) for one in (with_jobs and reading.jobs_of(store, run)) or [run]]


def runs_in_store(where: str | None, experiment: str | None, limit: int | None = None) -> list[TrackedRun]:
    """The runs of an experiment of the store, the newest one by default, newest first; no sweep's own."""
    from primer.tracking import reading

    uri = tracking_uri(None)
    with asking(uri):
        store = reading.open_existing(uri)
        experiment_id = store.find_experiment(experiment) if experiment else store.newest_experiment()
        if experiment_id is None:
            raise UsageError(f"--experiment {experiment}: the store has none of that name")
        found = reading.search(store, experiment_id, mlflow_filter(where or ""), limit)
        runs = [run_of(run, store) for run in found]
    if not runs:
        asked = f"experiment {experiment}" if experiment else "the newest experiment (or --experiment NAME)"
        raise UsageError(f"--filter {where}: no run of {asked} passes it" if where else f"{asked} has no run")
    return runs


def _as_kept(number: str) -> str:
    """A number as a param is written, however it was typed."""
    value = None if re.fullmatch(r"-?\d+", number) else number_of(number)
    return number if value is None else text_of(value)


def mlflow_filter(text: str) -> str:
    """A filter in MLflow's words, from one that may leave out what kind of thing a key is.

    >>> mlflow_filter("activation = 'relu' and val/loss < 0.5 and optimizer.lr = 1e-1")
    "params.`activation` = 'relu' and metrics.`val/loss` < 0.5 and params.`optimizer.lr` = '0.1'"
    """

    def spelled(found: re.Match[str]) -> str:
        key, number = found["key"].replace("`", ""), found["number"]
        if key.partition(".")[0] in ("metric", "metrics") and "/" in key:
            key = key.partition(".")[2]
        if key.partition(".")[0] in KINDS:
            return found[0]
        if "/" in key:
            return f"metrics.`{key}` {found['operator']} {number or ''}"
        if key.lower() not in ATTRIBUTES and found["operator"] in ("<", ">", "<=", ">="):
            raise UsageError(
                f"--filter: {key} {found['operator']} ...: MLflow compares params as text; expected = or !="
            )
        if key.lower() in ATTRIBUTES:
            return f"attributes.{key.lower()} {found['operator']} {number or ''}"
        return f"params.`{key}` {found['operator']} " + (f"'{_as_kept(number)}'" if number else "")

    parts = re.split(r"('[^']*'|\"[^\"]*\")", text)
    return "".join(part if part[:1] in ("'", '"') else CONDITION.sub(spelled, part) for part in parts)
