"""`primer runs`: the runs and sweeps of this directory, or of MLflow, newest first."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from primer.compare.asked import jobs_called, runs_in_store
from primer.compare.runs import TrackedRun, run_in
from primer.compare.settings import differing, value_of
from primer.console import result_console, without_spare
from primer.errors import UsageError
from primer.finding import top_folders
from primer.folder import is_running, is_sweep
from primer.summary import relative
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
        if len(found) == limit:
            break
        try:
            found.append(run_in(folder))
        except UsageError:  # not begun yet, or damaged, which `primer doctor` tells
            continue
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
    columns = ["age", "name", "status", *keys, names.pop() if len(names) == 1 else "watched", "id, or folder"]
    rows = [_row(run, keys, is_named=columns[-2] == "watched") for run in found]
    places = without_spare(columns, rows, [*reversed(keys), "age", columns[-2]], console.width)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in (columns[place] for place in places):
        is_number = column in ("age", columns[-2])
        table.add_column(column, justify="right" if is_number else "left", no_wrap=is_number, overflow="fold")
    for row in rows:
        cells = [Text(cell) for cell in row]
        cells[2].stylize(COLOURS.get(row[2], ""))
        table.add_row(*(cells[place] for place in places))
    console.print(table)


def _row(run: TrackedRun, keys: Sequence[str], *, is_named: bool) -> list[str]:
    """A run's cells; with the name of what it watched where runs watched several."""
    name, value = run.watched
    shown = "" if value is None or math.isnan(value) else f"{value:.4g}"
    return [
        age(time.time() - run.started_at),
        run.name,
        status_of(run),
        *(value_of(run, key) if run.params else "" for key in keys),
        f"{name} {shown}" if is_named and shown else shown,
        run.run_id or str(relative(run.folder) if run.folder else ""),
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
