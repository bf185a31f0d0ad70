"""The page that a sweep leaves: `report.html`, made by `primer compare` beside the shipping of its jobs."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from primer.sweep.plan import Job

NAME = "report.html"
VERDICT = "verdict "  # how the line begins that `primer compare` ends with
WITHIN_S = 120  # chosen: a thousand jobs of 500 points take some seconds
COMMAND = (sys.executable, "-m", "primer", "compare")
OPTIONS = ("--allow", "data", "--allow", "metric", "--allow", "unfinished")  # the page says so on top


class Report:
    """One that is being written; nothing that befalls it may hurt the sweep."""

    def __init__(self, folder: Path, jobs: Sequence[Job]) -> None:
        self._path = folder / NAME
        self._process: subprocess.Popen[str] | None = None
        self._begun_at = time.monotonic()
        if len(jobs) < 2:
            return
        command = [*COMMAND, str(folder), *OPTIONS, "--html", str(self._path)]
        nowhere, pipe = subprocess.DEVNULL, subprocess.PIPE
        try:
            self._process = subprocess.Popen(command, stdin=nowhere, stdout=pipe, stderr=pipe, text=True)
        except OSError as error:
            print(f"primer: no {NAME} was written: {error.strerror}", file=sys.stderr)

    def wait(self) -> str | None:
        """Until it is written, or could not be; the verdict that stands on its top."""
        if self._process is None:
            return None
        left_s = self._begun_at + WITHIN_S - time.monotonic()
        try:
            shown, told = self._process.communicate(timeout=max(1.0, left_s))
        except subprocess.TimeoutExpired:
            shown, told = "", f"not done in {WITHIN_S} s"
        finally:
            if self._process.poll() is None:
                self._process.kill()
                self._process.wait()
        if not self._path.exists():
            reason = (told.splitlines() or ["no reason given"])[-1].removeprefix("primer: ")
            print(f"primer: no {NAME} was written: {reason}", file=sys.stderr)
        verdicts = [line.removeprefix(VERDICT) for line in shown.splitlines() if line.startswith(VERDICT)]
        return verdicts[-1] if verdicts else None
