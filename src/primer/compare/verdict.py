"""Whether two settings differ, and by how much: an interval, not one lucky run.

Where both have runs of the same seeds these are compared in pairs (Student's t of the differences), else as
two samples (Welch's t); the tests are SciPy's. Intervals and verdicts are Bonferroni's: of m pairs that could
be judged each has the level 1 - 0.05 / m, so that all of them hold together in 95 of 100 comparisons.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from primer.compare.groups import LEVEL, Group, by_seed
from primer.direction import is_falling

SAME, DIFFERS, UNSEEN, TOO_FEW = "same", "differs", "no difference seen", "too few runs"
POWER = 0.8  # by convention: how often a difference should be seen that is there
MOSTLY = 0.8  # chosen: the share of the smaller group that must have a partner to compare in pairs
MAX_NEEDED = 100_000
ROUNDING = 1e-12  # relative: the same number, in the mean of some


@dataclass(frozen=True)
class Verdict:
    """What can be said of two settings.

    `kind` is "same" (bitwise equal curves), "differs", "no difference seen" or "too few runs"; `effect` is
    the mean of `other` less that of `baseline`, in the metric's unit, within `interval` at `level`;
    `num_needed` how many runs a setting would need for a difference of this size to be seen in 8 of 10
    comparisons; `better` the better of two that differ.
    """

    baseline: str
    other: str
    metric: str
    kind: str
    effect: float
    interval: tuple[float, float]
    level: float
    n: tuple[int, int]
    is_paired: bool
    num_needed: int | None = None
    better: str | None = None
    num_alone: int = 0  # runs that have no partner in pairs

    def sentence(self) -> str:
        """It in a sentence."""
        names = f"{self.baseline} and {self.other}"
        if self.kind == SAME:
            runs = f"all {self.n[0]} pairs of runs" if self.n[0] > 1 else "both runs"
            return f"{names} are the same: bitwise equal curves in {runs}"
        if self.kind == TOO_FEW:
            if min(self.n) > 1:
                wanted = f"; {self.num_needed} pairs would tell" if self.num_needed else ""
                return f"{names}: always {self.effect:+.3g} in {self._how()}, too few to tell{wanted}"
            seen = "" if math.isnan(self.effect) else f" ({self.effect:+.3g} between them)"
            return f"{names}: too few runs to tell{seen}; at least two seeds each are needed, five tell more"
        if self.kind == DIFFERS:
            worse = self.baseline if self.better == self.other else self.other
            return f"{self.better} is better than {worse} {self.by_how_much()}"
        (low, high), wanted = self.interval, ""
        if self.num_needed:
            wanted = f"; about n={self.num_needed} would be needed to see {abs(self.effect):.3g}"
        return (
            f"no difference seen between {names} with {self._how()}: {self.effect:+.3g} {self.metric} "
            f"({told_level(self.level)} interval {low:+.3g} to {high:+.3g}){wanted}"
        )

    def by_how_much(self) -> str:
        """The size of a difference that is seen, with its interval."""
        low, high = sorted(abs(end) for end in self.interval)
        return (
            f"by {abs(self.effect):.3g} {self.metric} "
            f"({told_level(self.level)} interval {low:.3g} to {high:.3g}; {self._how()})"
        )

    def _how(self) -> str:
        """What was compared with what."""
        if self.is_paired:
            alone = f", {self.num_alone} without a partner left out" if self.num_alone else ""
            return f"{self.n[0]} pairs, each of one seed{alone}"
        return f"n={self.n[0]} and {self.n[1]}"


def told_level(level: float) -> str:
    """A level in percent.

    >>> told_level(0.95), told_level(1 - 0.05 / 120)
    ('95%', '99.96%')
    """
    return f"{100 * level:.4g}%"


def judge(baseline: Group, other: Group, num_comparisons: int = 1) -> Verdict:
    """Compare two groups, as one of so many comparisons."""
    pairs = _pairs(baseline, other)
    is_paired = len(pairs) >= max(1, MOSTLY * min(len(baseline.runs), len(other.runs)))
    level = 1 - (1 - LEVEL) / num_comparisons
    if is_paired and all(_is_same(baseline, other, pair) for pair in pairs):
        found, n = Judged(SAME, 0.0, (0.0, 0.0)), (len(pairs), len(pairs))
    elif is_paired:
        seeds = [baseline.blocks[place][0] for place, _ in pairs]
        differences = by_seed([other.scores[j] - baseline.scores[i] for i, j in pairs], seeds)
        found, n = _paired(differences, level), (len(differences), len(differences))
    else:
        found, n = _unpaired(baseline.by_seed, other.by_seed, level), (baseline.n, other.n)
    better = None
    if found.kind == DIFFERS:
        better = other.label if (found.effect < 0) == is_falling(baseline.metric) else baseline.label
    return Verdict(
        baseline=baseline.label,
        other=other.label,
        metric=baseline.metric,
        level=level,
        n=n,
        is_paired=is_paired,
        better=better,
        num_alone=len(baseline.runs) + len(other.runs) - 2 * len(pairs) if is_paired else 0,
        **found._asdict(),
    )


def _pairs(baseline: Group, other: Group) -> list[tuple[int, int]]:
    """The places of runs that differ by the settings alone; none where a seed and setting occurs twice."""
    places = {block: index for index, block in enumerate(other.blocks)}
    if len(places) < len(other.runs) or len(set(baseline.blocks)) < len(baseline.runs):
        return []
    return [(index, places[block]) for index, block in enumerate(baseline.blocks) if block in places]


def _is_same(baseline: Group, other: Group, pair: tuple[int, int]) -> bool:
    if baseline.runs[pair[0]].metrics != other.runs[pair[1]].metrics:
        return False  # without reading their curves
    first, second = baseline.runs[pair[0]].curves, other.runs[pair[1]].curves
    return (
        bool(first)
        and first.keys() == second.keys()
        and all(first[key].is_equal(second[key]) for key in first)
    )


class Judged(NamedTuple):
    """What a test says of two samples."""

    kind: str
    effect: float
    interval: tuple[float, float] = (math.nan, math.nan)
    num_needed: int | None = None


def _paired(differences: np.ndarray, level: float) -> Judged:
    from scipy import stats

    n, effect = len(differences), float(differences.mean())
    if n < 2:
        return Judged(TOO_FEW, effect)
    sd = float(differences.std(ddof=1))
    size = float(np.abs(differences).max())
    if sd <= ROUNDING * size:  # the same in each pair, of which Student's t knows nothing: a sign test
        is_told = effect != 0 and stats.binomtest(n, n).pvalue <= 1 - level
        return _constant(effect, is_told=bool(is_told), num_needed=math.ceil(1 - math.log2(1 - level)))
    found = stats.ttest_1samp(differences, 0.0).confidence_interval(level)
    return _judged(effect, (float(found.low), float(found.high)), level, sd, is_paired=True)


def _unpaired(first: np.ndarray, second: np.ndarray, level: float) -> Judged:
    from scipy import stats

    if not len(first) or not len(second):
        return Judged(TOO_FEW, math.nan)
    effect = float(second.mean() - first.mean())
    if min(len(first), len(second)) < 2:
        return Judged(TOO_FEW, effect)
    size = float(np.abs(np.concatenate([first, second])).max())
    effect = 0.0 if abs(effect) <= ROUNDING * size else effect
    sd = math.sqrt((float(first.var(ddof=1)) + float(second.var(ddof=1))) / 2)
    if sd <= ROUNDING * size:  # each setting always gave the same: Fisher's exact test
        table = [[len(first), 0], [0, len(second)]]
        is_told = effect != 0 and stats.fisher_exact(table).pvalue <= 1 - level
        return _constant(effect, is_told=bool(is_told))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # one of them may be all the same
        found = stats.ttest_ind(second, first, equal_var=False).confidence_interval(level)
    return _judged(effect, (float(found.low), float(found.high)), level, sd, is_paired=False)


def _constant(effect: float, *, is_told: bool, num_needed: int | None = None) -> Judged:
    """Of differences that are always the same."""
    if effect and not is_told:
        return Judged(TOO_FEW, effect, num_needed=num_needed)
    return Judged(DIFFERS if is_told else UNSEEN, effect, (effect, effect))


def _judged(
    effect: float, interval: tuple[float, float], level: float, sd: float, *, is_paired: bool
) -> Judged:
    if interval[0] > 0 or interval[1] < 0:
        return Judged(DIFFERS, effect, interval)
    needed = num_needed(abs(effect) / sd, 1 - level, is_paired=is_paired) if effect else None
    return Judged(UNSEEN, effect, interval, needed)


def num_needed(size: float, alpha: float, *, is_paired: bool) -> int | None:
    """How many runs each setting needs for a difference of `size` standard deviations to be seen.

    In 8 of 10 comparisons, by Student's t at the level `alpha`; the standard deviation is that of the
    differences where runs are paired. None where it is more than 100,000.

    >>> num_needed(1.0, 0.05, is_paired=False)  # Cohen 1988, table 2.4.1: 17
    17
    """
    low, high = 2, 4
    while _power(high, size, alpha, is_paired) < POWER:
        low, high = high, high * 2
        if high > MAX_NEEDED:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _power(middle, size, alpha, is_paired) >= POWER else (middle, high)
    return high


def _power(n: int, size: float, alpha: float, is_paired: bool) -> float:
    from scipy import stats

    freedom = n - 1 if is_paired else 2 * n - 2
    shift = size * math.sqrt(n if is_paired else n / 2)
    threshold = stats.t.isf(alpha / 2, freedom)
    power = float(stats.nct.sf(threshold, freedom, shift))  # the other tail is nothing, or not a number
    return power if math.isfinite(power) else float(stats.norm.sf(threshold - shift))
