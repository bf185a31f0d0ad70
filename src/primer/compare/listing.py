"""`primer runs`: the runs and sweeps of this directory, or of MLflow, newest first."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from rich.text import Text

from primer.compare.asked import jobs_called, runs_in_store
from primer.compare.runs import TrackedRun, run_in
from primer.compare.settings import differing, value_of
from primer.console import fitting_table, result_console
from primer.errors import UsageError
from primer.finding import top_folders
from primer.folder import is_running, is_sweep
from primer.tracking.tags import COUNTS, HOST

if TYPE_CHECKING:
    import pandas as pd

MAX_KEYS = 4  # columns of switched keys that fit
DIED = "DIED"  # no process works on it, and nobody has said so yet
COLOURS = {"FINISHED": "green", "FAILED": "red", DIED: "red", "RUNNING": "cyan"}
AGES = ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def run_table(found: Sequence[TrackedRun]) -> pd.DataFrame:
    """One row a run."""
    import pandas as pd

    rows = [
        {"name": run.name, "status": status_of(run), "age_s": time.time() - run.started_at}
        | {key: value_of(run, key) for key in differing([one for one in found if one.params])}
        | dict(zip(("metric", "value"), run.watched, strict=True))
        | {"run_id": run.run_id, "folder": str(run.folder or "")}
        for run in found
    ]
    return pd.DataFrame(rows)


def listed(sweep: str | None, *, where: str | None, experiment: str | None, limit: int) -> list[TrackedRun]:
    """The runs that are meant, newest first; a sweep is one, with how its jobs ended."""
    if where is not None or experiment is not None:
        if sweep:
            raise UsageError("--filter and --experiment look through MLflow; expected no SWEEP")
        return runs_in_store(where, experiment, limit)
    if sweep:
        return list(reversed(jobs_called(sweep)))[:limit]
    found: list[TrackedRun] = []
    for folder in reversed(top_folders()):
        with suppress(UsageError):  # not begun yet, or damaged, which `primer doctor` tells
            found.append(run_in(folder))
        if len(found) == limit:
            break
    return sorted(found, key=lambda run: run.started_at, reverse=True)


def status_of(run: TrackedRun) -> str:
    """How a run stands; of a sweep, how its jobs ended."""
    if run.status == "RUNNING" and run.folder and not is_running(run.folder, run.tags.get(HOST, "")):
        return DIED
    return run.tags.get(COUNTS, run.status) if run.folder and is_sweep(run.folder) else run.status


def show_runs(found: Sequence[TrackedRun]) -> None:
    """Print runs as a table."""
    if not found:
        raise UsageError("no runs here yet; train one with `primer train`")
    console = result_console()
    keys = differing([run for run in found if run.params])[:MAX_KEYS]
    names = {run.watched[0] for run in found if run.params}
    watched, where = names.pop() if len(names) == 1 else "watched", "id, or folder"
    columns = ["age", "name", "status", *keys, watched, where]
    rows = [_row(run, keys, is_named=watched == "watched") for run in found]
    spare = [*reversed(keys), "age", watched]
    console.print(fitting_table(columns, rows, ["name", "status", *keys, where], spare, console.width))


def _row(run: TrackedRun, keys: Sequence[str], *, is_named: bool) -> list[Text]:
    """A run's cells; with the name of what it watched where runs watched several."""
    name, value = run.watched
    shown = "" if value is None or math.isnan(value) else f"{value:.4g}"
    status = status_of(run)
    return [
        Text(age(time.time() - run.started_at)),
        Text(run.name),
        Text(status, style=COLOURS.get(status, "")),
        *(Text(value_of(run, key) if run.params else "") for key in keys),
        Text(f"{name} {shown}" if is_named and shown else shown),
        Text(run.run_id or run.place),
    ]


def age(seconds: float) -> str:
    """How long ago, in one unit.

    >>> age(59), age(7300)
    ('59 s', '2 h')
    """
    for size, unit in AGES:
        if seconds >= size:
            return f"{seconds // size:.0f} {unit}"
    return "0 s"
