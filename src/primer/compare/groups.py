"""The runs of one setting, and what they came to."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from primer.compare.runs import OUTCOMES, TrackedRun
from primer.compare.settings import differing, label_of, seed_keys, value_of
from primer.direction import rank

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

    def values_of(self, key: str) -> list[str]:
        """What its runs have of another key, each once: several where it is averaged over."""
        return list(dict.fromkeys(value_of(run, key) for run in self.runs))

    @property
    def scores(self) -> np.ndarray:
        """The metric of each run, of shape (n,)."""
        return np.array([run.metrics[self.metric] for run in self.runs])

    @cached_property
    def by_seed(self) -> np.ndarray:
        """The metric of each seed, in the mean of its runs, of shape (n,): these are the evidence."""
        return by_seed(self.scores, [seed for seed, _ in self.blocks])

    @property
    def n(self) -> int:
        """How many seeds are compared."""
        return len(self.by_seed)

    @property
    def mean(self) -> float:
        """The mean over seeds; NaN where there is none."""
        return float(self.by_seed.mean()) if self.n else math.nan

    @property
    def sd(self) -> float:
        """The standard deviation over seeds; NaN of fewer than two."""
        return float(self.by_seed.std(ddof=1)) if self.n > 1 else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """Student's 95% interval of the mean over seeds; NaN of fewer than two."""
        if self.n < 2:
            return math.nan, math.nan
        from scipy import stats

        half = float(stats.t.ppf((1 + LEVEL) / 2, self.n - 1)) * float(stats.sem(self.by_seed))
        return self.mean - half, self.mean + half

    @property
    def best(self) -> TrackedRun | None:
        """The best of its runs."""
        return min(self.runs, key=lambda run: rank(self.metric, run.metrics[self.metric]), default=None)

    @property
    def duration_s(self) -> float:
        """The mean duration of its runs; not a number where one trained as one with others."""
        return float(np.mean([run.own_duration_s for run in self.runs])) if self.runs else math.nan


def by_seed(values: Sequence[float] | np.ndarray, seeds: Sequence[tuple[str, ...]]) -> np.ndarray:
    """The mean for each seed: what else differs shares weights and rows, and is no evidence of its own."""
    found: dict[tuple[str, ...], list[float]] = {}
    for value, seed in zip(values, seeds, strict=True):
        found.setdefault(seed, []).append(float(value))
    return np.array([np.mean(some) for some in found.values()])


def without_repeats(runs: Sequence[TrackedRun]) -> list[TrackedRun]:
    """One run of each computation, a finished one first, else the newest: a repeat is no evidence."""
    order = sorted(runs, key=lambda run: (run.status == "FINISHED", run.started_at))
    digests = {run.identity: run.digest for run in order if run.digest}

    def computation(run: TrackedRun) -> tuple[str, str | None]:
        return run.identity, run.digest or digests.get(run.identity)  # who died early has read no data

    kept = {computation(run): run for run in order}
    return [run for run in runs if kept[computation(run)] is run]


def groups_of(runs: Sequence[TrackedRun], by: Sequence[str], metric: str) -> list[Group]:
    """The runs by their values of the keys, the best mean first."""

    def values(run: TrackedRun, keys: Sequence[str]) -> tuple[str, ...]:
        return tuple(value_of(run, key) for key in keys)

    seeds, rest = sorted(seed_keys(runs)), [key for key in differing(runs) if key not in by]
    found: dict[tuple[str, ...], list[TrackedRun]] = {}
    for run in runs:
        found.setdefault(values(run, by), []).append(run)
    groups = []
    for setting, some in found.items():
        counts = Counter(run.status for run in some)
        ordered = {status: counts[status] for status in dict.fromkeys((*OUTCOMES, *counts)) if counts[status]}
        finished = (run for run in some if run.status == "FINISHED")
        kept = tuple(run for run in finished if math.isfinite(run.metrics.get(metric, math.nan)))
        blocks = tuple((values(run, seeds), values(run, rest)) for run in kept)
        groups.append(Group(dict(zip(by, setting, strict=True)), metric, kept, ordered, blocks))
    return sorted(groups, key=lambda group: rank(metric, group.mean))
