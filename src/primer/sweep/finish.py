"""How a sweep ends: its journal's last records, its summary in MLflow, and what the caller is given."""

from __future__ import annotations

import csv
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from primer.direction import rank, watched_key
from primer.ending import Ending
from primer.errors import JournalError
from primer.leaving import write_end
from primer.result import RunResult
from primer.sweep import ledger
from primer.sweep.job import result_in
from primer.sweep.plan import Job
from primer.sweep.report import Report
from primer.sweep.result import SweepResult
from primer.sweep.sweep import Sweep, best_of, cell_of, metric_of, objective
from primer.tracking.journal import Journal, first_record
from primer.tracking.shipment import id_of
from primer.tracking.tags import COMMAND, COUNTS

MAX_NOTE = 5000  # characters: a page that is read, not scrolled
NOTE = "mlflow.note.content"


def finish(sweep: Sweep, results: dict[int, RunResult], duration_s: float) -> SweepResult:
    """Write down how a sweep ended, see it into MLflow, and return what it came to."""
    folder, stop = sweep.folder, sweep.stop
    jobs = ledger.jobs_in(folder)
    report = None if stop.received or not sweep.is_tracked else Report(folder, jobs)
    sweep.wait_for_jobs(is_hurried=stop.received is not None)
    found = results_of(jobs, results)
    statuses = [result.status if result else ledger.WAITING for result in found]
    counts = ledger.told(statuses)
    ending = _ending(statuses, counts, stop.received)
    name = (first_record(folder) or {})["name"]
    experiment_id, view = _leave_view(sweep, name, jobs, found)
    verdict = report.wait() if report else None
    try:
        _write_table(folder, jobs, found)
        note = _note(folder, jobs, found, [counts, verdict], experiment_id)
        (folder / "sweep.md").write_text(note)  # which is the note on the sweep's page in MLflow, too
        with Journal(folder) as journal:
            journal.write("tags", tags={COUNTS: counts, NOTE: note[:MAX_NOTE]})
    except (OSError, JournalError) as error:  # no room: the sweep has its end all the same
        print(f"primer: no whole summary was written: {error}", file=sys.stderr)
    end = write_end(folder, ending, duration_s)
    is_shipped = sweep.finish(end, is_hurried=ending.status == "KILLED")
    return SweepResult(
        name=name,
        status=ending.status,
        exit_code=ending.exit_code,
        run_id=id_of(folder),
        folder=folder,
        duration_s=duration_s,
        jobs=tuple(found),
        is_shipped=is_shipped,
        view=view,
        verdict=verdict,
    )


def _leave_view(
    sweep: Sweep, name: str, jobs: Sequence[Job], found: Sequence[RunResult | None]
) -> tuple[str, str] | tuple[None, None]:
    if not jobs:
        return None, None
    asked = ledger.definition_in(sweep.folder)
    params = asked[0].keys if asked else []
    seen = list(dict.fromkeys(key for result in found if result for key in result.metrics))
    ends = [key for key in seen if key.startswith(("best/", "final/"))]
    first = watched_key(ends, jobs[0].config["monitor"]) or "final/train/loss"
    return sweep.leave_view(name, params, [first, *(key for key in seen if key.startswith("test/"))])


def _ending(statuses: list[str], counts: str, signal: int | None) -> Ending:
    if signal is not None:
        return Ending("KILLED", 128 + signal, counts)
    if any(status != "FINISHED" for status in statuses):
        return Ending("FAILED", 1, counts)
    return Ending("FINISHED", 0)


def results_of(jobs: Sequence[Job], results: dict[int, RunResult]) -> list[RunResult | None]:
    """What each job came to, in this attempt of the sweep or one before; None for one that has no end."""
    return [_result(job, results.get(job.number)) for job in jobs]


def _result(job: Job, result: RunResult | None) -> RunResult | None:
    if result:
        return dataclasses.replace(result, run_id=id_of(job.folder))  # by now it has one
    state = ledger.state_of(job)
    return None if state["status"] in (ledger.WAITING, ledger.RUNNING) else result_in(job, state)


def _write_table(folder: Path, jobs: list[Job], found: list[RunResult | None]) -> None:
    """`sweep.csv`, one row a job."""
    rows = [_row(job, result) for job, result in zip(jobs, found, strict=True)]
    with (folder / "sweep.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(key for row in rows for key in row)))
        writer.writeheader()
        writer.writerows(rows)


def _row(job: Job, result: RunResult | None) -> dict[str, Any]:
    row: dict[str, Any] = {"job": job.number, "name": job.config["name"], "status": ledger.WAITING}
    if result:
        row |= {"status": result.status, "is_pruned": result.is_pruned}
        row |= {"duration_s": round(result.duration_s, 3), "error": result.error, "run_id": result.run_id}
        row |= result.metrics
    return row


def _note(
    folder: Path,
    jobs: list[Job],
    found: list[RunResult | None],
    parts: list[str | None],
    place: str | None,
) -> str:
    """The page, which `parts` begin; `place` is the id of the experiment in MLflow, where it links to."""
    if not jobs:
        return "no job was begun\n"
    metric = metric_of(found, jobs[0].config["monitor"])
    ranks = [rank(metric, objective(result)[1] if result else None) for result in found]
    command = (first_record(folder) or {}).get("tags", {}).get(COMMAND)
    parts = [*parts, f"`{command}`" if command else None]
    best = best_of(found, metric)
    if best:
        address = f"#/experiments/{place}/runs/{best[0].run_id}"
        link = f"[{best[0].name}]({address})" if place and best[0].run_id else best[0].name
        parts.insert(1, f"best {metric}: {best[1]:.5g}, of {link}")
    lines = [f"{part}\n" for part in parts if part]
    lines += [f"| job | name | status | {metric} | error |", "|---|---|---|---|---|"]
    for index in sorted(range(len(jobs)), key=ranks.__getitem__):
        job, result = jobs[index], found[index]
        status, error = (result.outcome, result.error or "") if result else (ledger.WAITING, "")
        lines.append(
            f"| {job.number} | {job.config['name']} | {status} | {cell_of(result, metric)} | {error} |"
        )
    return "\n".join(lines) + "\n"
