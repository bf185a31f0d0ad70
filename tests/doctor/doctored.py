"""Run folders as runs leave them, and a check of the directory that they are in."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from primer.config import compose
from primer.doctor import Finding
from primer.doctor.runs import Place
from primer.ending import Ending
from primer.folder import create_folder, write_header
from primer.leaving import write_end
from primer.sync import ship
from primer.tracking.journal import Journal

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
