"""Show a run while it trains: a bar on a terminal, and a line on its data and five on its loss either way."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from primer.tracking.journal import Record
from primer.tracking.text import data_of

NUM_LINES = 5  # chosen: the article prints five, at steps 100, 200, ... 500


class Progress:
    """Shows journal records as they come; plain lines only, where standard output is no terminal."""

    def __init__(self) -> None:
        self._num_steps = 0
        self._data: Record | None = None
        self._evaluated: dict[str, tuple[int, float]] = {}
        self._told: tuple[int, float] | None = None  # waits for the validation of the same step
        self._bar: Bar | None = None
        if sys.stdout.isatty():
            self._bar = Bar(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                console=Console(),
                transient=True,
            )
            self._task = self._bar.add_task("starting", total=None)

    def __enter__(self) -> Self:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._tell()
        if self._bar:
            self._bar.stop()

    def show(self, records: Iterable[Record]) -> None:
        """Show what is new."""
        for record in records:
            if record["kind"] == "data":
                self._data = record  # told when training begins: until then the question may turn out wrong
            elif record["kind"] == "start":
                self._begin(record)
            elif record["kind"] == "points" and record["key"] == "train/loss":
                self._show_losses(record)
            elif record["kind"] == "points":
                self._evaluated[record["key"]] = record["steps"][0], record["values"][0]

    def _begin(self, record: Record) -> None:
        self._num_steps = record["num_steps"]
        if self._bar:
            self._bar.update(self._task, description="training", total=self._num_steps)
        if self._data:
            self._print(f"data    {data_of(self._data)}")
        if record["step"]:
            self._print(f"goes on after step {record['step']} of {self._num_steps}")

    def _show_losses(self, record: Record) -> None:
        for step, value in zip(record["steps"], record["values"], strict=True):
            self._tell()
            if self._is_told(step):
                self._told = step, value
        if self._bar:
            self._bar.update(self._task, completed=record["steps"][-1])

    def _is_told(self, step: int) -> bool:
        return any(step == round(part * self._num_steps / NUM_LINES) for part in range(1, NUM_LINES + 1))

    def _tell(self) -> None:
        if self._told is None:
            return
        step, loss = self._told
        self._told = None
        evaluated = {
            key: value
            for key, (at, value) in self._evaluated.items()
            if at == step and key.startswith("val/")
        }
        numbers = {"train/loss": loss, **evaluated}
        self._print(
            f"step {step}/{self._num_steps}  " + "  ".join(f"{k} {v:.5g}" for k, v in numbers.items())
        )

    def _print(self, line: str) -> None:
        if self._bar:
            self._bar.console.print(line, highlight=False, markup=False)
        else:
            print(line, flush=True)
