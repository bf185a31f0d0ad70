"""Whatever happens to MLflow or to a disk, training ends well and every point arrives once."""

from __future__ import annotations

import copy
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from faulty_server import FaultyFront, LockedDatabase, MlflowServer, points_of
from mlflow import MlflowClient
from mlflow.entities import Run
from resuming import work_in
from runs import primer, run_folders

from primer.config import compose
from primer.ending import Ending, ending_of
from primer.folder import write_header
from primer.leaving import leave_files, write_end
from primer.stopping import StopSignal
from primer.tracking.courier import Courier
from primer.tracking.journal import Journal, Record, last_attempt, read
from primer.tracking.shipment import ARTIFACTS, Shipment
from primer.tracking.store import Store
from primer.training.checkpoint import Checkpoints

STEPS = 400
TRAINING = ("data=iris", "max_epochs=null", f"max_steps={STEPS}", "checkpoint_every_n_steps=50")
Points = dict[tuple[str, int], tuple[int, float]]  # (key, step) -> time, value


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


@contextmanager
def small_disk(place: Path, size: str) -> Iterator[Path]:
    """A file system of its own; the test is left out where nobody may mount one."""
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(place)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting is not permitted here")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(disk: Path, but: int) -> None:
    """Leave only so many bytes free."""
    free = shutil.disk_usage(disk).free
    (disk / "fill").write_bytes(b"x" * (free - but))


@pytest.fixture(scope="module")
def server(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    with MlflowServer(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture(scope="module")
def absent(server: MlflowServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Absent]:
    """A run that goes on beside the other tests, whose server is never there."""
    cwd = tmp_path_factory.mktemp("absent")
    with FaultyFront(server.uri, "refuse") as front:
        with started(cwd, f"tracking.uri={front.uri}", "tracking.experiment=absent") as run:
            yield Absent(cwd, front, run)
            run.kill()


@pytest.fixture(autouse=True, scope="module")
def _begin_early(absent: Absent) -> None:
    """It waits for half a minute, so it begins first."""


@pytest.fixture
def front(server: MlflowServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyFront]:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "3")
    with FaultyFront(server.uri) as front:
        yield front


def again(trained: Path, folder: Path, *, has_model: bool = True) -> list[Record]:
    """Make `folder` another run of the same points, begun only; the records that are to follow."""
    without = ("journal", "mlflow.json", *(() if has_model else ("model",)))
    shutil.copytree(trained, folder, ignore=lambda _, names: [name for name in names if name in without])
    header, *rest = copy.deepcopy(read(trained))
    header |= {"id": folder.name, "experiment": folder.name}
    write(folder, [header])
    return rest


def write(folder: Path, records: list[Record]) -> None:
    """Append records to a journal."""
    with Journal(folder) as journal:
        for record in records:
            journal.write(**record)


def finite_points(folder: Path) -> Points:
    """The points of a journal, each once."""
    found: Points = {}
    for r in read(folder):
        if r["kind"] == "points":
            for step, at, value in zip(r["steps"], r["times"], r["values"], strict=True):
                assert (r["key"], step) not in found
                if math.isfinite(value):
                    found[r["key"], step] = (at, value)
    return found


def the_run(uri: str, experiment: str) -> Run:
    """The only run of an experiment."""
    client = MlflowClient(uri)
    found = client.get_experiment_by_name(experiment)
    assert found is not None
    (run,) = client.search_runs([found.experiment_id])
    return run


def check_whole(
    db_uri: str, uri: str, folder: Path, experiment: str | None = None, status: str = "FINISHED"
) -> Run:
    """All of a run folder is in MLflow, once."""
    run = the_run(uri, experiment or folder.name)
    assert run.info.status == status
    points = finite_points(folder)
    stored: Points = {}
    for key in {key for key, _ in points}:
        for step, at, value in points_of(db_uri, run.info.run_id, key):
            assert (key, step) not in stored, f"{key} at step {step} is there twice"
            stored[key, step] = (at, value)
    assert stored == points
    header = read(folder)[0]
    assert header["params"].keys() | {"criterion"} == run.data.params.keys()
    assert run.inputs.dataset_inputs[0].dataset.name == "iris"
    client = MlflowClient(uri)
    artifacts = {file.path: file.file_size for file in client.list_artifacts(run.info.run_id)}
    kept = {name: (folder / name).stat().st_size for name in ARTIFACTS if (folder / name).exists()}
    assert {name: size for name, size in artifacts.items() if name in kept} == kept
    if (folder / "model" / "MLmodel").exists():
        mine = f"source_run_id = '{run.info.run_id}'"
        (model,) = client.search_logged_models([run.info.experiment_id], mine)
        assert model.status.value == "READY"
        there = {file.path for file in client.list_logged_model_artifacts(model.model_id)}
        assert there >= {"MLmodel", "data", "serving", "requirements.txt"}
    return run


def until(is_so: Callable[[], Any], timeout: float = 120) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + timeout
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@contextmanager
def courier_of(folder: Path, uri: str) -> Iterator[Courier]:
    """A courier at work."""
    courier = Courier(folder, uri)
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
        until(lambda: front.count("log-batch") > 2)
        before = front.count()
        front.mode = mode
        for part in rest[:2]:
            write(folder, part)
            until(lambda: courier.trouble if mode == "refuse" else front.count() > before)
        front.mode = "ok"
        write(folder, rest[2])
        with StopSignal() as stop:
            courier.finish(stop, read(folder)[-1], is_hurried=False)
    check_whole(server.db_uri, server.uri, folder)


def chunks(records: list[Record], number: int) -> list[list[Record]]:
    """The records in so many parts, in order."""
    size = -(-len(records) // number)
    return [records[start : start + size] for start in range(0, len(records), size)]


def shipped(folder: Path, uri: str, tries: int = 1) -> int:
    """Ship a run folder, as `primer sync` does again and again; how many tries failed."""
    for failed in range(tries):
        try:
            Shipment(folder, uri).advance()
            return failed
        except Exception:
            assert failed < tries - 1
    raise AssertionError


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
    client.delete_run(the_run(fresh, folder.name).info.run_id)
    assert Shipment(folder, fresh).advance()
    check_whole(fresh, fresh, folder)


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
    write(folder, [*records, resume, odd])
    shipped(folder, server.uri)
    run = check_whole(server.db_uri, server.uri, folder, status="RUNNING")
    assert run.data.tags["primer.drift.max_steps"] == f"{STEPS} -> {2 * STEPS}"
    assert run.data.params["max_steps"] == str(STEPS)
    assert run.data.tags["primer.nonfinite"] == "odd is nan at step 1"
    write(folder, [records[-1]])
    shipped(folder, server.uri)
    check_whole(server.db_uri, server.uri, folder)


def started(cwd: Path, *overrides: str, first: str = "true") -> subprocess.Popen[str]:
    """A run of the command line that goes on."""
    command = [sys.executable, "-m", "primer", "train", *TRAINING, *overrides]
    return subprocess.Popen(
        ["sh", "-c", f'{first}; exec "$@"', "sh", *command],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


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


def worker_of(pid: int) -> int:
    """The worker of a controller."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    (worker,) = [c for c in children if b"primer.worker" in Path(f"/proc/{c}/cmdline").read_bytes()]
    return int(worker)


FULL = ("max_steps=20000", "checkpoint_every_n_steps=100")


@pytest.mark.parametrize(("what", "wide", "left"), [("journal", 10, 500_000), ("ckpt", 20_000, 7_000_000)])
def test_a_full_disk_stops_training_and_keeps_the_checkpoint_before(
    tmp_path: Path, what: str, wide: int, left: int
) -> None:
    config = compose([*TRAINING, *FULL, f"net.hidden_dim={wide}", "tracking=off"])
    with small_disk(tmp_path / "disk", "20m") as disk:
        folder = disk / "run"
        folder.mkdir()
        write_header(folder, config)
        fill(disk, but=left)
        command = [sys.executable, "-m", "primer.worker", str(folder / "config.yaml")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        ending = ending_of(done.returncode, last_attempt(read(folder)))
        assert (ending.status, ending.exit_code) == ("FAILED", 1)
        assert ending.error is not None
        assert "No space left on device" in ending.error
        assert f"{folder}/" in ending.error
        assert what in ending.error
        assert Checkpoints(folder / "checkpoints").newest_whole()[0] is not None
        write_end(folder, ending, 1.0)
        assert read(folder)[-1]["kind"] == "end"


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
    assert complaints == []
    assert finite_points(folder)


def test_a_full_disk_of_the_database_stops_training(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "3m") as disk:
        uri = f"sqlite:///{disk / 'mlflow.db'}"
        Store(uri)
        fill(disk, but=150_000)
        run = started(tmp_path, "max_steps=200000", f"tracking.uri={uri}", "tracking.experiment=full")
        printed, complaint = run.communicate(timeout=240)
        assert run.returncode == 1, printed + complaint
        assert f"no room left: {uri}" in printed
        (folder,) = run_folders(tmp_path)
        assert read(folder)[-1]["status"] == "FAILED"
        assert Checkpoints(folder / "checkpoints").newest_whole()[0] is not None
        assert len(complaint.splitlines()) == 1, complaint
        (disk / "fill").unlink()
        assert primer("sync", cwd=tmp_path).returncode == 0
        check_whole(uri, uri, folder, "full", "FAILED")
