"""The SQLite file of an MLflow store: created whole, shared well, and given points as rows.

Rows are written 10 times faster than by MLflow's client, which makes an object of each point and asks the
database about it; a sweep that trains in two seconds would spend eight in there. The last point of each
metric is left to the client: MLflow notes the newest values of a run in tables of its own.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from filelock import FileLock
from mlflow import MlflowClient
from mlflow.entities import Metric

from primer.tracking.uri import SQLITE

COLUMNS = {"key", "value", "timestamp", "step", "is_nan", "run_uuid"}  # since MLflow 1.0
INSERT = """
    INSERT OR IGNORE INTO metrics (key, value, timestamp, step, is_nan, run_uuid)
    VALUES (?, ?, ?, ?, 0, ?)
"""
WAIT_S = 20  # for another writer, as MLflow does


def client_of(path: Path) -> MlflowClient:
    """The client of the store in a file, which is created and migrated where that is needed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # two first runs at once would both migrate: github.com/daizutabi/hydraflow/issues/245
    with FileLock(f"{path}.lock"):
        if not path.exists():
            _create(path)
        client = MlflowClient(f"{SQLITE}{path}")
        client.search_experiments(max_results=1)  # touches the tables, which raises if they are old
        with closing(sqlite3.connect(path, timeout=WAIT_S)) as connection:
            # readers and one writer work at once; MLflow itself leaves SQLite's default
            connection.execute("PRAGMA journal_mode=WAL")
    return client


def _create(path: Path) -> None:
    """Create a database whole or not at all: a kill amid the 68 migrations leaves one that never opens."""
    for left in path.parent.glob(f".{path.name}.new*"):  # of one that was killed
        left.unlink()
    new = path.with_name(f".{path.name}.new")
    MlflowClient(f"{SQLITE}{new}").search_experiments(max_results=1)
    new.replace(path)


def write_rows(database: Path, run_id: str, metrics: Sequence[Metric]) -> list[Metric]:
    """Write finite points of a run that is there; returns those that are left to the client.

    They are the last of each metric, or all where the table is not the one that is known here.
    """
    last = {metric.key: metric for metric in metrics}
    with closing(sqlite3.connect(database, timeout=WAIT_S)) as connection:
        # no wait for the disk: the client's next write, which says what has arrived, waits for both
        connection.execute("PRAGMA synchronous=NORMAL")
        if {name for _, name, *_ in connection.execute("PRAGMA table_info(metrics)")} != COLUMNS:
            return list(metrics)
        rows = [
            (metric.key, metric.value, metric.timestamp, metric.step, run_id)
            for metric in metrics
            if metric is not last[metric.key]
        ]
        with connection:
            connection.executemany(INSERT, rows)
    return list(last.values())
