"""`primer doctor` on the runs of a folder, and on what of them is in their stores."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

import pytest
from doctored import begun, checked, ended, everything, execute, shipped, worked_on
from mlflow import MlflowClient

from primer.config import compose
from primer.doctor.runs import environment, journals, last_error, runs, stale, unshipped
from primer.ending import Ending
from primer.folder import create_folder, write_header
from primer.leaving import write_end
from primer.tracking.journal import NAME, Journal


def test_how_runs_stand(here: Path) -> None:
    assert checked(runs).text == "none yet"
    ended(), ended(), ended("FAILED"), ended("KILLED")
    dead = begun("the-dead")
    before = everything(here)
    with worked_on(begun("the-living")) as process:
        found = checked(runs)
        assert not found.is_healthy
        short = dead.relative_to(here)
        assert found.text == f"1 dead, 1 failed, 2 finished, 1 killed, 1 running: {short}"
        assert f"primer resume {short}" in (found.advice or "")
        process.kill()
        process.wait()
        assert checked(runs).text.startswith("2 dead")
    assert {path: everything(here)[path] for path in before} == before


def test_journals_that_are_not_in_the_database(database: Path) -> None:
    untracked = create_folder("untracked")
    write_header(untracked, compose(["data=iris", "tracking=off"]))
    write_end(untracked, Ending("FINISHED", 0), 1.0)
    with worked_on(begun("it-ships-itself")):
        assert checked(unshipped).text == "0 of 0 journals are in MLflow, whole"
        folder = ended(name="mine")
        found = checked(unshipped)
        assert not found.is_healthy
        assert found.text.endswith(
            f"0 of 1 journals are in MLflow, whole; not {folder.relative_to(Path.cwd())}"
        )
        assert found.advice == "primer sync"
        run_id = shipped(folder)
        assert checked(unshipped).text == "1 of 1 journals are in MLflow, whole"
        with (folder / NAME).open("ab") as journal:
            journal.write(b"torn")
        assert checked(unshipped).text == "1 of 1 journals are in MLflow, whole"
        write_end(folder, Ending("FINISHED", 0), 1.0)
        assert not checked(unshipped).is_healthy
        MlflowClient(f"sqlite:///{database}").delete_run(run_id)
        assert checked(unshipped).is_healthy
        (ended(name="with-a-torn-receipt") / "mlflow.json").write_text("")
        assert checked(unshipped).text.startswith("1 of 2 journals")


def test_runs_that_only_the_store_calls_running(here: Path, database: Path) -> None:
    dead, gone, foreign = begun("dead"), begun("gone"), begun("foreign")
    ids = [shipped(folder) for folder in (dead, gone, foreign)]
    with worked_on(dead):
        shutil.rmtree(gone)
        execute(
            database, "UPDATE tags SET value = 'elsewhere' WHERE run_uuid = ? AND key = 'primer.host'", ids[2]
        )
        found = checked(stale)
        assert found.text == "1 RUNNING here; 1 RUNNING of elsewhere; 1 RUNNING without a folder"
    code = shlex.split(found.advice or "")[-1]
    exec(code, {})
    found = checked(stale)
    assert not found.is_healthy
    assert found.text == "1 RUNNING but over; 1 RUNNING of elsewhere"
    assert found.advice == f"primer sync {dead.relative_to(here)}"
    write_end(dead, Ending("KILLED", 137), 1.0)
    shipped(dead)
    found = checked(stale)
    assert found.is_healthy
    assert found.text == "1 RUNNING of elsewhere"


def test_a_folder_of_another_run_is_not_the_runs(database: Path) -> None:
    one, other = begun("one"), begun("other")
    run_id = shipped(one)
    shutil.copy(other / NAME, one / NAME)
    assert run_id in (checked(stale).advice or "")


def test_damaged_lines_are_told_from_torn_ones(here: Path) -> None:
    folder = ended()
    path = folder / NAME
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    for length in (len(lines[-1]) - 1, 30):
        path.write_bytes(whole + lines[-1][:length])
        assert checked(journals).is_healthy
    with Journal(folder) as journal:  # as a resumed run goes on after a torn record
        journal.write("alive", time=0)
    assert checked(journals).text == "1 read, no damaged line"
    lines[3] = lines[3].replace(b"0.5", b"0.7")
    path.write_bytes(b"".join(lines))
    found = checked(journals)
    assert not found.is_healthy
    assert found.text == f"{path.relative_to(here)}: 1 damaged lines"
    path.write_bytes(b"".join(lines[1:]))
    assert "does not begin with the run" in checked(journals).text
    assert checked(runs).text == "none yet"


def test_the_last_error_is_the_newest() -> None:
    assert checked(last_error).text == "no run failed"
    folders = [ended("FAILED", f"ValueError: number {number}") for number in (1, 2)]
    write_end(folders[0], Ending("FAILED", 1, "ValueError: number 3"), 1.0)
    ended("KILLED", "stopped by SIGTERM")
    found = checked(last_error)
    assert found.is_healthy
    assert found.text == f"{folders[0].relative_to(Path.cwd())}: ValueError: number 3"


def test_the_environment_points_elsewhere(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert checked(environment).text == "MLFLOW_TRACKING_URI is not set"
    ended()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
    assert checked(environment).text == "MLFLOW_TRACKING_URI=sqlite:///mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:hunter2@127.0.0.1:1")
    found = checked(environment)
    assert found.is_healthy
    start = "MLFLOW_TRACKING_URI=http://127.0.0.1:1; 1 runs of outputs went to another store: "
    assert found.text == f"{start}sqlite:///{here / 'mlflow.db'}"
    assert not checked(unshipped).is_healthy


def test_a_project_that_was_moved(here: Path, database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "old").mkdir()
    shutil.copy(database, here / "old")
    monkeypatch.chdir(here / "old")
    shipped(ended())
    monkeypatch.chdir((here / "old").rename(here / "new"))
    assert checked(unshipped).text == "1 of 1 journals are in MLflow, whole"
    assert checked(environment).text == "MLFLOW_TRACKING_URI is not set"
