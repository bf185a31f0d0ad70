"""`primer doctor` on real stores, sound and broken, none of which it changes."""

from __future__ import annotations

import json
import random
import re
import shutil
import sqlite3
import threading
import uuid
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from doctored import begun, checked, ended, everything, execute, shipped
from faulty_server import FaultyFront, LockedDatabase, MlflowServer, free_port
from mlflow import MlflowClient

from primer.doctor import stores
from primer.doctor.runs import Place, stale, store, unshipped
from primer.folder import create_folder
from primer.tracking.journal import Journal, read


def test_a_sound_database_is_read_and_left_alone(
    here: Path, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = everything(here)
    assert checked(store).text == f"sqlite:///{database}: 0 runs, schema is current, sound"
    assert everything(here) == before
    execute(database, "PRAGMA journal_mode=DELETE")
    before = everything(here)
    assert checked(store).is_healthy
    monkeypatch.setattr(stores, "LARGEST_CHECKED", 0)
    assert checked(store).text.endswith("too large to check")
    assert everything(here) == before


def test_a_database_that_is_written_is_read_too(database: Path) -> None:
    run_id = shipped(ended())
    with closing(sqlite3.connect(database, isolation_level=None)) as writer:
        writer.execute("UPDATE runs SET status = 'RUNNING' WHERE run_uuid = ?", (run_id,))
        writer.execute("BEGIN IMMEDIATE")
        assert "1 runs" in checked(store).text
        assert Place().stores[Place().uri].runs[run_id].status == "RUNNING"  # type: ignore[index]


def test_schemas_that_are_not_the_installed_one(here: Path, database: Path) -> None:
    known, newest = stores.schemas()
    older = sorted(known - {newest})[0]
    execute(database, "UPDATE alembic_version SET version_num = ?", older)
    before = everything(here)
    found = checked(store)
    assert not found.is_healthy
    assert f"schema {older} is not this MLflow's {newest}" in found.text
    assert f"mlflow db upgrade sqlite:///{database}" in (found.advice or "")
    assert everything(here) == before
    execute(database, "UPDATE alembic_version SET version_num = 'ffffffffffff'")
    found = checked(store)
    assert not found.is_healthy
    assert "a newer one" in (found.advice or "")


def test_damaged_databases(database: Path) -> None:
    with closing(sqlite3.connect(database)) as connection:
        (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'metrics'").fetchone()
    data = bytearray(database.read_bytes())
    data[(page - 1) * 4096 : page * 4096] = random.Random(0).randbytes(4096)
    # a page that only the check reads; the first pages; the head
    for damaged in (data, data[:4096] + b"\0" * (len(data) - 4096), b"no database at all" * 100):
        database.write_bytes(damaged)
        found = checked(store)
        assert not found.is_healthy
        assert "damaged: " in found.text
        assert "primer sync" in (found.advice or "")
    assert "file is not a database" in checked(store).text


def test_a_writer_that_was_cut_off_did_no_damage(here: Path, database: Path) -> None:
    execute(database, "PRAGMA journal_mode=DELETE")
    whole = database.read_bytes()
    with closing(sqlite3.connect(database, isolation_level=None)) as writer:
        writer.execute("PRAGMA cache_size=1")  # so that it writes before it commits
        writer.execute("BEGIN IMMEDIATE")
        for number in range(50):
            row = (f"{number}", "x" * 4000)
            writer.execute("INSERT INTO tags (key, value, run_uuid) VALUES (?, ?, 'r')", row)
        torn = (database.read_bytes(), Path(f"{database}-journal").read_bytes())
    assert torn[0] != whole
    database.write_bytes(torn[0])
    Path(f"{database}-journal").write_bytes(torn[1])
    before = everything(here)
    found = checked(store)
    assert found.is_healthy
    assert "cut off" in found.text
    assert everything(here) == before


def test_files_that_are_not_mlflows(database: Path) -> None:
    database.write_bytes(b"")
    assert checked(store).is_healthy
    execute(database, "CREATE TABLE plants (name)")
    found = checked(store)
    assert not found.is_healthy
    assert "not MLflow's" in found.text
    database.unlink()
    database.mkdir()
    assert "Is a directory" in checked(store).text


def test_a_locked_database_is_no_damage(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "PATIENCE_S", 0.3)
    ended()
    execute(database, "PRAGMA journal_mode=DELETE")
    with LockedDatabase(f"sqlite:///{database}"):
        found = checked(store)
        assert found.is_healthy
        assert "locked by another process" in found.text
        assert "1 could not be compared" in checked(unshipped).text
        assert checked(stale).is_healthy
    monkeypatch.setattr(stores, "PATIENCE_S", 60)
    with ExitStack() as stack:
        stack.enter_context(LockedDatabase(f"sqlite:///{database}"))
        end = threading.Timer(0.3, stack.close)
        end.start()
        assert "0 runs" in checked(store).text
        end.join()


@pytest.mark.timeout(10)
@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("refuse", "refuses connections"),
        ("401", "refuses to let us in"),
        ("500", "answers 500"),
        ("html", "answers what MLflow would not"),
        ("garbage", "answers what MLflow would not"),
        ("reset", "breaks off"),
        ("hang", "does not answer in time"),
    ],
)
def test_a_server_that_is_none(mode: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    with FaultyFront(f"http://127.0.0.1:{free_port()}", mode) as front:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", front.uri.replace("//", "//me:hunter2@"))
        found = checked(store)
    assert not found.is_healthy
    assert found.text.startswith(front.uri)
    assert words in found.text
    assert "hunter2" not in repr(found)
    assert ("PASSWORD" in (found.advice or "")) == (mode == "401")


def test_a_server_and_its_runs(server: MlflowServer, monkeypatch: pytest.MonkeyPatch) -> None:
    with FaultyFront(server.uri) as front:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", front.uri)
        one, other = ended(), ended()
        run_id = shipped(one)
        assert re.search(r": answers, 1 runs$", checked(store).text)
        found = checked(unshipped)
        assert not found.is_healthy
        assert found.text == f"1 of 2 journals are in MLflow, whole; not {other.relative_to(Path.cwd())}"
        shipped(other)
        shipped(ended())
        (one / "mlflow.json").unlink()
        assert checked(unshipped).text.startswith("2 of 3")  # until it is asked for again
        shipped(one)
        monkeypatch.setattr(stores, "MAX_RUNS", 1)  # so that each of the questions is needed
        monkeypatch.setattr(stores, "CHUNK", 1)
        assert "1 or more runs" in checked(store).text
        assert checked(unshipped).text == "3 of 3 journals are in MLflow, whole"
        client = MlflowClient(front.uri)
        client.set_tag(run_id, "primer.shipped", "10")
        assert not checked(unshipped).is_healthy
        client.delete_run(run_id)
        assert checked(unshipped).is_healthy
        front.script([("ok", 1), ("500", 50)])
        found = checked(store)
        assert not found.is_healthy
        assert "500" in found.text
        assert "could not be compared" in checked(unshipped).text


def test_many_folders_cost_a_server_few_requests(
    server: MlflowServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FaultyFront(server.uri) as front:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", front.uri)
        first = begun("first")
        header = read(first)[0]
        shutil.rmtree(first)
        for number in range(250):
            folder = create_folder(f"many-{number}")
            with Journal(folder) as journal:
                journal.write(**header | {"id": uuid.uuid4().hex})
                journal.write("end", time=number, status="FINISHED", error=None, duration_s=1.0)
            (folder / "mlflow.json").write_text(json.dumps({"run_id": uuid.uuid4().hex}))
        found = checked(unshipped)
        assert found.text.startswith("0 of 250 journals are in MLflow, whole; not outputs/")
        assert found.text.endswith(" and 247 more")
        assert front.count() < 10
