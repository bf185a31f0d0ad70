"""A sweep while it runs: one live table on a terminal, a plain line for each job that ends elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from primer.direction import Watched
from primer.result import RunResult
from primer.sweep.ledger import told
from primer.sweep.plan import Job
from primer.tracking.journal import Record


@dataclass
class Row:
    """A job that runs."""

    name: str
    started_at: float = field(default_factory=time.monotonic)
    step: int = 0
    num_steps: int = 0
    loss: float | None = None


class SweepTable:
    """Shows jobs as they come along; thread-safe."""

    def __init__(self, num_jobs: int, num_slots: int) -> None:
        self._num_jobs, self._num_slots = num_jobs, num_slots
        self._rows: dict[int, Row] = {}
        self._ended: list[tuple[str, float]] = []
        self._lock = threading.Lock()
        self._begun_at = time.monotonic()
        self._live: Live | None = None
        if sys.stdout.isatty():
            self._live = Live(console=Console(), auto_refresh=False, transient=True)

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def begin(self, job: Job) -> None:
        """A job has a slot."""
        with self._lock:
            self._rows[job.number] = Row(job.config["name"])

    def hear(self, number: int, records: Iterable[Record]) -> None:
        """Records that are new in a job's journal."""
        row = self._rows[number]
        for record in records:
            if record["kind"] == "start":
                row.num_steps, row.step = record["num_steps"], record["step"]
            elif record["kind"] == "points" and record["key"] == "train/loss":
                row.step, row.loss = record["steps"][-1], record["values"][-1]

    def end(self, job: Job, result: RunResult, watched: Watched) -> None:
        """A job has ended."""
        with self._lock:
            row = self._rows.pop(job.number, None) or Row(job.config["name"])  # one that can't be begun
            self._ended.append((result.status, time.monotonic() - row.started_at))
            if self._live is None or result.status != "FINISHED":
                shown = "" if watched[1] is None else f"  {watched[0]} {watched[1]:.5g}"
                line = f"{len(self._ended)}/{self._num_jobs}  job {job.number}  {result.outcome}"
                line += f" in {result.duration_s:.1f} s  {row.name}{shown if not result.error else ''}"
                self._print(f"{line}  {result.error}" if result.error else line)

    def say(self, line: str) -> None:
        """Print a line above the table."""
        with self._lock:
            self._print(line)

    def _print(self, line: str) -> None:
        if self._live:
            self._live.console.print(line, highlight=False, markup=False)
        else:
            print(line, flush=True)

    def refresh(self) -> None:
        """Draw it again, on a terminal."""
        if self._live is None:
            return
        with self._lock:
            table = Table(box=None, pad_edge=False, header_style="bold")
            for column in ("job", "name", "step", "train/loss", "elapsed"):
                table.add_column(column, justify="left" if column == "name" else "right", no_wrap=True)
            for number, row in sorted(self._rows.items()):
                loss = "" if row.loss is None else f"{row.loss:.5g}"
                elapsed = _clock(time.monotonic() - row.started_at)
                step = f"{row.step}/{row.num_steps}" if row.num_steps else "starting"
                table.add_row(str(number), Text(row.name), step, loss, elapsed)
            self._live.update(Group(table, self._footer()), refresh=True)

    def _footer(self) -> Text:
        ended = told(status for status, _ in self._ended) or "none ended"
        num_left, num_running = self._num_jobs - len(self._ended), len(self._rows)
        text = f"{ended}, {num_running} running, {num_left - num_running} waiting"
        elapsed = time.monotonic() - self._begun_at
        left = ""
        if self._ended and num_left:
            mean = sum(seconds for _, seconds in self._ended) / len(self._ended)
            left = f", about {_clock(mean * num_left / self._num_slots)} left"
        return Text(f"{text}; {_clock(elapsed)}{left}", style="bold")


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
