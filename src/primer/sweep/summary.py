"""What a sweep came to, for the person who started it: every job in a line, and what to do next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from rich.table import Table
from rich.text import Text

from primer.console import result_console
from primer.result import RunResult
from primer.summary import command_name, relative, where_to_look
from primer.sweep import ledger
from primer.sweep.plan import Job
from primer.sweep.report import NAME as REPORT
from primer.sweep.result import SweepResult
from primer.sweep.sweep import best_of, cell_of, metric_of
from primer.tracking.journal import read

MAX_WARNINGS = 3  # told; the others are in the jobs
COLOURS = {"FINISHED": "green", "FAILED": "red"}


def show_sweep(result: SweepResult) -> None:
    """Print the end of a sweep to standard output."""
    console = result_console()
    jobs = ledger.jobs_in(result.folder)
    metric = metric_of(result.jobs, jobs[0].config["monitor"]) if jobs else ""
    if jobs:
        console.print(_table(jobs, result.jobs, metric))
    for line in (*_failures(jobs, result.jobs), *_warnings(result.jobs)):
        console.print(line, markup=False)
    statuses = [job.status if job else ledger.WAITING for job in result.jobs]
    console.print(result.status, style=f"bold {COLOURS.get(result.status, 'yellow')}", end="")
    console.print(f" in {result.duration_s:.1f} s: {result.name} ({ledger.told(statuses)})", markup=False)
    best = best_of(result.jobs, metric) if len(jobs) > 1 else None
    where, primer = relative(result.folder), command_name()
    is_open = any(status not in ("FINISHED", "FAILED") for status in statuses)
    failed = "" if is_open or "FAILED" not in statuses else " --failed"
    first = next((job for job in result.jobs if job), None)
    lines = [
        f"verdict {result.verdict}" if result.verdict else "",
        f"best    {best[0].name}: {metric} {best[1]:.5g}" if best else "",
        f"go on   {primer} resume {where}{failed}" if result.exit_code else "",
        f"not all of it is in MLflow yet: {primer} sync sends it" if not result.is_shipped else "",
        f"run     {result.run_id}" if result.run_id else "",
        f"folder  {where}",
        f"report  {where / REPORT}" if (result.folder / REPORT).exists() else "",
        f"compare {primer} compare {result.run_id or where}" if len(jobs) > 1 else "",
        f"look    {where_to_look(first)}" if result.run_id and first else "",
        f"        {result.view}" if result.view else "",
    ]
    for line in filter(None, lines):
        console.print(line, markup=False)


def _table(jobs: list[Job], results: tuple[RunResult | None, ...], metric: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("job", "name", "status", "seconds", metric):
        table.add_column(
            column,
            justify="left" if column in ("name", "status") else "right",
            no_wrap=True,
            min_width={"name": None, "status": len("FINISHED")}.get(column, len(column)),  # names give way
        )
    for job, result in zip(jobs, results, strict=True):
        name = Text(job.config["name"])
        if result is None:
            table.add_row(str(job.number), name, ledger.WAITING)
            continue
        status = Text(result.outcome, style=COLOURS.get(result.status, "yellow"))
        table.add_row(str(job.number), name, status, f"{result.duration_s:.1f}", cell_of(result, metric))
    return table


def _warnings(results: tuple[RunResult | None, ...]) -> Iterator[str]:
    """What jobs were warned of, each once."""
    found = [
        message
        for result in results
        if result is not None
        for message in {one["message"] for one in read(result.folder) if one["kind"] == "warning"}
    ]
    for message, number in Counter(found).most_common(MAX_WARNINGS):
        yield f"warning: {message}{f'  ({number} jobs)' if number > 1 else ''}"


def _failures(jobs: list[Job], results: tuple[RunResult | None, ...]) -> Iterator[str]:
    """What failed of what, and where it is told at length."""
    for job, result in zip(jobs, results, strict=True):
        if result is not None and result.error:
            logs = [result.folder / name for name in ("worker.log", "traceback.txt")]
            where = next((f"  ({relative(log)})" for log in logs if log.exists()), "")
            yield f"job {job.number}  {result.status}: {result.error}{where}"
