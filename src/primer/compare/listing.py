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
from primer.console import result_console
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
        | {"metric": watched(run)[0], "value": watched(run)[1]}
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


def watched(run: TrackedRun) -> tuple[str, float]:
    """The metric that the run watched, and its best value; NaN where there is none."""
    name = run.params.get("monitor", "val/loss")
    return name, run.metrics.get(f"best/{name}", run.metrics.get(name, math.nan))


def show_runs(found: Sequence[TrackedRun]) -> None:
    """Print runs as a table."""
    if not found:
        raise UsageError("no runs here yet; train one with `primer train`")
    keys = differing([run for run in found if run.params])[:MAX_KEYS]
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("age", "name", "status", *keys):
        table.add_column(column, justify="right" if column == "age" else "left", no_wrap=column != "name")
    names = {watched(run)[0] for run in found if run.params}
    table.add_column(names.pop() if len(names) == 1 else "watched", justify="right", no_wrap=True)
    table.add_column("id, or folder", overflow="fold")
    for run in found:
        status, (name, value) = status_of(run), watched(run)
        shown = "" if math.isnan(value) else f"{value:.4g}"
        table.add_row(
            age(time.time() - run.started_at),
            Text(run.name),
            Text(status, style=COLOURS.get(status, "")),
            *(Text(value_of(run, key) if run.params else "") for key in keys),
            shown if len(names) < 2 or not shown else f"{name} {shown}",
            run.run_id or Text(str(run.folder)),
        )
    result_console().print(table)


def age(seconds: float) -> str:
    """How long ago, in one unit.

    >>> age(59), age(7300)
    ('59 s', '2 h')
    """
    for size, unit in AGES:
        if seconds >= size:
            return f"{seconds // size:.0f} {unit}"
    return "0 s"
