"""A real MLflow server, a front before it whose faults are scripted, and a database that is locked."""

from __future__ import annotations

import http.client
import math
import os
import signal
import socket
import sqlite3
import struct
import subprocess
import sys
import threading
import time
import urllib.request
from collections import deque
from collections.abc import Iterable
from contextlib import closing, suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingTCPServer
from typing import Any, NamedTuple
from urllib.parse import urlsplit

LOCALHOST = "127.0.0.1"
SLOW = 2.0  # seconds before a slow answer
UPSTREAM_TIMEOUT = 120.0
SQLITE = "sqlite:///"
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "te", "trailer", "upgrade"}


def free_port() -> int:
    """A port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind((LOCALHOST, 0))
        return int(probe.getsockname()[1])


class MlflowServer:
    """`mlflow server` over a new SQLite file, answering within the `with`; entered again, it is there again.

    The port and the file stay the same, so a server that was killed comes back to its clients.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.uri = f"http://{LOCALHOST}:{self.port}"
        self.db_uri = f"{SQLITE}{folder.absolute() / 'mlflow.db'}"
        self.log = folder / f"server-{self.port}.log"

    def __enter__(self) -> MlflowServer:
        self.folder.mkdir(parents=True, exist_ok=True)
        environment = os.environ | {
            # the job processes that MLflow starts otherwise outlive it
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }
        command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", self.db_uri]
        command += ["--serve-artifacts", "--artifacts-destination", str(self.folder.absolute() / "artifacts")]
        command += ["--host", LOCALHOST, "--port", str(self.port), "--workers", "1"]
        with self.log.open("ab") as file:
            self.process = subprocess.Popen(
                command, cwd=self.folder, env=environment, stdout=file, stderr=file, start_new_session=True
            )
        try:
            self._wait_until_it_answers()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def kill(self) -> None:
        """End the server and all it started at once, as a crash does."""
        self._signal(signal.SIGKILL)
        self.process.wait(30)

    def _wait_until_it_answers(self, timeout: float = 90) -> None:
        deadline = time.monotonic() + timeout
        while True:
            try:
                with urllib.request.urlopen(f"{self.uri}/health", timeout=5):
                    return
            except OSError:
                assert self.process.poll() is None, self.log.read_text()
                assert time.monotonic() < deadline, self.log.read_text()
                time.sleep(0.1)

    def _signal(self, number: int) -> bool:
        """Signal the process group; whether any of it was left."""
        try:
            os.killpg(self.process.pid, number)
        except ProcessLookupError:
            return False
        return True

    def _stop(self, timeout: float = 30) -> None:
        """End the whole group, asked first."""
        self._signal(signal.SIGTERM)
        try:
            self.process.wait(timeout)
        finally:
            self._signal(signal.SIGKILL)
            self.process.wait(timeout)
            deadline = time.monotonic() + 5
            while self._signal(0) and time.monotonic() < deadline:
                time.sleep(0.02)


class Answer(NamedTuple):
    """An HTTP answer, whole."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


def plain(status: int, text: str, *headers: tuple[str, str]) -> Answer:
    """An answer in words."""
    return Answer(status, [("Content-Type", "text/plain"), *headers], text.encode())


LOGIN_PAGE = b"<!doctype html><html><title>Sign in</title><form><input type=password></form></html>"

CANNED = {
    "500": plain(500, "the server has a fault"),
    "503": plain(503, "the server is being serviced"),
    "429": plain(429, "too many requests", ("Retry-After", "120")),
    "401": plain(401, "who are you?", ("WWW-Authenticate", 'Basic realm="faulty"')),
    "403": plain(403, "you may not"),
    "garbage": Answer(200, [("Content-Type", "application/json")], b'\x00\xff{"run": neither JSON nor text'),
    "html": Answer(200, [("Content-Type", "text/html")], LOGIN_PAGE),
}

MODES = frozenset({"ok", "refuse", "hang", "reset", "slow", "lost_answer", "truncated", *CANNED})


class FaultyFront:
    """An HTTP front before `upstream`, whose `mode` may be set at any time, from any thread.

    | mode | what a client gets | does upstream execute the request? |
    |---|---|---|
    | ok | the answer | yes |
    | refuse | no connection: nothing listens | no, nor is it in `requests` |
    | hang | nothing, until `mode` is set again or `script` is called; then a closed connection | no |
    | slow | the answer, after 2 s | yes, after these 2 s |
    | reset | a reset connection (RST) | no |
    | lost_answer | a closed connection | yes |
    | truncated | half the answer, then a closed connection | yes |
    | 401, 403, 429, 500, 503 | this status and a text; with 429, `Retry-After: 120` | no |
    | garbage, html | status 200 and what is not JSON | no |

    Each connection serves one request. A request that was read before a change is answered by the old mode.
    """

    def __init__(self, upstream: str, mode: str = "ok") -> None:
        self.upstream = upstream
        self.requests: list[tuple[float, str, str]] = []  # monotonic time, method, path
        self._mode = _known(mode)
        self._script: deque[tuple[str, int]] = deque()
        self._changed = threading.Event()  # set, and replaced, by each change
        self._closing = threading.Event()
        self._sockets: set[socket.socket] = set()
        self._guard = threading.Lock()  # of the state above; held for moments only
        self._changing = threading.Lock()  # one change at a time
        self._listener: Listener | None = None
        self._left: list[Listener] = []  # listeners that were closed, whose handlers may be at work

    def __enter__(self) -> FaultyFront:
        # bound but not listening: the port stays ours while connections are refused
        self._holder = socket.socket()
        self._holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._holder.bind((LOCALHOST, 0))
        self.port = int(self._holder.getsockname()[1])
        self.uri = f"http://{LOCALHOST}:{self.port}"
        with self._changing:
            self._listen(self._mode != "refuse")
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        with self._changing:
            self._listen(False)
            self._changed.set()
            self._drop_connections()
            for listener in self._left:
                listener.server_close()  # waits for the handlers
            self._holder.close()

    @property
    def mode(self) -> str:
        """What the next request will meet."""
        with self._guard:
            return self._script[0][0] if self._script else self._mode

    @mode.setter
    def mode(self, mode: str) -> None:
        self._change(_known(mode), [])

    def script(self, steps: Iterable[tuple[str, int]]) -> None:
        """Work off (mode, number of requests) in order, then `ok`."""
        steps = [(_known(mode), count) for mode, count in steps]
        if any(mode == "refuse" or count < 1 for mode, count in steps):
            raise ValueError("a refused request is not seen, so it cannot be counted; counts are 1 or more")
        self._change("ok", steps)

    def count(self, path: str = "") -> int:
        """How many requests were seen whose path has `path` in it."""
        with self._guard:
            return sum(path in seen for _, _, seen in self.requests)

    def _change(self, mode: str, steps: list[tuple[str, int]]) -> None:
        with self._changing:
            if self._closing.is_set():
                return
            with self._guard:
                self._mode, self._script = mode, deque(steps)
                before, self._changed = self._changed, threading.Event()
            self._listen(mode != "refuse")
            before.set()

    def _listen(self, wanted: bool) -> None:
        """Open or close the listening socket; back when that is done."""
        if wanted and self._listener is None:
            self._listener = Listener(self, self.port)
            self._listener.start()
        elif not wanted and self._listener is not None:
            self._listener.stop()
            self._left.append(self._listener)
            self._listener = None

    def _drop_connections(self) -> None:
        with self._guard:
            for connection in self._sockets:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def opened(self, connection: socket.socket) -> None:
        """Keep in mind a connection, to end it at the exit."""
        with self._guard:
            self._sockets.add(connection)
            if self._closing.is_set():
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def closed(self, connection: socket.socket) -> None:
        """Forget a connection."""
        with self._guard:
            self._sockets.discard(connection)

    def meet(self, method: str, path: str) -> tuple[str, threading.Event]:
        """Note a request; the mode that it meets, and what is set when that mode is over."""
        with self._guard:
            self.requests.append((time.monotonic(), method, path))
            if not self._script:
                return self._mode, self._changed
            mode, count = self._script.popleft()
            if count > 1:
                self._script.appendleft((mode, count - 1))
            return mode, self._changed

    def wait(self, seconds: float) -> bool:
        """Wait so long; whether the front is still there."""
        return not self._closing.wait(seconds)

    def forward(self, method: str, path: str, headers: list[tuple[str, str]], body: bytes) -> Answer:
        """What upstream answers to a request."""
        where = urlsplit(self.upstream)
        assert where.hostname is not None
        connection = http.client.HTTPConnection(where.hostname, where.port, timeout=UPSTREAM_TIMEOUT)
        with closing(connection):
            try:
                connection.connect()
                link = connection.sock
                self.opened(link)
                try:
                    return _exchange(connection, method, where.path.rstrip("/") + path, headers, body)
                finally:
                    self.closed(link)
            except (OSError, http.client.HTTPException) as error:
                return plain(502, f"upstream: {error!r}")


def _known(mode: str) -> str:
    """A mode, which there is."""
    if mode not in MODES:
        raise ValueError(f"no mode {mode!r}; there are {sorted(MODES)}")
    return mode


def _exchange(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    headers: list[tuple[str, str]],
    body: bytes,
) -> Answer:
    """Send a request and read the answer."""
    connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
    for name, value in end_to_end(headers):
        connection.putheader(name, value)
    connection.putheader("Content-Length", str(len(body)))
    connection.putheader("Connection", "close")
    connection.endheaders(body)
    with connection.getresponse() as response:
        answer_headers = end_to_end(response.getheaders())
        return Answer(response.status, answer_headers, response.read())


def end_to_end(headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """The headers that are not about one connection."""
    return [(name, value) for name, value in headers if name.lower() not in HOP_BY_HOP]


class Listener(ThreadingTCPServer):
    """The listening socket of a front, and a thread for each connection."""

    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, front: FaultyFront, port: int) -> None:
        self.front = front
        super().__init__((LOCALHOST, port), Handler)
        self.thread = threading.Thread(target=self.serve_forever, args=(0.02,))

    def start(self) -> None:
        """Serve in a thread."""
        self.thread.start()

    def stop(self) -> None:
        """Listen no more; requests that were read are still answered."""
        self.shutdown()
        self.thread.join()
        self.socket.close()

    def process_request(self, request: Any, client_address: Any) -> None:
        self.front.opened(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Close a connection; not shut it down first, which would make an end (FIN) of a reset."""
        self.front.closed(request)
        self.close_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has gone is no error."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    """One request, met by the front's mode."""

    protocol_version = "HTTP/1.1"
    server: Listener

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def meet(self) -> None:
        """Answer, or not."""
        self.close_connection = True
        body = self._read_body()
        front = self.server.front
        mode, over = front.meet(self.command, self.path)
        if mode == "hang":
            over.wait()
        elif mode == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif mode in CANNED:
            self._send(CANNED[mode])
        elif mode != "slow" or front.wait(SLOW):
            answer = front.forward(self.command, self.path, self.headers.items(), body)
            if mode == "truncated":
                self._send(answer, sent=len(answer.body) // 2, more=1)
            elif mode != "lost_answer":
                self._send(answer)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = meet

    def _read_body(self) -> bytes:
        """The request's body: requests sends an empty file in chunks."""
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self._read(int(self.headers.get("Content-Length", 0)))
        chunks = []
        while size := int(self.rfile.readline().split(b";")[0] or b"0", 16):
            chunks.append(self._read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass  # trailers
        return b"".join(chunks)

    def _read(self, size: int) -> bytes:
        """So many bytes; a request that broke off is none."""
        data = self.rfile.read(size)
        if len(data) < size:
            raise ConnectionError(f"the request ended after {len(data)} of {size} bytes")
        return data

    def _send(self, answer: Answer, sent: int | None = None, more: int = 0) -> None:
        """Send an answer, or the first bytes of it, announcing it whole and `more`."""
        self.send_response_only(answer.status)
        for name, value in answer.headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body) + more))
        self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body[:sent])


def sqlite_file(db_uri: str) -> Path:
    """The file that a `sqlite:///` URI names."""
    return Path(db_uri.removeprefix(SQLITE)).absolute()


def points_of(db_uri: str, run_id: str, key: str) -> list[tuple[int, int, float]]:
    """All stored points of a metric as (step, timestamp, value), by step, doubles among them.

    MLflow's table holds a point that is the same in step, time and value once; it holds infinity as the
    largest double.
    """
    query = "SELECT step, timestamp, value, is_nan FROM metrics"
    query += " WHERE run_uuid = ? AND key = ? ORDER BY step, rowid"
    file = f"{sqlite_file(db_uri).as_uri()}?mode=ro"
    with closing(sqlite3.connect(file, uri=True, timeout=30)) as database:
        rows = database.execute(query, (run_id, key)).fetchall()
    return [(step, timestamp, math.nan if is_nan else value) for step, timestamp, value, is_nan in rows]


HOLD = """
import sqlite3, sys
database = sqlite3.connect(sys.argv[1], timeout=60, isolation_level=None)
database.execute("BEGIN EXCLUSIVE")
print("held", flush=True)
sys.stdin.read()
database.execute("ROLLBACK")
database.close()
"""


class LockedDatabase:
    """A SQLite file locked by another process, from the start of the `with` to its end."""

    def __init__(self, db_uri: str) -> None:
        self.file = sqlite_file(db_uri)

    def __enter__(self) -> LockedDatabase:
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(self.file)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        if self.process.stdout.readline() != "held\n":
            self.process.communicate()
            raise OSError(f"not to be locked: {self.file}")
        return self

    def __exit__(self, *_: object) -> None:
        self.process.communicate(timeout=30)  # its input ends, and with it the lock
