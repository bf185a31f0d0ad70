"""The runs of one setting, and what they came to."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from primer.compare.runs import OUTCOMES, TrackedRun
from primer.compare.settings import differing, label_of, seed_keys, value_of
from primer.direction import is_falling

LEVEL = 0.95  # of every interval, before it is corrected for many


@dataclass(frozen=True)
class Group:
    """Runs that differ by their seeds, or by what was not asked for.

    `values` are those of the keys that they were grouped `by`; `runs` those that are compared: finished, and
    with a finite value of the metric; `counts` how all runs ended; `blocks` tells apart the runs, by their
    seeds and by what else differs, in the order of `runs`.
    """

    values: dict[str, str]
    metric: str
    runs: tuple[TrackedRun, ...]
    counts: dict[str, int]
    blocks: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]

    @property
    def label(self) -> str:
        """What it is called."""
        return label_of(self.values)

    @property
    def scores(self) -> np.ndarray:
        """The metric of each run, of shape (n,)."""
        return np.array([run.metrics[self.metric] for run in self.runs])

    @property
    def n(self) -> int:
        """How many runs are compared."""
        return len(self.runs)

    @property
    def mean(self) -> float:
        """The mean over runs; NaN where there is none."""
        return float(self.scores.mean()) if self.n else math.nan

    @property
    def sd(self) -> float:
        """The standard deviation over runs; NaN of fewer than two."""
        return float(self.scores.std(ddof=1)) if self.n > 1 else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """Student's 95% interval of the mean; NaN of fewer than two runs."""
        if self.n < 2:
            return math.nan, math.nan
        from scipy import stats

        half = float(stats.t.ppf((1 + LEVEL) / 2, self.n - 1)) * self.sd / math.sqrt(self.n)
        return self.mean - half, self.mean + half

    @property
    def best(self) -> TrackedRun | None:
        """The best of its runs."""
        return min(self.runs, key=lambda run: rank(self.metric, run.metrics[self.metric]), default=None)

    @property
    def duration_s(self) -> float:
        """The mean duration of its runs."""
        return float(np.mean([run.duration_s for run in self.runs])) if self.n else math.nan


def rank(metric: str, value: float) -> float:
    """What sorts values of a metric, the best first, NaN last."""
    if math.isnan(value):
        return math.inf
    return value if is_falling(metric) else -value


def without_repeats(runs: Sequence[TrackedRun]) -> list[TrackedRun]:
    """One run of each computation, a finished one first, else the newest: a repeat is no evidence."""
    order = sorted(runs, key=lambda run: (run.status == "FINISHED", run.started_at))
    known = {
        run.identity: run.digest for run in order if run.digest
    }  # one that died early does not know its own
    kept = {(run.identity, run.digest or known.get(run.identity)): run for run in order}
    return [run for run in runs if kept[run.identity, run.digest or known.get(run.identity)] is run]


def groups_of(runs: Sequence[TrackedRun], by: Sequence[str], metric: str) -> list[Group]:
    """The runs by their values of the keys, the best mean first."""
    rest = [key for key in differing(runs) if key not in by]
    block_keys = sorted(seed_keys(runs)), rest
    found: dict[tuple[str, ...], list[TrackedRun]] = {}
    for run in runs:
        found.setdefault(tuple(value_of(run, key) for key in by), []).append(run)
    groups = [
        _group(dict(zip(by, values, strict=True)), metric, some, block_keys) for values, some in found.items()
    ]
    return sorted(groups, key=lambda group: rank(metric, group.mean))


def _group(
    values: dict[str, str], metric: str, runs: list[TrackedRun], block_keys: tuple[list[str], list[str]]
) -> Group:
    counts = Counter(run.status for run in runs)
    compared = [
        run for run in runs if run.status == "FINISHED" and math.isfinite(run.metrics.get(metric, math.nan))
    ]
    seeds, rest = ([tuple(value_of(run, key) for key in keys) for run in compared] for keys in block_keys)
    blocks = tuple(zip(seeds, rest, strict=True))
    order = sorted(counts, key=lambda status: OUTCOMES.index(status) if status in OUTCOMES else 99)
    return Group(values, metric, tuple(compared), {status: counts[status] for status in order}, blocks)
