"""Real sweeps of the real command, in a folder of their own, with a net that can be told to fail."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import yaml
from runs import primer

OPTION = {"_target_": "faulty_net.FaultyNet", "fault": "none"}
QUICK = ("data=iris", "max_epochs=4", "--config-dir", "conf", "net=faulty")


def with_faulty_net(cwd: Path) -> Path:
    """A working directory with `net=faulty` in its conf."""
    (cwd / "conf" / "net").mkdir(parents=True)
    (cwd / "conf" / "net" / "faulty.yaml").write_text(yaml.safe_dump(OPTION))
    return cwd


def environment() -> dict[str, str]:
    """Where workers find the net."""
    return {"PYTHONPATH": str(Path(__file__).parent)}


def sweep_in(cwd: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    """`primer train -m` on iris with the faulty net."""
    return primer("train", "-m", *QUICK, *overrides, cwd=cwd, env=environment())


def sweep_folders(cwd: Path) -> list[Path]:
    """The folders of the sweeps, in the order they were begun."""
    return sorted(path.parent for path in cwd.glob("outputs/*/*/multirun.yaml"))


class Begin:
    """Begins `primer ARGUMENTS` in a working directory; what goes on at the test's end is ended."""

    def __init__(self) -> None:
        self._begun: list[subprocess.Popen[str]] = []

    def __call__(
        self, cwd: Path, *arguments: str, env: dict[str, str] | None = None
    ) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "primer", *arguments],
            cwd=cwd,
            env=os.environ | environment() | (env or {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._begun.append(process)
        return process

    @staticmethod
    def kill(process: subprocess.Popen[str]) -> None:
        """Kill it alone; what it began may go on, and hold its output open."""
        process.kill()
        process.wait()
        for pipe in (process.stdout, process.stderr):
            assert pipe
            pipe.close()

    def end(self) -> None:
        """Kill what has not ended, with all it began."""
        for process in self._begun:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
