"""Curves of groups: mean and band over runs, on a grid that all runs of a group share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from primer.compare.groups import Group
from primer.compare.runs import Curve, TrackedRun
from primer.errors import UsageError
from primer.tracking.curves import falls_far

AXES = {"steps": "optimizer step", "samples": "samples", "seconds": "seconds"}  # and what they are called
SCALES = ("auto", "linear", "log")
MAX_POINTS = 300  # chosen: of a curve that is drawn some 600 pixels wide; `curves.parquet` has all


@dataclass(frozen=True)
class Band:
    """A group's curve: `x`, `mean`, and `low` and `high` a standard deviation beside it, of shape (points,).

    `low` and `high` are the mean where there is one run.
    """

    label: str
    x: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    n: int

    def low_above(self, *, zero: bool) -> np.ndarray:
        """`low`; above `zero` for a log scale, on which a band down to 0 has no end."""
        return np.maximum(self.low, self.mean / 10) if zero else self.low


def curve_of(metric: str) -> str:
    """The metric that has a curve, of one that is a number.

    >>> curve_of("best/val/loss"), curve_of("test/accuracy")
    ('val/loss', 'val/accuracy')
    """
    for end in ("best/", "final/"):
        metric = metric.removeprefix(end)
    return metric.replace("test/", "val/", 1) if metric.startswith("test/") else metric


def is_log(values: Iterable[np.ndarray], scale: str = "auto") -> bool:
    """Whether values of a metric are drawn on a log scale; never where one is not above 0."""
    if scale not in SCALES:
        raise UsageError(f"scale={scale}: expected one of {', '.join(SCALES)}")
    found = np.concatenate([*values] or [np.ones(1)])
    found = found[np.isfinite(found)]
    if scale == "linear" or not len(found) or found.min() <= 0:
        return False
    return scale == "log" or falls_far(found.tolist())


def bands(groups: Sequence[Group], metric: str, *, over: str = "steps", smooth: float = 0.0) -> list[Band]:
    """The curve of each group that has one.

    `over` is one of AXES: optimizer steps, samples trained on, or seconds since the first point; `smooth` is
    the weight of what was before, as in an exponential moving average: 0 is none.
    """
    if over not in AXES:
        raise UsageError(f"over={over}: expected one of {', '.join(AXES)}")
    if not 0 <= smooth < 1:
        raise UsageError(f"smooth={smooth}: expected a number, at least 0 and below 1")
    found = []
    for group in groups:
        curves = [
            (x_of(run, run.curves[metric], over), _smoothed(run.curves[metric].values, smooth))
            for run in group.runs
            if metric in run.curves
        ]
        if curves:
            found.append(_band(group.label, curves))
    return found


def x_of(run: TrackedRun, curve: Curve, over: str) -> np.ndarray:
    """Where a curve's points lie on an axis."""
    if over == "seconds":
        first = min(float(one.times[0]) for one in run.curves.values() if len(one.times))
        return np.maximum.accumulate(curve.times - first)
    return run.samples_at(curve.steps) if over == "samples" else curve.steps


def _smoothed(values: np.ndarray, weight: float) -> np.ndarray:
    """An exponential moving average, without the bias to 0 of its beginning."""
    if not weight:
        return values
    found, sums, shares = np.empty_like(values), 0.0, 0.0
    for index, value in enumerate(values):
        if np.isfinite(value):
            sums, shares = weight * sums + (1 - weight) * value, weight * shares + (1 - weight)
        found[index] = sums / shares if shares else np.nan
    return found


def _band(label: str, curves: list[tuple[np.ndarray, np.ndarray]]) -> Band:
    grid = curves[0][0]
    if all(np.array_equal(x, grid) for x, _ in curves):
        rows = np.stack([values for _, values in curves])  # (runs, points)
        grid, rows = _thinned(grid.astype(float), rows)
    else:
        low, high = min(x[0] for x, _ in curves), max(x[-1] for x, _ in curves)
        longest = max(len(x) for x, _ in curves)
        grid = np.linspace(low, high, min(MAX_POINTS, longest))
        on_grid = _in_bins if longest > MAX_POINTS else between
        rows = np.stack([on_grid(grid, x, values) for x, values in curves])
    rows = np.where(np.isfinite(rows), rows, np.nan)
    is_there = ~np.isnan(rows).all(axis=0)
    grid, rows = grid[is_there], rows[:, is_there]
    mean = np.nanmean(rows, axis=0) if len(grid) else grid
    sd = _sd(rows)
    return Band(label, grid, mean, mean - sd, mean + sd, len(curves))


def between(grid: np.ndarray, x: np.ndarray, values: np.ndarray) -> np.ndarray:
    """A curve on another grid, as far as it goes."""
    return np.asarray(np.interp(grid, x, values, left=np.nan, right=np.nan))


def _in_bins(grid: np.ndarray, x: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The mean of a curve's points around each of a coarser grid; between them where there is none."""
    is_there = np.isfinite(values)
    places = np.rint((x[is_there] - grid[0]) / (grid[1] - grid[0])).astype(int)
    counts = np.bincount(places, minlength=len(grid))
    sums = np.bincount(places, weights=values[is_there], minlength=len(grid))
    means = np.divide(sums, counts, out=np.full(len(grid), np.nan), where=counts > 0)
    return np.where(counts > 0, means, between(grid, x, values))


def _thinned(grid: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """At most MAX_POINTS, each the mean of those around it: no point is left out."""
    if len(grid) <= MAX_POINTS:
        return grid, rows
    bounds = np.linspace(0, len(grid), MAX_POINTS + 1).astype(int)
    is_there = np.isfinite(rows)
    sums = np.add.reduceat(np.where(is_there, rows, 0.0), bounds[:-1], axis=1)
    counts = np.add.reduceat(is_there.astype(float), bounds[:-1], axis=1)
    means = np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)
    return np.add.reduceat(grid, bounds[:-1]) / np.diff(bounds), means


def _sd(rows: np.ndarray) -> np.ndarray:
    """Over runs, of those that have a point there; 0 where one has."""
    counts = (~np.isnan(rows)).sum(axis=0)
    squares = np.nansum((rows - np.nansum(rows, axis=0) / np.maximum(counts, 1)) ** 2, axis=0)
    return np.asarray(np.sqrt(squares / np.maximum(counts - 1, 1)))
