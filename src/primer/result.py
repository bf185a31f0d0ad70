"""What a run came to: a small frozen object that reads well."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from primer.files import CURVES

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, repr=False)
class RunResult:
    """One finished, failed or killed run.

    `metrics` holds the last value of each metric, `best/...` and `final/...` among them; `run_id` is
    MLflow's, None when it was not tracked; `exit_code` is the command's: 0, 1 (failed), 130 or 143
    (stopped); `error` is one line, or None; `is_shipped` is false where `primer sync` has something left to
    send to MLflow; `is_pruned` is true where a search stopped it, as hopeless.

    >>> RunResult("iris s0", "FINISHED", None, 0, None, Path("here"), 2.0, metrics={"test/accuracy": 0.96})
    RunResult 'iris s0': FINISHED in 2.0 s
      test/accuracy=0.96
      run not tracked in here
    """

    name: str
    status: str
    error: str | None
    exit_code: int
    run_id: str | None
    folder: Path
    duration_s: float
    is_shipped: bool = True
    is_pruned: bool = False
    metrics: dict[str, float] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)

    def curves(self) -> pd.DataFrame:
        """Every recorded point, one a row: key, step, time (UTC), value.

        >>> result.curves()  # doctest: +SKIP
                     key  step                             time     value
        0     train/loss     1 2026-11-23 12:54:07.101000+00:00  2.371094
        """
        import pandas as pd

        return pd.read_parquet(self.folder / CURVES)

    @property
    def outcome(self) -> str:
        """The status, in a table's words."""
        return f"{self.status}, pruned" if self.is_pruned else self.status

    def __repr__(self) -> str:
        shown = {key: value for key, value in self.metrics.items() if key.startswith(("best/", "test/"))}
        numbers = [f"{key}={value:.4g}" for key, value in (shown or self.metrics).items()]
        lines = [f"RunResult {self.name!r}: {self.status} in {self.duration_s:.1f} s", *numbers]
        if self.error:
            lines.append(f"error: {self.error}")
        return "\n  ".join([*lines, f"run {self.run_id or 'not tracked'} in {self.folder}"])
