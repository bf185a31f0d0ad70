"""The runs of this folder: how they stand, and what of them is in their stores."""

from __future__ import annotations

import os
import shlex
from collections import Counter
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from primer.doctor.report import MAX_LISTED, Finding, listed
from primer.doctor.stores import Stored, look
from primer.errors import UsageError
from primer.files import ROOT
from primer.finding import dead_runs, run_folders
from primer.redact import redacted_text
from primer.summary import relative
from primer.sync import store_of
from primer.tracking.facts import host
from primer.tracking.journal import NAME, Follower, Record
from primer.tracking.shipment import id_of
from primer.tracking.tags import FOLDER, HOST, ID, SHIPPED
from primer.tracking.trouble import reason_of
from primer.tracking.uri import tracking_uri


class Run(NamedTuple):
    """A run folder's journal at a glance; `error` says why it can't be read."""

    folder: Path
    error: str | None = None
    key: str = ""  # the id in its first record
    last: Record = {}  # noqa: RUF012
    standing: str = ""  # running, dead, or how it ended
    size: int = 0  # bytes of whole lines
    num_damaged: int = 0
    uri: str | None = None  # where `primer sync` ships it, if it is meant to be


def read_run(folder: Path) -> Run:
    """Look at a run folder."""
    follower = Follower(folder)
    try:
        records = list(follower.new())
        lines = (folder / NAME).read_bytes()[: follower.offset]
    except OSError as error:
        return Run(folder, reason_of(error))
    if not records or records[0]["kind"] != "run":
        return Run(folder, "does not begin with the run it is of")
    last, standing = records[-1], "running"
    if last["kind"] == "end":
        standing = str(last["status"]).lower()
    elif list(dead_runs([folder])):
        standing = "dead"
    # a line that was torn, by a kill or by a full disk, has no brace at its end
    num_damaged = lines.count(b"}\n") - len(records)
    try:
        uri = store_of(folder) if records[0].get("uri") else None
    except UsageError as error:  # it was begun elsewhere, and goes nowhere
        return Run(folder, str(error).removeprefix(f"{folder}: "))
    return Run(folder, None, records[0]["id"], last, standing, len(lines), num_damaged, uri)


class Place:
    """What the checks look at, each looked at once."""

    @cached_property
    def uri(self) -> str:
        return tracking_uri(None)

    @cached_property
    def folders(self) -> list[Run]:
        return [read_run(folder) for folder in run_folders()]

    @cached_property
    def runs(self) -> list[Run]:
        """The run folders that can be read."""
        return [run for run in self.folders if not run.error]

    @cached_property
    def stores(self) -> dict[str, Stored]:
        """The store that is meant now, and those that the runs are meant for."""
        ids: dict[str, list[str]] = {self.uri: []}
        for run in self.runs:
            if run.uri:
                ids.setdefault(run.uri, []).extend(filter(None, [id_of(run.folder)]))
        return {uri: look(uri, run_ids) for uri, run_ids in ids.items()}


def store(place: Place) -> Finding:
    """The store that runs go to now."""
    found = place.stores[place.uri]
    return Finding("store", found.is_healthy, f"{redacted_text(place.uri)}: {found.text}", found.advice)


def runs(place: Place) -> Finding:
    """How the runs of this folder stand."""
    counts = Counter(run.standing for run in place.runs)
    text = ", ".join(f"{count} {word}" for word, count in sorted(counts.items())) or "none yet"
    dead = [run.folder for run in place.runs if run.standing == "dead"]
    if not dead:
        return Finding("runs", True, text)
    advice = f"primer sync says how they ended, primer resume {relative(dead[0])} goes on"
    return Finding("runs", False, f"{text}: {listed(dead)}", advice)


def unshipped(place: Place) -> Finding:
    """Journals that are not wholly in the store they were meant for; a run that goes on ships itself."""
    missing, num_whole, out_of_reach = [], 0, Counter[str]()
    for run in place.runs:
        if run.uri is None or run.standing == "running":
            continue
        stored = place.stores[run.uri].runs
        if stored is None:
            out_of_reach[redacted_text(run.uri)] += 1
            continue
        found = stored.get(id_of(run.folder) or "")
        if found and (found.is_deleted or int(found.tags.get(SHIPPED, -1)) >= run.size):
            num_whole += 1  # whoever deletes a run there wants it to stay away
        else:
            missing.append(run.folder)
    text = f"{num_whole} of {num_whole + len(missing)} journals are in MLflow, whole"
    text += f"; not {listed(missing)}" if missing else ""
    text += "".join(f"; {count} could not be compared: {uri}" for uri, count in out_of_reach.items())
    is_whole = not missing and not out_of_reach
    return Finding("unshipped", is_whole, text, None if is_whole else "primer sync")


def stale(place: Place) -> Finding:
    """Runs that the store calls RUNNING though nothing works on them any more."""
    stored = place.stores[place.uri].runs
    if stored is None:
        return Finding("stale", True, "the store's runs can't be seen")
    counts, lost, over = Counter[str](), [], []
    for run_id, run in stored.items():
        if run.status != "RUNNING" or run.is_deleted:
            continue
        if run.tags.get(HOST) != host():
            counts[f"of {run.tags.get(HOST, 'no machine')}"] += 1
        elif (found := read_run(Path(run.tags.get(FOLDER, "")))).error or found.key != run.tags.get(ID):
            counts["without a folder"] += 1
            lost.append(run_id)
        elif found.standing == "running":
            counts["here"] += 1
        else:
            counts["but over"] += 1
            over.append(str(relative(found.folder)))
    text = "; ".join(f"{count} RUNNING {words}" for words, count in sorted(counts.items()))
    advice = [f"primer sync {shlex.join(over[:MAX_LISTED])}"] if over else []
    # the variable may hold a password, which is not printed
    client = "" if os.environ.get("MLFLOW_TRACKING_URI") else f"'{place.uri}'"
    end = f"import mlflow; mlflow.MlflowClient({client}).set_terminated('{''.join(lost[:1])}', 'KILLED')"
    advice += [f'python -c "{end}"'] if lost else []
    return Finding("stale", not advice, text or "no run is RUNNING", "; ".join(advice) or None)


def journals(place: Place) -> Finding:
    """Records that are not what was written, and journals that can't be read."""
    damaged = [
        f"{relative(run.folder / NAME)}: {run.error or f'{run.num_damaged} damaged lines'}"
        for run in place.folders
        if run.error or run.num_damaged > 0
    ]
    if not damaged:
        return Finding("journals", True, f"{len(place.folders)} read, no damaged line")
    advice = "the records of these lines are lost; the disk may be failing: copy outputs to another one"
    return Finding("journals", False, listed(damaged), advice)


def last_error(place: Place) -> Finding:
    """The newest run that ended FAILED: for information."""
    failed = [run for run in place.runs if run.standing == "failed"]
    if not failed:
        return Finding("last error", True, "no run failed")
    newest = max(failed, key=lambda run: int(run.last["time"]))
    return Finding("last error", True, f"{relative(newest.folder)}: {newest.last['error']}")


def environment(place: Place) -> Finding:
    """Where $MLFLOW_TRACKING_URI points, and whether the runs of this folder went there."""
    uri = os.environ.get("MLFLOW_TRACKING_URI")
    text = f"MLFLOW_TRACKING_URI={redacted_text(uri)}" if uri else "MLFLOW_TRACKING_URI is not set"
    elsewhere = Counter(redacted_text(run.uri) for run in place.runs if run.uri not in (None, place.uri))
    hints = [f"; {count} runs of {ROOT} went to another store: {uri}" for uri, count in elsewhere.items()]
    return Finding("environment", True, text + "".join(hints))
