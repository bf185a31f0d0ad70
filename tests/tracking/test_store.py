"""A database is created whole or not at all; many points are written into it at once."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from primer.tracking.store import Store

# Forks what has MLflow imported, and kills it ever later while it creates the database.
KILLED = """
import os, signal, sys, time
from primer.tracking.store import Store

uri = sys.argv[1]
for delay in (0.05, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2):
    child = os.fork()
    if child == 0:
        Store(uri)
        os._exit(0)
    time.sleep(delay)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
store = Store(uri)
print(store.experiment("mine"), sorted(os.listdir(".")))
"""


def test_a_kill_while_the_database_is_created_costs_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED, "sqlite:///mlflow.db"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("1 ")
    assert ".new" not in done.stdout


def points_record(key: str, first: int, number: int) -> dict[str, Any]:
    steps = list(range(first, first + number))
    return {"key": key, "steps": steps, "times": [1000 + s for s in steps], "values": [1 / s for s in steps]}


@pytest.mark.parametrize("extra", [None, "ALTER TABLE metrics ADD COLUMN note TEXT"])
def test_many_points_are_there_once_and_the_newest_is_known(tmp_path: Path, extra: str | None) -> None:
    """Rows of a file are written past MLflow's client, where its table is the one that is known."""
    store = Store(f"sqlite:///{tmp_path}/mlflow.db")
    if extra:
        with closing(sqlite3.connect(tmp_path / "mlflow.db")) as connection:
            connection.execute(extra)
    header = {"tags": {}, "id": "1", "time": 0, "name": "run"}
    run_id = store.create_run(store.experiment("e"), header, {})
    records = [points_record("train/loss", 1, 1200), points_record("val/loss", 7, 90)]
    store.log(run_id, records, {"said": "first"})
    store.log(run_id, records, {"said": "again"})
    store.log(run_id, [points_record("train/loss", 1201, 60)], {})
    expected = {("train/loss", step): 1 / step for step in range(1, 1261)}
    expected |= {("val/loss", step): 1 / step for step in range(7, 97)}
    assert store.points(run_id) == expected
    histories = [store.client.get_metric_history(run_id, key) for key in ("train/loss", "val/loss")]
    assert [len(history) for history in histories] == [1260, 90]
    run = store.client.get_run(run_id)
    assert run.data.metrics == {"train/loss": 1 / 1260, "val/loss": 1 / 96}
    assert run.data.tags["said"] == "again"
