"""What stops one job of a sweep: what stops all of them, or a reason of its own."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from typing import Any

from primer.ending import Ending
from primer.files import write_atomically
from primer.stopping import Stopping

WORD = "stop.json"  # in a job's folder: its controller asks the task that trains it to stop
LOOK_EVERY_S = 0.5  # chosen: how often a task looks for it


class JobStop:
    """What stops a job: what stops the sweep, or `alone`, the ending that it then has."""

    def __init__(self, sweep: Stopping, minutes: float | None = None) -> None:
        self._sweep, self._minutes = sweep, minutes
        self._deadline: float | None = None
        self._alone: Ending | None = None

    def begin(self) -> None:
        """The job begins, and with it its time, over all of its tasks."""
        if self._minutes is not None and self._deadline is None:
            self._deadline = time.monotonic() + 60 * self._minutes

    @property
    def alone(self) -> Ending | None:
        """The ending of a job that is stopped for a reason of its own."""
        if self._alone is None and self._deadline is not None and time.monotonic() > self._deadline:
            self._alone = Ending("FAILED", 1, f"took longer than {self._minutes} minutes")
        return self._alone

    @alone.setter
    def alone(self, ending: Ending) -> None:
        self._alone = ending

    @property
    def received(self) -> int | None:
        """The signal to pass on."""
        return self._sweep.received or (signal.SIGTERM if self.alone else None)

    @property
    def num_received(self) -> int:
        """How often the sweep was asked to stop."""
        return self._sweep.num_received


def send_word(folder: Path, stop: JobStop) -> None:
    """Ask the task that trains the run of a folder to stop, and say what for."""
    word = {"signal": stop.received, "alone": vars(stop.alone) if stop.alone else None}
    write_atomically(folder / WORD, json.dumps(word).encode())


class TaskStop(JobStop):
    """What stops a job in a task of a cluster: the scheduler's signal, or the controller's word."""

    def __init__(self, signals: Stopping, folder: Path) -> None:
        super().__init__(signals)
        self._path = folder / WORD
        self._looked_at = 0.0
        self._word: int | None = None

    @property
    def received(self) -> int | None:
        """The signal to pass on."""
        if self._word is None and time.monotonic() - self._looked_at > LOOK_EVERY_S:
            self._looked_at = time.monotonic()
            self._look()
        return self._word or super().received

    def _look(self) -> None:
        if self._path.exists():
            word: dict[str, Any] = json.loads(self._path.read_text())
            self._word = word["signal"]
            if word["alone"]:
                self.alone = Ending(**word["alone"])
