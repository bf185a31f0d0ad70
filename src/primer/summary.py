"""What a run came to, for the person who started it: a short table, a small curve, and where to look."""

from __future__ import annotations

import math
import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from primer.redact import redacted_text
from primer.result import RunResult
from primer.tracking.curves import Curve, curves_of, falls_far
from primer.tracking.journal import Record, read
from primer.tracking.uri import tracking_uri

if TYPE_CHECKING:
    from primer.reproduce import Reproduction

CURVE_WIDTH, CURVE_HEIGHT = 60, 8  # characters


def show(result: RunResult) -> None:
    """Print the end of a run to standard output."""
    console = Console(highlight=False, soft_wrap=True)
    records = read(result.folder)
    curve = curves_of(records).get("train/loss")
    if curve and len(curve[0]) > 1 and sys.stdout.isatty():
        console.print(terminal_curve(curve))
    numbers = metrics_table(result.metrics)
    if numbers.row_count:
        console.print(numbers)
    if result.status == "FINISHED" and (rows := rows_of(records)):
        console.print(f"rows    {rows}")
    colour = {"FINISHED": "green", "FAILED": "red"}.get(result.status, "yellow")
    console.print(result.status, style=f"bold {colour}", end="")
    console.print(f" in {result.duration_s:.1f} s: {result.name}", markup=False)
    for record in records:
        if record["kind"] == "warning":
            console.print(f"warning: {record['message']}", markup=False)
    if result.error:
        console.print(result.error, markup=False)
        if (trace := result.folder / "traceback.txt").exists():
            console.print(f"trace   {relative(trace)}", markup=False)
    if result.exit_code:
        console.print(f"go on   {command_name()} resume {relative(result.folder)}", markup=False)
    where = relative(result.folder)
    if not result.is_shipped:
        console.print(f"not all of it is in MLflow yet: {command_name()} sync sends it", markup=False)
    if result.run_id:
        console.print(f"run     {result.run_id}")
    console.print(f"folder  {where}", markup=False)
    if result.run_id:
        console.print(f"look    {where_to_look(result)}", markup=False)


def show_reproduction(found: Reproduction) -> None:
    """Print whether a run came out the same."""
    show(found.result)
    console = Console(highlight=False, soft_wrap=True)
    for line in found.changed:
        # what a store says of a run may hold what a terminal would act on
        console.print(f"changed  {line if line.isprintable() else repr(line)}", markup=False)
    colour = "red" if found.exit_code else "green"
    console.print(f"{found.verdict}", style=f"bold {colour}", end="")
    numbers = f"largest relative difference {found.largest:.3g}; " if found.first else ""
    console.print(f" ({numbers}{found.num_points} points compared)")
    if found.first:
        console.print(f"first difference: {found.first}", markup=False)


def where_to_look(result: RunResult) -> str:
    """The command, or the address, that shows the run in MLflow."""
    uri = tracking_uri(result.config["tracking"]["uri"])
    if uri.startswith("http"):
        return redacted_text(uri)
    is_here = uri == tracking_uri(None)
    return (
        f"{command_name()} ui"
        if is_here
        else f"mlflow ui --backend-store-uri {shlex.quote(redacted_text(uri))}"
    )


def command_name() -> str:
    """How this person calls primer: by its name where the shell finds it, else as they did."""
    if shutil.which("primer"):
        return "primer"
    if Path(sys.argv[0]).name == "__main__.py":
        return f"{sys.executable} -m primer"
    return str(relative(Path(sys.argv[0]).absolute()))


def relative(folder: Path) -> Path:
    """The path as seen from here, where it is below."""
    return folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder


def metrics_table(metrics: dict[str, float]) -> Table:
    """Final and best of each curve, and the test."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("metric")
    for column in ("final", "best"):
        table.add_column(column, justify="right")
    for key in (key.removeprefix("final/") for key in metrics if key.startswith("final/")):
        best = metrics.get(f"best/{key}")
        table.add_row(key, f"{metrics[f'final/{key}']:.5g}", "" if best is None else f"{best:.5g}")
    for key in (key for key in metrics if key.startswith("test/")):
        table.add_row(key, f"{metrics[key]:.5g}", "")
    return table


def rows_of(records: list[Record]) -> str:
    """How many rows each split was evaluated on, as counted there.

    >>> rows_of([{"kind": "evaluated", "split": "test", "num_rows": 359}])
    'test 359'
    """
    counts = {record["split"]: record["num_rows"] for record in records if record["kind"] == "evaluated"}
    return ", ".join(f"{split} {num_rows}" for split, num_rows in counts.items())


def terminal_curve(curve: Curve) -> str:
    """The loss over steps in braille dots, on a log scale where it falls far."""
    import plotille

    points = [(step, value) for step, value in zip(*curve, strict=True) if math.isfinite(value)]
    steps, values = [step for step, _ in points], [value for _, value in points]
    is_log = falls_far(values)
    heights = [math.log10(value) for value in values] if is_log else values
    figure = plotille.Figure()
    figure.width, figure.height = CURVE_WIDTH, CURVE_HEIGHT
    figure.origin = False
    figure.set_x_limits(min_=steps[0], max_=steps[-1])
    if min(heights) < max(heights):
        figure.set_y_limits(min_=min(heights), max_=max(heights))
    figure.x_label, figure.y_label = "step", "train/loss"
    figure.x_ticks_fkt = lambda tick, _: f"{tick:.0f}"
    figure.y_ticks_fkt = lambda tick, _: f"{10**tick if is_log else tick:>9.3g}"
    figure.plot(steps, heights)
    return str(figure.show())
