"""Figures of a bench: ratios of paired runs, their median and spread."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Figure:
    """What was measured, in pairs: ours and theirs, in `unit`, one after the other."""

    what: str
    case: str
    against: str
    ours: list[float]
    theirs: list[float]
    unit: str = "s"

    @property
    def ratios(self) -> list[float]:
        """How many times as much the others take."""
        return [other / mine for mine, other in zip(self.ours, self.theirs, strict=True)]

    @staticmethod
    def header() -> str:
        """What a line says."""
        return "what, of which net; ours; theirs; how many times as long theirs takes: median (least to most)"

    def __str__(self) -> str:
        ours, theirs, ratio = (statistics.median(v) for v in (self.ours, self.theirs, self.ratios))
        spread = f"{min(self.ratios):.2f} to {max(self.ratios):.2f}"
        return (
            f"{self.what:<22} {self.case:<8} {ours:8.2f} {self.unit:<2} {theirs:8.2f} {self.unit:<2} "
            f"{ratio:6.2f} x  ({spread}, {len(self.ratios)} pairs)  against {self.against}"
        )


def report(figures: Sequence[Figure], path: Path | None) -> None:
    """Write figures as JSON, too, if a path is given; they were printed as they came."""
    if path:
        path.write_text(
            json.dumps([asdict(figure) | {"ratios": figure.ratios} for figure in figures], indent=1)
        )


def seconds(command: list[str], cwd: str | Path) -> float:
    """How long a command takes, from start to exit, in an empty MLflow store of its own."""
    environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    begun_at = time.perf_counter()
    subprocess.run(
        command,
        cwd=cwd,
        env=environment | {"PYTHONWARNINGS": "ignore", "MLFLOW_DISABLE_TELEMETRY": "true"},
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return time.perf_counter() - begun_at
