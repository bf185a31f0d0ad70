"""Whatever happens to MLflow or to a disk, training ends well and every point arrives once."""

from __future__ import annotations

import math
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
from faulty_server import FaultyFront, LockedDatabase, MlflowServer
from going import worker_of
from mlflow import MlflowClient
from resuming import work_in
from runs import primer, run_folders
from shipping import (
    FULL,
    STEPS,
    TRAINING,
    again,
    check_whole,
    finite_points,
    shipped,
    started,
    the_run,
    until,
    write,
)

from primer.config import compose
from primer.ending import Ending
from primer.folder import write_header
from primer.leaving import leave_files, write_end
from primer.stopping import StopSignal
from primer.tracking.courier import Courier
from primer.tracking.journal import Record, read
from primer.tracking.shipment import Shipment
from primer.tracking.store import Store
from primer.training.checkpoint import Checkpoints


class Absent(NamedTuple):
    """A run whose server is not there yet."""

    cwd: Path
    front: FaultyFront
    run: subprocess.Popen[str]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a model that was trained and never shipped."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    folder.mkdir()
    write_header(folder, compose([*TRAINING, "tracking.uri=http://127.0.0.1:9"]))
    assert work_in(folder) == 0, (folder / "worker.log").read_text()
    leave_files(folder)
    write_end(folder, Ending("FINISHED", 0), 1.0)
    assert (folder / "model" / "MLmodel").exists()
    return folder


@pytest.fixture(scope="module")
def server(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    with MlflowServer(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture(scope="module")
def absent(server: MlflowServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Absent]:
    """A run that goes on beside the other tests, whose server is never there."""
    cwd = tmp_path_factory.mktemp("absent")
    with FaultyFront(server.uri, "refuse") as front:
        run = started(cwd, f"tracking.uri={front.uri}", "tracking.experiment=absent")
        yield Absent(cwd, front, run)
        run.kill()
        run.communicate()


@pytest.fixture(autouse=True, scope="module")
def _begin_early(absent: Absent) -> None:
    """It waits for half a minute, so it begins first."""


@pytest.fixture
def front(server: MlflowServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyFront]:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "3")
    with FaultyFront(server.uri) as front:
        yield front


@contextmanager
def courier_of(folder: Path, uri: str) -> Iterator[Courier]:
    """A courier at work."""
    courier = Courier(uri, folder)
    courier.start()
    try:
        yield courier
    finally:
        courier.abandon()


FAULTS = ("500", "429", "reset", "hang", "garbage", "html", "truncated", "lost_answer", "slow", "refuse")


@pytest.mark.parametrize("mode", FAULTS)
def test_the_courier_outlasts_a_fault_in_the_middle(
    trained: Path, tmp_path: Path, server: MlflowServer, front: FaultyFront, mode: str
) -> None:
    folder = tmp_path / f"middle_{mode}"
    first, *rest = chunks(again(trained, folder, has_model=False), 4)
    write(folder, first)
    with courier_of(folder, front.uri) as courier:
        until(lambda: front.count("log-batch") > 1)
        before = front.count()
        front.mode = mode
        for part in rest[:2]:
            write(folder, part)
            until(lambda: courier.trouble if mode == "refuse" else front.count() > before)
        front.mode = "ok"
        write(folder, rest[2])
        with StopSignal() as stop:
            courier.finish(stop, is_hurried=False)
    check_whole(server.db_uri, server.uri, folder)


def chunks(records: list[Record], number: int) -> list[list[Record]]:
    """The records in so many parts, in order."""
    size = -(-len(records) // number)
    return [records[start : start + size] for start in range(0, len(records), size)]


def kinds(requests: list[tuple[float, str, str]]) -> dict[tuple[str, str], int]:
    """The first request of each kind: (method, what it does) -> its number."""
    found: dict[tuple[str, str], int] = {}
    for number, (_, method, path) in enumerate(requests):
        parts = path.partition("?")[0].split("/")
        found.setdefault((method, "/".join(parts[4:6]) if "/mlflow/" in path else parts[-1]), number)
    return found


def test_any_one_request_may_be_lost(
    trained: Path, tmp_path: Path, server: MlflowServer, front: FaultyFront
) -> None:
    folder = tmp_path / "none_lost"
    write(folder, again(trained, folder))
    shipped(folder, front.uri)
    found = kinds(front.requests)
    assert {("POST", "runs/create"), ("PUT", "config.yaml"), ("PUT", "MLmodel")} <= set(found)
    for (method, _), number in found.items():
        for mode in ("html", "lost_answer") if method == "PUT" and number % 3 == 0 else ("lost_answer",):
            folder = tmp_path / f"lost_{number}_{mode}"
            write(folder, again(trained, folder))
            front.script([*([("ok", number)] if number else []), (mode, 1)])
            shipped(folder, front.uri, tries=2)
            check_whole(server.db_uri, server.uri, folder)


def test_what_is_shipped_again_is_not_doubled_and_what_was_lost_is_rebuilt(
    trained: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "rebuilt"
    write(folder, again(trained, folder))
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    shipment = Shipment(folder, uri)
    assert [shipment.advance(), Shipment(folder, uri).advance(), Shipment(folder, uri).advance()] == [
        True,
        False,
        False,
    ]
    first = check_whole(uri, uri, folder).info.run_id
    fresh = f"sqlite:///{tmp_path / 'fresh.db'}"
    assert Shipment(folder, fresh).advance()
    assert check_whole(fresh, fresh, folder).info.run_id != first
    client = MlflowClient(fresh)
    deleted = the_run(fresh, folder.name)
    client.delete_run(deleted.info.run_id)
    assert not Shipment(folder, fresh).advance()
    assert client.search_runs([deleted.info.experiment_id]) == []  # by somebody who meant it


def test_a_locked_database_is_waited_for(trained: Path, tmp_path: Path) -> None:
    folder = tmp_path / "locked"
    write(folder, again(trained, folder, has_model=False))
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    Store(uri)
    with courier_of(folder, uri) as courier:
        with LockedDatabase(uri):
            until(lambda: courier.trouble)
            assert "locked" in str(courier.trouble)
            assert not courier.is_out_of_room
        courier._wake.set()
        until(lambda: not courier.is_alive())
    check_whole(uri, uri, folder)


def test_a_changed_param_is_a_tag_and_nonfinite_points_are_not_sent(
    trained: Path, tmp_path: Path, server: MlflowServer
) -> None:
    folder = tmp_path / "drift"
    records = again(trained, folder, has_model=False)
    params = read(folder)[0]["params"]
    odd = {"kind": "points", "key": "odd", "steps": [1, 2, 3, 4]}
    odd |= {"times": [1, 2, 3, 4], "values": [math.nan, math.inf, -math.inf, 0.5]}
    resume = {"kind": "resume", "time": 0, "tags": {}, "params": params | {"max_steps": 2 * STEPS}}
    start = next(record for record in records if record["kind"] == "start")
    write(folder, [*records, resume, start, odd])
    shipped(folder, server.uri)
    run = check_whole(server.db_uri, server.uri, folder, status="RUNNING")
    assert run.data.tags["primer.drift.max_steps"] == f"{STEPS} -> {2 * STEPS}"
    assert run.data.params["max_steps"] == str(STEPS)
    assert run.data.tags["primer.nonfinite"] == "odd is nan at step 1"
    write(folder, [records[-1]])
    shipped(folder, server.uri)
    check_whole(server.db_uri, server.uri, folder)


def test_a_server_that_is_never_there_costs_a_line(absent: Absent, server: MlflowServer) -> None:
    printed, complaint = absent.run.communicate(timeout=240)
    assert absent.run.returncode == 0
    assert "FINISHED" in printed
    assert len(complaint.splitlines()) == 1, complaint
    assert absent.front.uri in complaint
    assert "primer sync" in complaint
    (folder,) = run_folders(absent.cwd)
    assert primer("sync", cwd=absent.cwd).returncode == 1
    absent.front.mode = "ok"
    for said in (f"{folder}: shipped as ", "1 of 1 runs are in MLflow, whole\n"):
        done = primer("sync", cwd=absent.cwd)
        assert done.returncode == 0
        assert done.stdout.startswith(said)
    check_whole(server.db_uri, server.uri, folder, "absent")


def test_a_run_killed_in_an_outage_is_synced_and_resumed(
    trained: Path, tmp_path: Path, server: MlflowServer, front: FaultyFront
) -> None:
    killed = started(tmp_path, f"tracking.uri={front.uri}", "tracking.experiment=killed", "max_steps=100000")
    until(lambda: front.count("log-batch") > 3 or killed.poll() is not None)
    (folder,) = run_folders(tmp_path)
    front.mode = "reset"
    seen = front.count()
    until(lambda: front.count() > seen and len(list(folder.glob("checkpoints/step-*.ckpt"))) > 1)
    for pid in (worker_of(killed.pid), killed.pid):
        os.killpg(pid, signal.SIGKILL)
    killed.communicate()
    assert primer("sync", cwd=tmp_path).returncode == 1
    front.mode = "ok"
    done = primer("sync", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    check_whole(server.db_uri, server.uri, folder, "killed", "KILLED")
    _, newest, _ = Checkpoints(folder / "checkpoints").newest_whole()
    assert newest
    step = int(newest.stem.removeprefix("step-")) + 2000
    done = primer("resume", "last", f"max_steps={step}", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    check_whole(server.db_uri, server.uri, folder, "killed")
    same = ("train/loss", "val/loss", "val/accuracy", "val/f1")
    undisturbed, mine = (
        {key: value for key, (_, value) in finite_points(run).items() if key[0] in same}
        for run in (trained, folder)
    )
    assert undisturbed.items() <= mine.items()


def test_a_journal_that_may_not_grow_is_a_failure_that_mlflow_knows(
    tmp_path: Path, server: MlflowServer
) -> None:
    options = (*FULL, "tracking.log_model=false", f"tracking.uri={server.uri}", "tracking.experiment=journal")
    run = started(tmp_path, *options, first="ulimit -f 200")  # 100 KiB a file
    printed, complaint = run.communicate(timeout=240)
    assert run.returncode == 1, printed + complaint
    (folder,) = run_folders(tmp_path)
    stored = the_run(server.uri, "journal")
    assert stored.info.status == "FAILED"
    assert f"{folder}/journal" in stored.data.tags["primer.error"]
    assert stored.data.tags["primer.error"] in printed.splitlines()
    assert "Traceback" not in printed + complaint
    state, _, complaints = Checkpoints(folder / "checkpoints").newest_whole()
    assert state is not None
    assert not complaints
    assert finite_points(folder)
