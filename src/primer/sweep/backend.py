"""Where the jobs of a sweep are trained: on this machine, or on a cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from primer.joining import num_devices_of
from primer.result import RunResult
from primer.sweep.executor import Slot
from primer.sweep.plan import Job
from primer.sweep.stop import JobStop
from primer.tracking.courier import Courier
from primer.tracking.journal import Record


@dataclass(frozen=True)
class Attempt:
    """One attempt of a job of the sweep in `sweep`, or of several as one, and who hears of it.

    `begin` is called once a job's folder is there, `hear` with what is new in its journal; `courier` ships
    the journal, if it is tracked.
    """

    sweep: Path
    jobs: tuple[Job, ...]
    slot: Slot
    stop: JobStop
    environment: dict[str, str]
    courier: Courier | None
    begin: Callable[[Job], None]
    hear: Callable[[Job, Iterable[Record]], None]


@dataclass(frozen=True)
class Need:
    """What one job takes of a machine: how many devices, and whether they are GPUs where there are any."""

    num_devices: int
    is_gpu: bool

    @classmethod
    def of(cls, configs: Sequence[dict[str, Any]]) -> Need:
        """What any of these jobs may take; they share places of one size."""
        nodes = [config["accelerator"]["accelerator"] for config in configs]
        return cls(max(map(num_devices_of, configs), default=1), any(node != "cpu" for node in nodes))


class Backend(Protocol):
    """What trains jobs."""

    def open(self) -> None:
        """Get ready, before the first job. Raises UsageError where that can't be."""

    def slots(self, num_jobs: int, need: Need) -> list[Slot]:
        """Places for one job at a time."""

    def run(self, attempt: Attempt) -> RunResult | None:
        """Train its only job, and return what it came to; None where it was stopped before it began."""

    def run_tile(self, attempt: Attempt) -> dict[int, RunResult]:
        """Train jobs as one, and return what each came to. Raises CantFuse where that can't be."""

    def close(self) -> None:
        """There are no more jobs."""
