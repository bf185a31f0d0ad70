"""What is in a tracking store, read without changing it."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from primer.tracking.tags import FOLDER, HOST, ID, SHIPPED
from primer.tracking.trouble import reason_of
from primer.tracking.uri import SQLITE, sqlite_path

PATIENCE_S = 5.0  # chosen: for a database that is locked
LARGEST_CHECKED = 2e9  # chosen, in bytes: some 4 s (0.26 s for 146 MB measured)
MAX_RUNS, CHUNK = 1000, 100  # chosen: of a server's answer, and ids in a question
ALL_RUNS = 3  # mlflow.entities.ViewType.ALL: deleted ones, too
START = "start it, or set MLFLOW_TRACKING_URI to another; runs go on without, primer sync ships them"
LOG_IN = "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
# What SQLite can't do for now, and why; no damage.
PASSING = {
    sqlite3.SQLITE_BUSY: "locked by another process",
    sqlite3.SQLITE_READONLY: "its writer was cut off; whoever opens it next mends it",
}


class StoredRun(NamedTuple):
    """A run as the store has it."""

    status: str
    is_deleted: bool
    tags: dict[str, str]


class Stored(NamedTuple):
    """What a store is like; its runs by their ids, None where they can't be read."""

    is_healthy: bool
    text: str
    advice: str | None = None
    runs: dict[str, StoredRun] | None = None


def look(uri: str, run_ids: Sequence[str]) -> Stored:
    """Look at a store: a SQLite file by reading it, a server by asking for its runs, and for these."""
    try:
        if uri.startswith(SQLITE):
            return _file(sqlite_path(uri))
        if uri.startswith(("http://", "https://")):
            return _server(uri, run_ids)
    except Exception as error:
        return Stored(False, f"can't be read: {reason_of(error)}")
    return Stored(True, "not looked at: MLflow might change it; only SQLite files and servers are")


def _file(path: Path) -> Stored:
    if not path.exists():
        return Stored(True, "not created yet", runs={})
    with path.open("rb") as file:
        is_wal = file.read(19)[18:] == b"\2"  # sqlite.org/fileformat: the file format write version
    # reading a WAL file leaves two files beside it, but for one that nobody has open
    is_alone = is_wal and not Path(f"{path}-wal").exists()
    address = f"{path.as_uri()}?mode=ro{'&immutable=1' if is_alone else ''}"
    try:
        with closing(sqlite3.connect(address, uri=True, timeout=PATIENCE_S)) as database:
            return _database(database, path)
    except sqlite3.DatabaseError as error:
        code = error.sqlite_errorcode & 0xFF  # sqlite.org/rescode: without what makes it an extended one
        if code in PASSING:
            return Stored(True, f"{PASSING[code]}; not looked into")
        if code not in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise
        return _damaged(path, str(error))


def _damaged(path: Path, what: str) -> Stored:
    advice = f"mv {path} {path}.damaged; primer sync makes it again of the journals that are here"
    return Stored(False, f"damaged: {' '.join(what.split())}", advice)


def _database(database: sqlite3.Connection, path: Path) -> Stored:
    tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not tables:
        return Stored(True, "empty; MLflow makes its tables at the first run", runs={})
    if not {"alembic_version", "runs", "tags"} <= tables:
        return Stored(False, "is a database, but not MLflow's", "name another file in MLFLOW_TRACKING_URI")
    is_large = path.stat().st_size > LARGEST_CHECKED
    integrity = "ok" if is_large else database.execute("PRAGMA quick_check(1)").fetchone()[0]
    if integrity != "ok":
        return _damaged(path, integrity)
    schema, advice = _schema(database.execute("SELECT version_num FROM alembic_version").fetchone()[0], path)
    stored: dict[str, StoredRun] = {}
    query = (
        "SELECT runs.run_uuid, status, lifecycle_stage = 'deleted', key, value FROM runs "
        "LEFT JOIN tags ON tags.run_uuid = runs.run_uuid AND key IN (?, ?, ?, ?)"
    )
    for run_id, status, is_deleted, key, value in database.execute(query, (ID, SHIPPED, HOST, FOLDER)):
        stored.setdefault(run_id, StoredRun(status, bool(is_deleted), {})).tags[key] = value
    count = sum(not run.is_deleted for run in stored.values())
    text = f"{count} runs, {schema}, {'too large to check' if is_large else 'sound'}"
    return Stored(advice is None, text, advice, stored)


def _schema(found: str, path: Path) -> tuple[str, str | None]:
    """What the tables' version is to the MLflow that is installed, and what to do."""
    known, newest = schemas()
    if found == newest:
        return "schema is current", None
    text = f"schema {found} is not this MLflow's {newest}"
    if found in known:
        return text, f"copy the file, then: mlflow db upgrade {SQLITE}{path}"
    return text, "pip install -U mlflow: a newer one made these tables"


def schemas() -> tuple[set[str], str]:
    """The versions of tables that the installed MLflow knows, and the newest, without importing it."""
    folder = Path(str(metadata.distribution("mlflow").locate_file("mlflow/store/db_migrations/versions")))
    text = "\n".join(file.read_text() for file in folder.glob("*.py"))
    known = set(re.findall(r'^revision = "(\w+)"', text, re.MULTILINE))
    (newest,) = known.difference(re.findall(r'^down_revision = "(\w+)"', text, re.MULTILINE))
    return known, newest


def _server(uri: str, run_ids: Sequence[str]) -> Stored:
    from primer.tracking.store import Store

    questions = ["", "attributes.status = 'RUNNING'"]
    for start in range(0, len(run_ids), CHUNK):
        chunk = ", ".join(f"'{run_id}'" for run_id in run_ids[start : start + CHUNK])
        questions.append(f"attributes.run_id IN ({chunk})")
    client = Store(uri).client
    try:
        experiments = [found.experiment_id for found in client.search_experiments(max_results=MAX_RUNS)]
        answers = [client.search_runs(experiments, ask, ALL_RUNS, MAX_RUNS) for ask in questions]
    except Exception as error:
        reason = reason_of(error)
        return Stored(False, reason, LOG_IN if "let us in" in reason else START)
    stored = {
        run.info.run_id: StoredRun(run.info.status, run.info.lifecycle_stage == "deleted", run.data.tags)
        for answer in answers
        for run in answer
    }
    count = sum(run.info.lifecycle_stage != "deleted" for run in answers[0])
    more = " or more" if len(answers[0]) == MAX_RUNS else ""
    return Stored(True, f"answers, {count}{more} runs", runs=stored)
