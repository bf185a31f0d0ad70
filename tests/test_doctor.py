"""`primer doctor` finds what is broken, in real stores, folders and processes, and changes none of them."""

from __future__ import annotations

import json
import os
import pty
import random
import re
import shlex
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from faulty_server import FaultyFront, LockedDatabase, MlflowServer, free_port
from mlflow import MlflowClient
from runs import Trained

from primer import doctor
from primer.config import compose
from primer.doctor import Finding, Place
from primer.ending import Ending
from primer.folder import create_folder, write_header
from primer.leaving import write_end
from primer.sync import ship
from primer.tracking.journal import NAME, Journal, read
from primer.tracking.store import Store

DATABASE = "mlflow.db"
DATA = {"name": "iris", "digest": "0", "source": "iris", "features": ["a"], "target": "b"}
DATA |= {"num_rows": 150, "task": "classification", "criterion": "cross_entropy"}
HOLD = """
import sys
from pathlib import Path
from primer.folder import held
with held(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Each test's own working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database as MLflow makes it."""
    path = tmp_path_factory.mktemp("migrated") / DATABASE
    Store(f"sqlite:///{path}")
    return path


@pytest.fixture
def database(migrated: Path, here: Path) -> Path:
    """The database of this test's directory."""
    return Path(shutil.copy(migrated, here / DATABASE))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, migrated: Path) -> Iterator[MlflowServer]:
    folder = tmp_path_factory.mktemp("server")
    shutil.copy(migrated, folder)
    with MlflowServer(folder) as server:
        yield server


@cache
def config() -> dict[str, Any]:
    return compose(["data=iris"])


def begun(name: str = "run") -> Path:
    """A run folder as the controller makes it, with a worker's first records."""
    folder = create_folder(name)
    write_header(folder, config())
    with Journal(folder) as journal:
        journal.write("data", **DATA)
        journal.write("start", num_steps=9, num_params=3, device="cpu", num_threads=1, step=0)
        journal.write("points", key="train/loss", steps=[1], times=[1700000000000], values=[0.5])
    return folder


def ended(status: str = "FINISHED", error: str | None = None, name: str = "run") -> Path:
    folder = begun(name)
    write_end(folder, Ending(status, 0, error), 1.0)
    return folder


def shipped(folder: Path) -> str:
    """Ship a run folder; the run's id in MLflow."""
    result = ship(folder)
    assert result.error is None
    assert result.run_id
    return result.run_id


@contextmanager
def worked_on(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process works on the run, until it is killed."""
    command = [sys.executable, "-c", HOLD, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.send_signal(signal.SIGKILL)


def everything(folder: Path) -> dict[str, tuple[int, bytes]]:
    """All files below a folder: when they were changed, and what is in them."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def execute(database: Path, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute(statement, values)


def checked(check: Callable[[Place], Finding]) -> Finding:
    """One check of this directory."""
    found = check(Place())
    assert "\n" not in found.text + (found.advice or "")
    return found


def test_an_empty_folder_is_healthy_and_stays_empty(here: Path) -> None:
    code = """
import sys
from primer.doctor import doctor, show
code = show(doctor())
print(code, *(name for name in ("torch", "mlflow") if name in sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    *lines, last = done.stdout.splitlines()
    names = ["versions", "devices", "store", "runs", "unshipped", "stale", "disk", "journals", "last error"]
    assert [line[3:14].strip() for line in lines if not line.startswith(" ")] == [*names, "environment"]
    assert [line[:2] for line in lines if line.startswith("!!") and " disk " not in line] == []
    assert last in ("0", "1" if "!! disk" in done.stdout else "0")
    assert "\x1b" not in done.stdout
    assert "not created yet" in lines[2]
    assert list(here.iterdir()) == []


def test_a_place_with_a_run_is_healthy_and_stays_as_it_is(
    default_run: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(default_run.cwd)
    before = everything(default_run.cwd)
    found = {finding.name: finding for finding in doctor.doctor()}
    assert everything(default_run.cwd) == before
    assert [finding for finding in found.values() if not finding.is_healthy and finding.name != "disk"] == []
    assert "schema is current, sound, WAL" in found["store"].text
    assert found["runs"].text == "1 finished"
    assert found["unshipped"].text == "1 of 1 journals are in MLflow, whole"


@pytest.mark.parametrize(
    ("distribution", "version", "advice"),
    [
        ("torch", "2.9.1+cpu", "CVE-2026-24747"),
        ("lightning", "2.6.2", "malicious"),
        ("lightning", "2.6.3", "malicious"),
    ],
)
def test_bad_versions(
    distribution: str, version: str, advice: str, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert checked(doctor.versions).is_healthy
    meta = here / f"{distribution}-{version}.dist-info" / "METADATA"
    meta.parent.mkdir()
    meta.write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
    monkeypatch.syspath_prepend(here)
    found = checked(doctor.versions)
    assert not found.is_healthy
    assert f"{distribution} {version}" in found.text
    assert advice in (found.advice or "")


def test_a_missing_distribution(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "DISTRIBUTIONS", ("torch", "torch-nowhere"))
    found = checked(doctor.versions)
    assert not found.is_healthy
    assert found.text.endswith("torch-nowhere missing")
    assert found.advice == "pip install torch-nowhere"


def test_a_torch_that_does_not_import(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(here))
    (here / "torch.py").write_text("raise ImportError('libcudart.so.12: cannot open')")
    found = checked(doctor.devices)
    assert not found.is_healthy
    assert re.search(r"\d+ CPUs.*ImportError: libcudart.so.12: cannot open", found.text)
    (here / "torch.py").write_text("import time; time.sleep(5)")
    monkeypatch.setattr(doctor, "IMPORT_S", 0.2)
    assert "it takes more than 0.2 s" in checked(doctor.devices).text
    (here / "torch.py").write_text("import os; os.kill(os.getpid(), 11)")
    monkeypatch.setattr(doctor, "IMPORT_S", 60.0)
    assert "its process ended with -11" in checked(doctor.devices).text
    (here / "torch.py").write_text("import os; os._exit(0)")
    assert "it ended without a word" in checked(doctor.devices).text


def test_a_sound_database_is_read_and_left_alone(here: Path, database: Path) -> None:
    before = everything(here)
    assert checked(doctor.store).text == f"sqlite:///{database}: 0 runs, schema is current, sound, WAL"
    assert everything(here) == before
    execute(database, "PRAGMA journal_mode=DELETE")
    before = everything(here)
    found = checked(doctor.store)
    assert found.is_healthy
    assert found.text.endswith("no WAL yet")
    assert everything(here) == before


def test_a_database_that_is_written_is_read_too(database: Path) -> None:
    run_id = shipped(ended())
    with closing(sqlite3.connect(database, isolation_level=None)) as writer:
        writer.execute("UPDATE runs SET status = 'RUNNING' WHERE run_uuid = ?", (run_id,))
        writer.execute("BEGIN IMMEDIATE")
        assert "1 runs" in checked(doctor.store).text
        assert Place().stores[Place().uri].runs[run_id].status == "RUNNING"  # type: ignore[index]


def test_schemas_that_are_not_the_installed_one(here: Path, database: Path) -> None:
    known = doctor._schemas()
    execute(database, "UPDATE alembic_version SET version_num = ?", known[1])
    before = everything(here)
    found = checked(doctor.store)
    assert not found.is_healthy
    assert f"schema {known[1]} is older than MLflow's {known[0]}" in found.text
    assert f"mlflow db upgrade sqlite:///{database}" in (found.advice or "")
    assert everything(here) == before
    execute(database, "UPDATE alembic_version SET version_num = 'ffffffffffff'")
    found = checked(doctor.store)
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
        found = checked(doctor.store)
        assert not found.is_healthy
        assert "damaged: " in found.text
        assert "primer sync" in (found.advice or "")
    assert "file is not a database" in checked(doctor.store).text


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
    found = checked(doctor.store)
    assert found.is_healthy
    assert "cut off" in found.text
    assert everything(here) == before


def test_files_that_are_not_mlflows(database: Path) -> None:
    database.write_bytes(b"")
    assert checked(doctor.store).is_healthy
    execute(database, "CREATE TABLE plants (name)")
    found = checked(doctor.store)
    assert not found.is_healthy
    assert "not MLflow's" in found.text
    database.unlink()
    database.mkdir()
    assert "Is a directory" in checked(doctor.store).text


def test_a_locked_database_is_no_damage(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "PATIENCE_S", 0.3)
    ended()
    execute(database, "PRAGMA journal_mode=DELETE")
    with LockedDatabase(f"sqlite:///{database}"):
        found = checked(doctor.store)
        assert found.is_healthy
        assert "locked by another process" in found.text
        assert "1 could not be compared" in checked(doctor.unshipped).text
        assert checked(doctor.stale).is_healthy
    monkeypatch.setattr(doctor, "PATIENCE_S", 60)
    with ExitStack() as stack:
        stack.enter_context(LockedDatabase(f"sqlite:///{database}"))
        end = threading.Timer(0.3, stack.close)
        end.start()
        assert "0 runs" in checked(doctor.store).text
        end.join()


@pytest.mark.timeout(10)
@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("refuse", "Connection refused"),
        ("401", "HTTP 401"),
        ("500", "HTTP 500"),
        ("html", "doctype html"),
        ("garbage", "where MLflow tells its version"),
        ("reset", "reset"),
        ("hang", "timed out"),
    ],
)
def test_a_server_that_is_none(mode: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "PATIENCE_S", 0.5)
    with FaultyFront(f"http://127.0.0.1:{free_port()}", mode) as front:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", front.uri.replace("//", "//me:hunter2@"))
        found = checked(doctor.store)
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
        assert re.search(r": MLflow \d+\.\d+\.\d+, 1 runs$", checked(doctor.store).text)
        found = checked(doctor.unshipped)
        assert not found.is_healthy
        assert found.text == f"1 of 2 journals are in MLflow, whole; not {other.relative_to(Path.cwd())}"
        shipped(other)
        shipped(ended())
        (one / "mlflow.json").unlink()
        monkeypatch.setattr(doctor, "MAX_COUNTED", 1)  # so that each of the questions is needed
        assert "1 or more runs" in checked(doctor.store).text
        assert checked(doctor.unshipped).text == "3 of 3 journals are in MLflow, whole"
        client = MlflowClient(front.uri)
        client.set_tag(run_id, "primer.shipped", "10")
        assert not checked(doctor.unshipped).is_healthy
        client.delete_run(run_id)
        assert checked(doctor.unshipped).is_healthy
        front.script([("ok", 1), ("500", 50)])
        found = checked(doctor.store)
        assert not found.is_healthy
        assert "answers, but not about its runs" in found.text
        assert "could not be compared" in checked(doctor.unshipped).text


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
        found = checked(doctor.unshipped)
        assert found.text.startswith("0 of 250 journals are in MLflow, whole; not outputs/")
        assert found.text.endswith(" and 247 more")
        assert front.count() < 10


def test_how_runs_stand(here: Path) -> None:
    assert checked(doctor.runs).text == "none yet"
    ended(), ended(), ended("FAILED"), ended("KILLED")
    dead = begun("the-dead")
    before = everything(here)
    with worked_on(begun("the-living")) as process:
        found = checked(doctor.runs)
        assert not found.is_healthy
        short = dead.relative_to(here)
        assert found.text == f"1 dead, 1 failed, 2 finished, 1 killed, 1 running: {short}"
        assert f"primer resume {short}" in (found.advice or "")
        process.kill()
        process.wait()
        assert checked(doctor.runs).text.startswith("2 dead")
    assert {path: everything(here)[path] for path in before} == before


def test_journals_that_are_not_in_the_database(database: Path) -> None:
    untracked = create_folder("untracked")
    write_header(untracked, compose(["data=iris", "tracking=off"]))
    write_end(untracked, Ending("FINISHED", 0), 1.0)
    with worked_on(begun("it-ships-itself")):
        assert checked(doctor.unshipped).text == "0 of 0 journals are in MLflow, whole"
        folder = ended(name="mine")
        found = checked(doctor.unshipped)
        assert not found.is_healthy
        assert found.text.endswith(
            f"0 of 1 journals are in MLflow, whole; not {folder.relative_to(Path.cwd())}"
        )
        assert found.advice == "primer sync"
        run_id = shipped(folder)
        assert checked(doctor.unshipped).text == "1 of 1 journals are in MLflow, whole"
        with (folder / NAME).open("ab") as journal:
            journal.write(b"torn")
        assert checked(doctor.unshipped).text == "1 of 1 journals are in MLflow, whole"
        write_end(folder, Ending("FINISHED", 0), 1.0)
        assert not checked(doctor.unshipped).is_healthy
        MlflowClient(f"sqlite:///{database}").delete_run(run_id)
        assert checked(doctor.unshipped).is_healthy
        (ended(name="with-a-torn-receipt") / "mlflow.json").write_text("")
        assert checked(doctor.unshipped).text.startswith("1 of 2 journals")


def test_runs_that_only_the_store_calls_running(here: Path, database: Path) -> None:
    dead, gone, foreign = begun("dead"), begun("gone"), begun("foreign")
    ids = [shipped(folder) for folder in (dead, gone, foreign)]
    with worked_on(dead):
        shutil.rmtree(gone)
        execute(
            database, "UPDATE tags SET value = 'elsewhere' WHERE run_uuid = ? AND key = 'primer.host'", ids[2]
        )
        found = checked(doctor.stale)
        assert found.text == f"1 RUNNING here; 1 RUNNING without a folder: {ids[1]}; 1 RUNNING of elsewhere"
    code = shlex.split(found.advice or "")[-1]
    exec(code, {})
    found = checked(doctor.stale)
    assert not found.is_healthy
    assert found.text == f"1 RUNNING but over: {dead.relative_to(here)}; 1 RUNNING of elsewhere"
    assert found.advice == f"primer sync {dead.relative_to(here)}"
    write_end(dead, Ending("KILLED", 137), 1.0)
    shipped(dead)
    found = checked(doctor.stale)
    assert found.is_healthy
    assert found.text == "1 RUNNING of elsewhere"


def test_a_folder_of_another_run_is_not_the_runs(database: Path) -> None:
    one, other = begun("one"), begun("other")
    run_id = shipped(one)
    shutil.copy(other / NAME, one / NAME)
    assert run_id in checked(doctor.stale).text


def test_little_room(monkeypatch: pytest.MonkeyPatch, here: Path) -> None:
    monkeypatch.setenv("TMPDIR", str(here / "not" / "there"))
    monkeypatch.setattr(doctor, "LEAST_FREE", 0)
    monkeypatch.setattr(doctor, "LEAST_FREE_PART", 0)
    found = checked(doctor.disk)
    assert found.is_healthy
    assert re.fullmatch(r"outputs, temporary files, database: [\d.]+ of [\d.]+ GB free", found.text)
    for limit, value in (("LEAST_FREE", 1e18), ("LEAST_FREE_PART", 1.0)):
        with monkeypatch.context() as context:
            context.setattr(doctor, limit, value)
            found = checked(doctor.disk)
        assert not found.is_healthy
        assert "make room" in (found.advice or "")


def test_damaged_lines_are_told_from_torn_ones(here: Path) -> None:
    folder = ended()
    path = folder / NAME
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    for length in (len(lines[-1]) - 1, 30):
        path.write_bytes(whole + lines[-1][:length])
        assert checked(doctor.journals).is_healthy
    with Journal(folder) as journal:  # as a resumed run goes on after a torn record
        journal.write("alive", time=0)
    assert checked(doctor.journals).text == "1 read, no damaged line"
    lines[3] = lines[3].replace(b"0.5", b"0.7")
    path.write_bytes(b"".join(lines))
    found = checked(doctor.journals)
    assert not found.is_healthy
    assert found.text == f"{path.relative_to(here)}: 1 damaged lines"
    path.write_bytes(b"".join(lines[1:]))
    assert "does not begin with the run" in checked(doctor.journals).text
    assert checked(doctor.runs).text == "none yet"


def test_the_last_error_is_the_newest() -> None:
    assert checked(doctor.last_error).text == "no run failed"
    folders = [ended("FAILED", f"ValueError: number {number}") for number in (1, 2)]
    write_end(folders[0], Ending("FAILED", 1, "ValueError: number 3"), 1.0)
    ended("KILLED", "stopped by SIGTERM")
    found = checked(doctor.last_error)
    assert found.is_healthy
    assert found.text == f"{folders[0].relative_to(Path.cwd())}: ValueError: number 3"


def test_the_environment_points_elsewhere(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert checked(doctor.environment).text == "MLFLOW_TRACKING_URI is not set"
    ended()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
    assert checked(doctor.environment).text == "MLFLOW_TRACKING_URI=sqlite:///mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:hunter2@127.0.0.1:1")
    found = checked(doctor.environment)
    assert found.is_healthy
    start = "MLFLOW_TRACKING_URI=http://127.0.0.1:1; 1 runs of outputs went to another store: "
    assert found.text == f"{start}sqlite:///{here / DATABASE}"
    assert not checked(doctor.unshipped).is_healthy


def test_no_place_is_too_broken(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "TORCH", "print('[]')")
    (begun() / NAME).unlink()
    (ended() / NAME).write_bytes(b"")
    folder = create_folder("folder")
    (folder / NAME).mkdir()
    found = {finding.name: finding for finding in doctor.doctor()}
    assert "Is a directory" in found["journals"].text
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://me:hunter2@nowhere/mlflow")
    found = {finding.name: finding for finding in doctor.doctor()}
    assert "not looked at" in found["store"].text
    assert "hunter2" not in repr(found)
    lost = here / "lost"
    lost.mkdir()
    monkeypatch.chdir(lost)
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    lost.rmdir()
    assert "FileNotFoundError" in next(found.text for found in doctor.doctor() if found.name == "runs")
    monkeypatch.chdir(here)


BROKEN = Finding("store", False, "too broken " * 10, "mend it")


def test_advice_stands_below_what_is_broken(capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.show([Finding("runs", True, "[bold]none\udcff", "not shown")]) == 0
    assert capsys.readouterr().out == "ok runs        [bold]none\\udcff\n"
    assert doctor.show([Finding("runs", True, "none"), BROKEN]) == 1
    assert capsys.readouterr().out == (
        f"ok runs        none\n!! store       {'too broken ' * 9}too broken\n{'':15}mend it\n"
    )


def test_lines_are_wrapped_on_a_terminal() -> None:
    ours, theirs = pty.openpty()
    code = f"from primer.doctor import Finding, show; show([{BROKEN!r}])"
    environment = os.environ | {"COLUMNS": "60", "TERM": "xterm-256color"}
    subprocess.run([sys.executable, "-c", code], stdout=theirs, env=environment, check=True)
    os.close(theirs)
    written = os.read(ours, 65536).decode()
    os.close(ours)
    assert "\x1b[" in written
    lines = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", written).splitlines()
    assert max(len(line) for line in lines) <= 60
    assert lines[-1] == f"{'':15}mend it"
    assert len(lines) == 4
