"""The ledger: a sweep's own journal, which names its jobs; how a job stands is in the job's own journal.

So nothing is written down twice, and whatever dies, the two can't disagree. The sweep is a run in MLflow,
too, the parent of its jobs, and its journal is shipped and settled as any run's.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from primer.config.wording import shown
from primer.errors import RunError
from primer.folder import begin_journal, command_tag, place_tags
from primer.redact import redacted
from primer.sweep.plan import Job
from primer.tracking.journal import Journal, Record, first_record, last_record, read

WAITING, RUNNING = "waiting", "RUNNING"


@dataclass(frozen=True)
class Definition:
    """What a sweep was asked for, and how many jobs that makes, where it is known beforehand."""

    overrides: list[str]
    config_dir: str | None
    keys: list[str]
    num_jobs: int | None = None


def create(folder: Path, name: str, definition: Definition, config: dict[str, Any], digest: str) -> None:
    """Begin the ledger of a sweep; `config` is that of a job of it, whose store the sweep goes to."""
    asked = {"definition": digest, **redacted(vars(definition))}
    command = command_tag(definition.overrides, definition.config_dir, is_sweep=True)
    begin_journal(folder, config, name=name, params={}, tags=command | place_tags(folder), sweep=asked)


def add(folder: Path, jobs: Iterable[Job]) -> None:
    """Write down jobs before any of them begins."""
    with Journal(folder) as journal:
        for job in jobs:
            place = str(job.folder.relative_to(folder))
            journal.write("job", number=job.number, folder=place, config=redacted(job.config))


def definition_in(folder: Path) -> tuple[Definition, str] | None:
    """What the sweep of a folder was asked for, and its digest; None where it is no sweep's."""
    header = first_record(folder)
    if header is None or "definition" not in header.get("sweep", {}):
        return None
    asked = dict(header["sweep"])
    digest = asked.pop("definition")
    return Definition(**asked), digest


def jobs_in(folder: Path) -> list[Job]:
    """The jobs of a sweep, in the order of their numbers.

    Raises RunError for a folder outside of the sweep's: what is begun anew is removed before.
    """
    found = [
        Job(record["number"], folder / record["folder"], record["config"])
        for record in read(folder)
        if record["kind"] == "job"
    ]
    top = folder.resolve()
    for job in found:
        if top not in job.folder.resolve().parents:
            raise RunError(
                f"{folder}: its journal names a job's folder that is not below it: {shown(job.folder)}"
            )
    return found


def state_of(job: Job) -> Record:
    """How a job stands: `status` waiting, RUNNING or how it ended, with `error` and `duration_s`."""
    try:
        last = last_record(job.folder)
    except OSError:
        last = None
    if last and last["kind"] == "end":
        return last
    return {"status": RUNNING if last else WAITING, "error": None, "duration_s": 0.0}


def told(statuses: Iterable[str]) -> str:
    """How many jobs stand where, in words, in the order of a table.

    >>> told(["FINISHED", "waiting", "FINISHED"])
    '2 FINISHED, 1 waiting'
    """
    found = list(statuses)
    order = ("FINISHED", "FAILED", "KILLED", RUNNING, WAITING)
    return ", ".join(f"{found.count(status)} {status}" for status in order if status in found)


def origin_of(folder: Path, number: int) -> dict[str, Any]:
    """What a job's own journal says of its sweep."""
    header = first_record(folder) or {}
    return {"sweep": header["id"], "folder": str(folder), "number": number}
