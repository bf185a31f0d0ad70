"""The faulty front does to a client what its modes say, and leaves nothing behind."""

from __future__ import annotations

import http.client
import json
import socket
import sqlite3
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from http.client import IncompleteRead, RemoteDisconnected
from pathlib import Path

import pytest
from faulty_server import FaultyFront, LockedDatabase, MlflowServer, free_port, points_of, sqlite_file
from mlflow import MlflowClient
from mlflow.entities import Metric
from mlflow.exceptions import MlflowException

CREATE = "/api/2.0/mlflow/experiments/create"


@pytest.fixture(autouse=True)
def _no_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    with MlflowServer(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture
def front(server: MlflowServer) -> Iterator[FaultyFront]:
    with FaultyFront(server.uri) as front:
        yield front


def get(front: FaultyFront, timeout: float = 5) -> tuple[int, bytes]:
    """Ask for /health; the status and the body."""
    try:
        with urllib.request.urlopen(f"{front.uri}/health", timeout=timeout) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def create(front: FaultyFront, name: str) -> dict[str, str]:
    """Create an experiment by one request."""
    request = urllib.request.Request(
        front.uri + CREATE, json.dumps({"name": name}).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=5) as response:
        answer: dict[str, str] = json.loads(response.read())
        return answer


def made(server: MlflowServer, name: str) -> bool:
    """Whether the experiment is in the server's store."""
    with closing(sqlite3.connect(sqlite_file(server.db_uri))) as database:
        rows = database.execute("SELECT 1 FROM experiments WHERE name = ?", (name,)).fetchall()
    return len(rows) == 1


def test_a_client_works_through_the_front(server: MlflowServer, front: FaultyFront, tmp_path: Path) -> None:
    client = MlflowClient(front.uri)
    run_id = client.create_run(client.create_experiment("through")).info.run_id
    points = [Metric("loss", value, 1000 + step, step) for step, value in ((2, 0.5), (1, 1 / 3), (3, 0.25))]
    client.log_batch(run_id, points)
    client.log_batch(run_id, [Metric("loss", 0.5, 2000, 2), points[0], Metric("loss", float("nan"), 1, 4)])
    *finite, last = points_of(server.db_uri, run_id, "loss")
    assert finite == [(1, 1001, 1 / 3), (2, 1002, 0.5), (2, 2000, 0.5), (3, 1003, 0.25)]
    assert (last[:2], str(last[2])) == ((4, 1), "nan")
    for name, content in (("full.bin", bytes(range(256)) * 5000), ("empty.txt", b"")):
        (tmp_path / name).write_bytes(content)
        client.log_artifact(run_id, str(tmp_path / name))
        (tmp_path / "back").mkdir(exist_ok=True)
        assert Path(client.download_artifacts(run_id, name, str(tmp_path / "back"))).read_bytes() == content
    assert front.count("/mlflow/runs/log-batch") == 2
    times = [seen[0] for seen in front.requests]
    assert times == sorted(times)
    assert front.requests[0][1:] == ("POST", CREATE)


@pytest.mark.parametrize("status", [401, 403, 429, 500, 503])
def test_a_status(server: MlflowServer, front: FaultyFront, status: int) -> None:
    front.mode = str(status)
    with pytest.raises(urllib.error.HTTPError) as caught:
        create(front, f"status {status}")
    with caught.value as error:
        assert error.code == status
        assert error.read().decode().isprintable()
        assert error.headers["Retry-After"] == ("120" if status == 429 else None)
    assert not made(server, f"status {status}")
    with pytest.raises(MlflowException, match=f"'?{status}|many {status} error responses"):
        MlflowClient(front.uri).create_experiment(f"status {status}")
    front.mode = "ok"
    assert get(front) == (200, b"OK")


@pytest.mark.parametrize("mode", ["garbage", "html"])
def test_success_that_is_none(front: FaultyFront, mode: str) -> None:
    front.mode = mode
    status, body = get(front)
    assert status == 200
    with pytest.raises(json.JSONDecodeError):
        json.loads(body.decode(errors="replace"))
    with pytest.raises(MlflowException, match="not in a valid JSON format"):
        MlflowClient(front.uri).create_experiment(mode)


def test_refused_connections_and_the_same_port_again(front: FaultyFront) -> None:
    uri = front.uri
    for _ in range(3):
        front.mode = "refuse"
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", front.port), timeout=5)
        front.mode = "ok"
        assert get(front) == (200, b"OK")
    assert front.uri == uri
    assert len(front.requests) == 3


def test_a_server_that_is_not_there_from_the_start(server: MlflowServer) -> None:
    with FaultyFront(server.uri, "refuse") as front:
        with pytest.raises(MlflowException, match="Connection refused"):
            MlflowClient(front.uri).create_experiment("refused")
        front.mode = "ok"
        assert get(front)[0] == 200


def test_a_hanging_request_ends_with_the_mode(front: FaultyFront) -> None:
    front.mode = "hang"
    with pytest.raises(TimeoutError):
        get(front, timeout=0.3)
    threading.Timer(0.5, setattr, (front, "mode", "ok")).start()
    began = time.monotonic()
    with pytest.raises(RemoteDisconnected):
        get(front)
    assert 0.4 < time.monotonic() - began < 2
    assert get(front) == (200, b"OK")


def test_a_slow_answer(front: FaultyFront) -> None:
    front.mode = "slow"
    with pytest.raises(TimeoutError):
        get(front, timeout=0.3)
    began = time.monotonic()
    assert get(front) == (200, b"OK")
    assert 1.9 < time.monotonic() - began < 3


def test_a_reset_connection(server: MlflowServer, front: FaultyFront) -> None:
    front.mode = "reset"
    with pytest.raises(ConnectionResetError) as caught:
        create(front, "reset")
    assert not isinstance(caught.value, RemoteDisconnected)  # an end (FIN) would be this kind of it
    assert not made(server, "reset")


def test_a_lost_answer_is_to_a_request_that_was_executed(server: MlflowServer, front: FaultyFront) -> None:
    front.mode = "lost_answer"
    with pytest.raises(RemoteDisconnected):
        create(front, "lost")
    assert made(server, "lost")


def test_a_truncated_answer(server: MlflowServer, front: FaultyFront) -> None:
    front.mode = "truncated"
    with pytest.raises(IncompleteRead):
        create(front, "truncated")
    assert made(server, "truncated")


def test_a_script_is_worked_off_and_then_all_is_well(front: FaultyFront) -> None:
    front.script([("500", 2), ("ok", 1), ("403", 1)])
    assert [get(front)[0] for _ in range(6)] == [500, 500, 200, 403, 200, 200]
    front.script([("500", 2)])
    front.mode = "ok"
    assert get(front)[0] == 200


def test_what_is_no_mode_is_told(front: FaultyFront) -> None:
    with pytest.raises(ValueError, match="no mode 'off'"):
        front.mode = "off"
    with pytest.raises(ValueError, match="cannot be counted"):
        front.script([("refuse", 2)])
    assert front.mode == "ok"


def test_the_exit_leaves_no_thread(server: MlflowServer) -> None:
    before = threading.active_count()
    with FaultyFront(server.uri, "hang") as front:
        clients = [threading.Thread(target=ask_in_vain, args=(front.port,)) for _ in range(5)]
        for client in clients:
            client.start()
        silent = socket.create_connection(("127.0.0.1", front.port))  # connects, and asks for nothing
        while front.count() < 5:
            time.sleep(0.01)
    with silent:
        assert silent.recv(1) == b""
    for client in clients:
        client.join()
    deadline = time.monotonic() + 20
    while threading.active_count() > before:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def ask_in_vain(port: int) -> None:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        connection.request("POST", "/", b"x")
        with pytest.raises(RemoteDisconnected):
            connection.getresponse()


def test_an_upstream_that_is_not_there_is_a_bad_gateway() -> None:
    with FaultyFront(f"http://127.0.0.1:{free_port()}") as front:
        status, body = get(front)
    assert status == 502
    assert b"refused" in body


def test_a_locked_database(tmp_path: Path) -> None:
    file = tmp_path / "a file.db"
    with closing(sqlite3.connect(file, timeout=0)) as database:
        database.execute("CREATE TABLE t (x)")
        with LockedDatabase(f"sqlite:///{file}"):
            for statement in ("INSERT INTO t VALUES (1)", "SELECT * FROM t"):
                with pytest.raises(sqlite3.OperationalError, match="database is locked"):
                    database.execute(statement)
        assert database.execute("SELECT * FROM t").fetchall() == []
