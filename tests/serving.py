"""Programs that serve on loopback, for as long as a test asks them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def serving(*command: str, port: int, path: str, cwd: Path) -> Iterator[str]:
    """The address of `python -m COMMAND`, once it answers; with all it started, gone afterwards.

    What it prints is in `server-PORT.log`, in its working directory.
    """
    environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    environment |= {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    log = cwd / f"server-{port}.log"
    with log.open("wb") as file:
        server = subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=cwd,
            env=environment,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 90
        while True:
            try:
                with urllib.request.urlopen(f"{url}{path}", timeout=5):
                    break
            except OSError:
                assert server.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.1)
        yield url
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)
