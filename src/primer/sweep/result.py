"""What a sweep came to: a small frozen object that reads well."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from primer.result import RunResult

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, repr=False)
class SweepResult:
    """A sweep's jobs, in the order of their numbers, `None` for one that did not begin.

    `status` is FINISHED, FAILED (a job did) or KILLED; `run_id` is that of the parent run in MLflow, None
    when it was not tracked; `exit_code` is the command's: 0, 1 (a job failed), 130 or 143 (stopped);
    `view` is the address of the sweep's saved view in MLflow's page, once `primer ui` serves it;
    `verdict` is the sentence of `primer compare` on the sweep, None where no report was written.

    >>> SweepResult("seed", "KILLED", 130, None, Path("here"), 2.0, jobs=(None, None))
    SweepResult 'seed': KILLED in 2.0 s
      0 of 2 jobs FINISHED
      run not tracked in here
    """

    name: str
    status: str
    exit_code: int
    run_id: str | None
    folder: Path
    duration_s: float
    jobs: tuple[RunResult | None, ...]
    is_shipped: bool = True
    view: str | None = None
    verdict: str | None = None

    def frame(self) -> pd.DataFrame:
        """One row a job: number, name, status, duration in seconds, run id, every metric's last value.

        `is_pruned` is true where a search stopped a job, as hopeless.

        >>> result.frame()[["name", "best/val/loss"]]  # doctest: +SKIP
                       name  best/val/loss
        0           relu s0       0.102254
        """
        import pandas as pd

        begun = {number: job for number, job in enumerate(self.jobs) if job}
        rows = [
            {"name": job.name, "status": job.status, "is_pruned": job.is_pruned}
            | {"duration_s": job.duration_s, "run_id": job.run_id}
            | job.metrics
            for job in begun.values()
        ]
        return pd.DataFrame(rows, index=pd.Index(list(begun), name="job"))

    def __repr__(self) -> str:
        num_finished = sum(job is not None and job.status == "FINISHED" for job in self.jobs)
        lines = [
            f"SweepResult {self.name!r}: {self.status} in {self.duration_s:.1f} s",
            f"{num_finished} of {len(self.jobs)} jobs FINISHED",
            f"run {self.run_id or 'not tracked'} in {self.folder}",
        ]
        return "\n  ".join(lines)
