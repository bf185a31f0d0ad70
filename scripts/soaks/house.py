"""Where a soak happens: a working directory on a disk of its own, an MLflow server, commands, and no more."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from programs import running

LOCALHOST = "127.0.0.1"
ROOMY = 8 << 30  # bytes that the disk has where it is not full; a tmpfs takes what is in it
CLOCK = Path(__file__).parent / "clock"


class Server:
    """`mlflow server` over a SQLite file; ended or killed, it starts again at the same address."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        with socket.socket() as probe:
            probe.bind((LOCALHOST, 0))
            self.port = int(probe.getsockname()[1])
        self.folder, self.uri = folder, f"http://{LOCALHOST}:{self.port}"
        self.database = folder / "mlflow.db"
        self._running = ExitStack()
        self.pid = 0

    def start(self) -> None:
        """Start it; it answers some seconds later."""
        command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri"]
        command += [f"sqlite:///{self.database}", "--serve-artifacts", "--artifacts-destination"]
        command += [str(self.folder / "artifacts"), "--host", LOCALHOST, "--port", str(self.port)]
        environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        environment |= {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        log, ends = self.folder / "server.log", [int(signal.SIGTERM), int(signal.SIGKILL)]
        program = running("mlflow", [*command, "--workers", "1"], log, ends, cwd=self.folder, env=environment)
        self.pid = self._running.enter_context(program).process.pid

    def end(self) -> None:
        """End it, and what it started."""
        self._running.close()

    def send(self, number: signal.Signals) -> None:
        """Signal it and what it started."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def wait(self, within_s: float = 120) -> None:
        """Wait until it answers."""
        deadline = time.monotonic() + within_s
        while True:
            try:
                with urllib.request.urlopen(f"{self.uri}/health", timeout=5):
                    return
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)


@dataclass
class Command:
    """`primer WORDS`, while it runs and after; `met` names the faults that it saw."""

    number: int
    words: tuple[str, ...]
    process: subprocess.Popen[bytes]
    out: Path
    err: Path
    begun_at: float = field(default_factory=time.monotonic)
    met: set[str] = field(default_factory=set)

    @property
    def seconds(self) -> float:
        """How long it runs."""
        return time.monotonic() - self.begun_at

    @property
    def what(self) -> str:
        """What kind of command it is."""
        return "train -m" if "-m" in self.words else self.words[0]

    def __str__(self) -> str:
        return f"#{self.number} primer {' '.join(self.words)}"


class House:
    """The folders and the server; `has_disk` where the outputs have a disk of their own, that can be full."""

    def __init__(self, root: Path) -> None:
        self.root, self.cwd, self.twins = root, root / "house", root / "twins"
        self.disk, self.has_disk, self.is_kept = self.cwd / "outputs", False, True
        self.server = Server(root / "server")
        for folder in (self.disk, self.twins, root / "log", root / "tmp"):
            folder.mkdir(parents=True)

    @contextmanager
    def open(self) -> Iterator[House]:
        """Mount the disk, start the server; all that was started ends with the block."""
        mount = ["mount", "-t", "tmpfs", "-o", f"size={ROOMY}", "none", str(self.disk)]
        if shutil.which("mount"):
            self.has_disk = not subprocess.run(mount, capture_output=True, check=False).returncode
        try:
            self.server.start()
            self.server.wait()
            yield self
        finally:
            for pid in self.processes():
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self.server.end()
            if self.has_disk:
                self._unmount()

    def _unmount(self) -> None:
        aside = self.cwd / "outputs.kept"
        if self.is_kept:
            shutil.copytree(self.disk, aside, symlinks=True)
        subprocess.run(["umount", "--lazy", str(self.disk)], check=True)
        if self.is_kept:
            self.disk.rmdir()
            aside.rename(self.disk)

    def begin(
        self,
        number: int,
        *words: str,
        cwd: Path | None = None,
        variables: dict[str, str] | None = None,
        max_blocks: int | None = None,
    ) -> Command:
        """Begin `primer WORDS`, in a process group as a shell's; no file may be longer than `max_blocks`."""
        own = {key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"}
        own |= {"TMPDIR": str(self.root / "tmp"), "MLFLOW_DISABLE_TELEMETRY": "true"} | (variables or {})
        limit = f"ulimit -f {max_blocks}; " if max_blocks else ""
        shell = ["sh", "-c", f'{limit}exec "$@"', "sh", sys.executable, "-m", "primer", *words]
        out, err = (self.root / "log" / f"{number:05}.{name}" for name in ("out", "err"))
        with out.open("wb") as stdout, err.open("wb") as stderr:
            process = subprocess.Popen(
                shell, cwd=cwd or self.cwd, env=own, stdout=stdout, stderr=stderr, process_group=0
            )
        return Command(number, words, process, out, err)

    def resize(self, num_free: int | None) -> bool:
        """Leave only so many bytes of the disk free, or as many as there were; whether that could be."""
        if not self.has_disk:
            return False
        size = ROOMY if num_free is None else shutil.disk_usage(self.disk).used + num_free
        remount = ["mount", "-o", f"remount,size={size}", str(self.disk)]
        return not subprocess.run(remount, capture_output=True, check=False).returncode

    def processes(self) -> list[int]:
        """Those that a command started, by their environment; not the dead ones that nobody asked about."""
        mark, found = f"TMPDIR={self.root / 'tmp'}".encode(), []
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if mark in (folder / "environ").read_bytes().split(b"\0"):
                    found.append(int(folder.name))
        return found


def descendants(pid: int) -> list[int]:
    """The processes that a process started, and those that they did."""
    found: list[int] = []
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += [int(child), *descendants(int(child))]
    return found
