"""`scripts/server`, for real: used by two runs at once, refused, stopped, killed, and started again."""

from __future__ import annotations

import importlib.util
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from faulty_server import LOCALHOST, free_port
from mlflow import MlflowClient
from runs import run_folders
from shipping import finite_points, started, the_run, until

SCRIPT = Path(__file__).parents[1] / "scripts" / "server.py"
sys.path.append(str(SCRIPT.parent))  # as where it is run
SERVER = runpy.run_path(str(SCRIPT))


def missing() -> str:
    """What the script needs and this machine lacks."""
    try:
        SERVER["find_programs"](None)
    except SystemExit:
        return "PostgreSQL is not installed"
    return "" if importlib.util.find_spec("psycopg") else "psycopg is not installed"


pytestmark = pytest.mark.skipif(bool(missing()), reason=missing() or "nothing is missing")


def tree(pid: int) -> list[int]:
    """A process and all below it."""
    listed = subprocess.check_output(["ps", "-e", "-o", "pid=,ppid="], text=True).splitlines()
    pairs = [(int(child), int(parent)) for child, parent in map(str.split, listed)]
    found = [pid]
    for above in found:
        found += [child for child, parent in pairs if parent == above]
    return found


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that ended and was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def command(folder: Path, port: int) -> list[str]:
    """The script's command line."""
    return [sys.executable, str(SCRIPT), str(folder), "--port", str(port), "--workers", "2"]


def refused(folder: Path, port: int) -> str:
    """The only line of a start that is refused."""
    done = subprocess.run(command(folder, port), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    return line


class Server:
    """The script, which may be started again and again."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.uri = f"http://{LOCALHOST}:{self.port}"

    def start(self) -> None:
        """Start it, up to the line that says that it answers."""
        self.process = subprocess.Popen(
            command(self.folder, self.port), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self.process.stdout
        line = self.process.stdout.readline()
        assert line == f"export MLFLOW_TRACKING_URI={self.uri}\n", self.process.communicate()
        self.pids = tree(self.process.pid)
        assert len(self.pids) > 5

    def signal(self, number: int, pid: int | None = None) -> tuple[int, str]:
        """Signal it, or one of its processes; its exit code and complaint, when all of it is gone."""
        os.kill(pid or self.process.pid, number)
        _, complaint = self.process.communicate(timeout=120)
        until(lambda: not any(map(is_alive, self.pids)))
        return self.process.returncode, complaint


@pytest.fixture(scope="module")
def base() -> Iterator[Path]:
    """A folder that the user `postgres` reaches, too: pytest's own is closed."""
    with tempfile.TemporaryDirectory(prefix="primer-test-", ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o755)
        yield Path(name).resolve()


@pytest.fixture(scope="module")
def server(base: Path) -> Iterator[Server]:
    server = Server(base / "server")
    server.start()
    yield server
    if server.process.poll() is None:
        server.signal(signal.SIGTERM)


def check_arrived(uri: str, folder: Path, experiment: str) -> None:
    """Every point and the model of a run are in MLflow."""
    client, run = MlflowClient(uri), the_run(uri, experiment)
    assert run.info.status == "FINISHED"
    written = {point: value for point, (_, value) in finite_points(folder).items()}
    stored = [(key, m) for key in run.data.metrics for m in client.get_metric_history(run.info.run_id, key)]
    assert len(stored) == len(written) > 400
    assert {(key, metric.step): metric.value for key, metric in stored} == written
    assert "config.yaml" in {file.path for file in client.list_artifacts(run.info.run_id)}
    (model,) = client.search_logged_models([run.info.experiment_id])
    assert "MLmodel" in {file.path for file in client.list_logged_model_artifacts(model.model_id)}


def test_two_runs_at_once_arrive_whole_and_outlive_the_server(
    server: Server, base: Path, tmp_path: Path
) -> None:
    names = ["one", "two"]
    for name in names:
        (tmp_path / name).mkdir()
    options = (f"tracking.uri={server.uri}",)
    runs = [started(tmp_path / name, *options, f"tracking.experiment={name}") for name in names]
    for run in runs:
        printed, complaint = run.communicate(timeout=240)
        assert run.returncode == 0, printed + complaint
    folders = [run_folders(tmp_path / name)[0] for name in names]
    for name, folder in zip(names, folders, strict=True):
        check_arrived(server.uri, folder, name)
    assert list(server.folder.glob("artifacts/**/MLmodel"))
    assert server.signal(signal.SIGTERM) == (0, "")
    assert not (server.folder / "socket").exists()
    server.start()
    for name, folder in zip(names, folders, strict=True):
        check_arrived(server.uri, folder, name)


def test_a_folder_and_a_port_are_for_one_server(server: Server, base: Path) -> None:
    assert refused(server.folder, free_port()) == f"{server.folder} is in use by a server that runs"
    line = refused(base / "other", server.port)
    assert line == f"cannot listen on {LOCALHOST}:{server.port}: Address already in use"
    assert not (base / "other" / "postgres").exists()
    assert MlflowClient(server.uri).search_experiments()


def test_only_its_own_names_are_answered_to(server: Server) -> None:
    for host, status in (f"localhost:{server.port}", b"200"), ("evil.example", b"403"):
        with socket.create_connection((LOCALHOST, server.port)) as connection:
            path = "/api/2.0/mlflow/experiments/get?experiment_id=0"
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            assert connection.makefile("rb").readline().split()[1] == status


def test_a_server_that_was_killed_starts_again(server: Server) -> None:
    MlflowClient(server.uri).create_experiment("before")
    server.process.kill()
    server.process.communicate()
    before = server.pids
    server.start()
    assert not any(map(is_alive, before))
    assert MlflowClient(server.uri).get_experiment_by_name("before")


def test_a_dead_database_ends_all(server: Server) -> None:
    pid = int((server.folder / "postgres" / "postmaster.pid").read_text().split()[0])
    assert pid in server.pids
    code, complaint = server.signal(signal.SIGKILL, pid)
    assert code == 1
    assert complaint == f"PostgreSQL ended; see {server.folder / 'postgres.log'}\n"


def test_an_orphaned_database_is_stopped(base: Path) -> None:
    folder = base / "orphan"
    folder.mkdir()
    database = SERVER["Postgres"](folder)
    database.create()
    options = f"-c listen_addresses= -c unix_socket_directories={database.data}"
    assert not database._call("pg_ctl", "start", "-D", database.data, "-o", options)
    pid = int((database.data / "postmaster.pid").read_text().split()[0])
    assert is_alive(pid)
    database.stop_orphan()
    assert not is_alive(pid)
    with subprocess.Popen(["sleep", "100"]) as other:  # one that has the number by now
        (database.data / "postmaster.pid").write_text(f"{other.pid}\n")
        database.stop_orphan()
        assert is_alive(other.pid)
        assert not (database.data / "postmaster.pid").exists()
        other.kill()


def test_a_missing_driver_is_named(tmp_path: Path) -> None:
    (tmp_path / "absent").mkdir()
    (tmp_path / "absent" / "psycopg.py").write_text("raise ImportError")
    done = subprocess.run(
        [sys.executable, SCRIPT],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path / "absent")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr == "PostgreSQL's driver is missing: pip install 'torch-primer[server]'\n"
    assert not (tmp_path / "server").exists()


def test_a_missing_postgresql_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find = SERVER["find_programs"]
    monkeypatch.setitem(find.__globals__, "DEBIAN", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit) as ended:
        find(None)
    assert ended.value.code == 2
    assert capsys.readouterr().err == "PostgreSQL server is missing: `apt install postgresql`\n"
