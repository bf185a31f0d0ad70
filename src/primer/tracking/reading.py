"""Reading what a store has of many runs."""

from __future__ import annotations

from collections.abc import Iterable

from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from primer.errors import UsageError, first_line
from primer.tracking.curves import History
from primer.tracking.store import Store
from primer.tracking.tags import SWEEP
from primer.tracking.uri import SQLITE, sqlite_path

StoredRun = Run


def open_existing(uri: str) -> Store:
    """The store at a uri; raises UsageError where there is none, rather than to make an empty one."""
    if uri.startswith(SQLITE) and not sqlite_path(uri).exists():
        raise UsageError(
            f"no runs here yet: {sqlite_path(uri)} does not exist; train one with `primer train`"
        )
    return Store(uri)


def search(store: Store, experiment_id: str, where: str = "", limit: int | None = None) -> list[Run]:
    """The runs of an experiment that an MLflow filter lets pass, newest first; no sweep's own.

    Raises UsageError for a filter that MLflow does not understand.
    """
    found: list[Run] = []
    token = None
    while limit is None or len(found) < limit:
        try:
            page = store.client.search_runs([experiment_id], where, page_token=token)
        except MlflowException as error:
            if error.error_code != "INVALID_PARAMETER_VALUE":
                raise
            raise UsageError(f"--filter {where}: {first_line(error)}") from None
        found += [run for run in page if run.data.params]
        token = page.token
        if not token:
            break
    return found[:limit]


def jobs_of(store: Store, sweep: Run) -> list[Run]:
    """The runs that are jobs of a sweep, in the order they were begun; none of a single run."""
    jobs = search(store, sweep.info.experiment_id, f"tags.`{SWEEP}` = '{sweep.info.run_id}'")
    return sorted(jobs, key=lambda run: int(run.info.start_time))


def histories(store: Store, run_id: str, keys: Iterable[str]) -> dict[str, History]:
    """Every point of some metrics of a run."""
    found = {}
    for key in keys:
        points = store.client.get_metric_history(run_id, key)
        found[key] = (
            [point.step for point in points],
            [point.value for point in points],
            [point.timestamp for point in points],
        )
    return found
