"""A comparison as one page that holds all it needs: no request leaves the machine of who reads it."""

from __future__ import annotations

import base64
import io
import math
import shlex
import time
from collections.abc import Sequence
from typing import Any

from jinja2 import Environment, PackageLoader

from primer.compare.charts import charts
from primer.compare.comparison import Comparison
from primer.compare.plot import figure_of
from primer.compare.runs import TrackedRun
from primer.compare.settings import numeric_keys
from primer.compare.telling import COLUMNS, number, row_of, seconds
from primer.folder import is_sweep, read_environment
from primer.tracking.journal import first_record
from primer.tracking.tags import COMMAND

MAX_ROWS = 200  # chosen: settings and verdicts, of which there may be thousands


def page_of(found: Comparison) -> str:
    """The page, as text; whatever runs are called, it is shown as it is and never obeyed."""
    place = Environment(loader=PackageLoader("primer.compare", "."), autoescape=True)
    scripts, curves = charts(found)
    return place.get_template("report.html.jinja").render(
        title=f"{', '.join(found.by) or 'runs'} by {found.metric}",
        made_at=time.strftime("%Y-%m-%d %H:%M"),
        found=found,
        picture=_picture(found),
        scripts=scripts,
        curves=curves,
        columns=COLUMNS,
        settings=[row_of(group) for group in found.groups[:MAX_ROWS]],
        num_hidden=max(0, len(found.groups) - MAX_ROWS),
        verdicts=found.verdicts[:MAX_ROWS],
        num_comparisons=round(0.05 / (1 - found.verdicts[0].level)) if found.verdicts else 0,
        # all values of what is averaged over
        differing=[
            [group.label, *(", ".join(group.values_of(key)) for key in found.differing)]
            for group in found.groups[:MAX_ROWS]
            if group.runs
        ],
        shared=_shared(found),
        runs=[_run(found, run) for run in found.runs],
        environment=_environment(found.runs),
        repeat=_repeat(found),
    )


def _picture(found: Comparison) -> str:
    """What numbers that were switched led to, as a data address; nothing where none was."""
    if not numeric_keys(found.by, [group.values for group in found.groups]):
        return ""
    figure, file = figure_of(found, over="steps", smooth=0.0, scale="auto"), io.BytesIO()
    figure.savefig(file, format="png", dpi=100)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def _shared(found: Comparison) -> list[tuple[str, str]]:
    """The params that all runs have the same value of."""
    first, *others = found.runs
    return [
        (key, value)
        for key, value in first.params.items()
        if all(run.params.get(key) == value for run in others)
    ]


def _run(found: Comparison, run: TrackedRun) -> dict[str, Any]:
    return {
        "name": run.name,
        "status": run.status,
        "value": number(run.metrics.get(found.metric, math.nan)),
        "seconds": seconds(run.own_duration_s),
        "id": run.place,
    }


def _environment(runs: Sequence[TrackedRun]) -> list[tuple[str, str]]:
    """Packages and machine of the first run; others that differ are among the notes."""
    facts = read_environment(runs[0].folder) if runs[0].folder else {}
    flat = {key: value for key, value in facts.items() if not isinstance(value, dict | list)}
    return [(key, str(value)) for key, value in (flat | dict(facts.get("packages", {}))).items()]


def _repeat(found: Comparison) -> list[str]:
    sweeps = {run.folder.parent for run in found.runs if run.folder and is_sweep(run.folder.parent)}
    tags = [(first_record(sweep) or {}).get("tags", {}) for sweep in sorted(sweeps)]
    lines = [str(each[COMMAND]) for each in tags if COMMAND in each]
    lines.append(f"{found.asked} --html report.html")
    best = found.groups[0].best
    if best:
        lines.append(f"primer reproduce {shlex.quote(best.place)}    # the best run: {best.name}")
    return lines
