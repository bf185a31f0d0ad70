"""What a person sees on a terminal, through a real pseudo-terminal; and `primer ui`, over real HTTP."""

from __future__ import annotations

import os
import pty
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from runs import Trained, primer

from primer.summary import terminal_curve


def on_terminal(*arguments: str, cwd: Path) -> str:
    """All that `primer ARGUMENTS` writes to a terminal of 100 columns."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "primer", *arguments]
    environment = os.environ | {"COLUMNS": "100", "TERM": "xterm-256color"}
    with subprocess.Popen(
        command, cwd=cwd, stdin=theirs, stdout=theirs, stderr=theirs, env=environment
    ) as run:
        os.close(theirs)
        written = b""
        while True:
            try:
                piece = os.read(ours, 65536)
            except OSError:  # the other end is closed
                break
            if not piece:
                break
            written += piece
        run.wait()
    os.close(ours)
    assert run.returncode == 0, written.decode()
    return written.decode()


def test_a_bar_while_it_trains_then_lines_a_curve_and_a_table(tmp_path: Path) -> None:
    written = on_terminal("train", "data=iris", "max_epochs=10", "tracking=off", cwd=tmp_path)
    assert "starting" in written
    assert "training" in written
    seen = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", written)
    last_screen = seen[seen.rindex("(train/loss) ^") :]
    assert len(re.findall(r"step \d+/40  train/loss", seen)) == 5
    assert "-> (step)" in last_screen
    assert re.search(r"test/accuracy +0\.\d+", last_screen)
    assert "FINISHED in" in last_screen
    assert "outputs/" in last_screen


def test_the_curve_is_logarithmic_where_the_loss_falls_far() -> None:
    steps = list(range(1, 101))
    far = terminal_curve((steps, [10.0**-step for step in range(100)]))
    near = terminal_curve((steps, [2.0 - step / 100 for step in steps]))
    assert "1e-99" in far
    assert "e-" not in near
    assert terminal_curve(([1, 2, 3], [1.0, float("nan"), 2.0]))
    assert terminal_curve(([1, 2], [3.0, 3.0]))


def test_ui_without_runs_says_so(tmp_path: Path) -> None:
    done = primer("ui", cwd=tmp_path)
    assert done.returncode == 2
    assert "no runs here yet" in done.stderr
    assert list(tmp_path.iterdir()) == []


def answer_to(request: urllib.request.Request) -> int:
    """The HTTP status of what is answered."""
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as refused:
        refused.close()
        return refused.code


HOSTS = (
    *("evil.example", "evil.example:PORT", "10.evil.com", "127.0.0.1.evil.example:PORT", "localhost:1"),
    *("localhost.evil.example:PORT", "192.168.0.1:PORT", "172.16.0.1:PORT", "0.0.0.0:PORT", "[::]:PORT"),
    *(
        "127.0.0.1@evil.example",
        "localhost:PORT@evil.example",
        "127.0.0.2:PORT",
        "127.0.0.1:PORT.evil.example",
    ),
)
ORIGINS = (
    *(
        "http://evil.example",
        "https://evil.example:PORT",
        "http://127.0.0.1.evil.example:PORT",
        "null",
        "file://",
    ),
    *("http://localhost.evil.example", "http://127.0.0.1@evil.example", "http://10.0.0.1:PORT"),
)


def test_ui_answers_here_only_and_leaves_nothing_behind(
    default_run: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE", "true")
    monkeypatch.setenv("MLFLOW_SERVER_CORS_ALLOWED_ORIGINS", "*")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "primer", "ui", "--port", str(port)]
    log = default_run.cwd / "ui.log"
    with log.open("wb") as file:
        server = subprocess.Popen(command, cwd=default_run.cwd, stdout=file, stderr=file)
    try:
        deadline = time.monotonic() + 90
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                    break
            except OSError:
                assert server.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.1)
        second = primer("ui", "--port", str(port), cwd=default_run.cwd)
        assert second.returncode == 2
        assert second.stderr == f"primer: --port {port}: is taken; expected another, such as --port 5001\n"
        url = f"http://127.0.0.1:{port}/api/2.0/mlflow/experiments/get?experiment_id=1"
        with urllib.request.urlopen(url, timeout=30) as answer:
            assert b'"primer"' in answer.read()
        for host in (text.replace("PORT", str(port)) for text in HOSTS):
            assert answer_to(urllib.request.Request(url, headers={"Host": host})) == 403, host
        for origin in (text.replace("PORT", str(port)) for text in ORIGINS):
            body = b'{"name": "planted"}'
            asked = urllib.request.Request(url.replace("get?experiment_id=1", "create"), body)
            asked.add_header("Content-Type", "application/json")
            asked.add_header("Origin", origin)
            assert answer_to(asked) == 403, origin
        arguments = Path(f"/proc/{server.pid}/cmdline").read_text() if sys.platform == "linux" else ""
        assert "sqlite" not in arguments  # nor a database's password
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(30)
    found = subprocess.run(["pgrep", "-f", str(default_run.cwd)], capture_output=True, text=True, check=False)
    assert found.stdout == ""
