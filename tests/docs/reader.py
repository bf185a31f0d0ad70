"""A reader who tries all that a page shows, from its first block to its last, in one folder."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import yaml
from pages import ROOT, Block, Command, blocks_of, commands_of, missing

TIMEOUT_S = 120
BIN = Path(sys.executable).parent
PORT = re.compile(r"(--port |127\.0\.0\.1:)(\d{4,5})\b")


class Reader:
    """Runs a page's blocks; raises AssertionError at the first that does not do what the page says."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name = folder, name
        self.ports: dict[str, str] = {}
        self.sessions: list[subprocess.Popen[str]] = []
        self.python: subprocess.Popen[str] | None = None
        self.log, self.python_log = folder / ".log", folder / ".python.log"
        self.kept = folder / ".exported"
        self.environment = os.environ | {
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "HOME": str(folder),
            "XDG_CACHE_HOME": os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache")),
        }
        (folder / "scripts").mkdir()
        for script in (ROOT / "scripts").iterdir():
            if script.is_file() and os.access(script, os.X_OK):
                (folder / "scripts" / script.name).write_text(f'#!/bin/sh\nexec {script} "$@"\n')
                (folder / "scripts" / script.name).chmod(0o755)

    def read(self, text: str) -> int:
        """Try a whole page; returns how many blocks were run."""
        blocks = [block for block in blocks_of(text) if block.not_run is None]
        for block in blocks:
            if block.language == "yaml":
                yaml.safe_load(block.text)
            if block.file:
                self._write(block)
            elif block.language == "console":
                for command in commands_of(block):
                    self._type(command)
            elif block.language == "python":
                self._ask_python(block)
        return len(blocks)

    def close(self) -> None:
        """End what is still there: servers that the page has started, and its Python."""
        for process in (*self.sessions, *([self.python] if self.python else [])):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe:
                    pipe.close()

    def _where(self, line: int) -> str:
        return f"{self.name}:{line}"

    def _write(self, block: Block) -> None:
        assert block.file
        text = block.text.partition("\n")[2] if block.file["name"].endswith(".csv") else block.text
        path = self.folder / block.file["name"]
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a" if block.file["goes_on"] else "w") as file:
            file.write(text)
        if block.language == "python":
            compile(path.read_text(), str(path), "exec")

    def _type(self, command: Command) -> None:
        process = self._begin(PORT.sub(self._free_port, command.words))
        deadline = time.monotonic() + TIMEOUT_S
        while process.poll() is None:
            time.sleep(0.05)
            if command.is_ended and missing(command.shown, self.log.read_text()) is None:
                self._end(process, command)
                return
            assert time.monotonic() < deadline, f"{self._told(command)}: still there after {TIMEOUT_S} s"
        assert not command.is_ended, f"{self._told(command)}: ended by itself"
        code = process.returncode
        assert code == command.exit_code, f"{self._told(command)}: {code}, expected {command.exit_code}"
        line = missing(command.shown, self.log.read_text())
        assert line is None, f"{self._told(command)}: not printed: {line}"

    def _end(self, process: subprocess.Popen[str], command: Command) -> None:
        """Press Ctrl-C, if it is still there a moment later, as a server is."""
        try:
            process.wait(1)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGINT)
            process.wait(30)
        else:
            raise AssertionError(f"{self._told(command)}: ended by itself")

    def _told(self, command: Command) -> str:
        return f"{self.log.read_text()}\n{self._where(command.line)}: {command.words}"

    def _begin(self, words: str) -> subprocess.Popen[str]:
        """A command in a session of its own; variables that it sets are there for the next."""
        script = f"set -a -o pipefail; [ -e {self.kept} ] && . {self.kept}\n{words}\n"
        script += f"code=$?; export -p >{self.kept}; exit $code"
        self.log = self.folder / f".log-{len(self.sessions)}"  # its own: one before may still be writing
        with self.log.open("w") as log:
            process = subprocess.Popen(
                ["bash", "-c", script],
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        self.sessions.append(process)
        return process

    def _free_port(self, found: re.Match[str]) -> str:
        """Another port than the page names: that one may be taken."""
        if found[2] not in self.ports:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                self.ports[found[2]] = str(probe.getsockname()[1])
        return found[1] + self.ports[found[2]]

    def _ask_python(self, block: Block) -> None:
        if self.python is None:
            with self.python_log.open("w") as log:
                self.python = subprocess.Popen(
                    [sys.executable, str(Path(__file__).parent / "session.py")],
                    cwd=self.folder,
                    env=self.environment
                    | {"OMP_NUM_THREADS": "1"},  # two wait for each other on a busy machine
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    text=True,
                    start_new_session=True,
                )
        assert self.python.stdin
        assert self.python.stdout
        question = {"source": block.text, "name": self.name, "line": block.line}
        print(json.dumps(question | {"is_doctest": block.is_doctest}), file=self.python.stdin, flush=True)
        answer = self.python.stdout.readline()
        assert answer, f"{self._where(block.line)}: Python has ended\n{self.python_log.read_text()}"
        assert not json.loads(answer), f"{self._where(block.line)}:\n{json.loads(answer)}"
