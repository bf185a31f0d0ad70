"""Which rows train, which validate, which test: a function of the seed and nothing else."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from primer.data.dataset import Array
from primer.data.streams import Stream, generator
from primer.data.wording import shown
from primer.errors import ConfigError


class Rows(NamedTuple):
    """Row numbers of each split, ascending, int64; no row is in two."""

    train: Array
    val: Array
    test: Array


def split_sizes(num_rows: int, *, val_fraction: float, test_fraction: float) -> tuple[int, int, int]:
    """Return the numbers of (train, val, test) rows, rounded half up; only test may be empty, when asked.

    Raises ConfigError when a fraction leaves a split without a row.

    >>> split_sizes(150, val_fraction=0.15, test_fraction=0.15)
    (104, 23, 23)
    """
    num_val = _size("val", num_rows, val_fraction)
    num_test = _size("test", num_rows, test_fraction) if test_fraction else 0
    num_train = num_rows - num_val - num_test
    if num_train < 1:
        raise ConfigError(
            f"data.val_fraction={val_fraction:g} and data.test_fraction={test_fraction:g}: "
            f"leave no training row of {num_rows}; lower one of them"
        )
    return num_train, num_val, num_test


def split_rows(
    num_rows: int, *, val_fraction: float, test_fraction: float, seed: int, labels: Array | None = None
) -> Rows:
    """Draw the rows of each split; with `labels` (num_rows,) each split has the classes in proportion."""
    _, num_val, num_test = split_sizes(num_rows, val_fraction=val_fraction, test_fraction=test_fraction)
    order = generator(Stream.SPLIT, seed).permutation(num_rows)
    if labels is None:
        test, val, train = np.split(order, [num_test, num_test + num_val])
    else:
        import pandas as pd

        counts = np.bincount(labels)
        to_test = _share(counts, num_test)
        to_val = _share(counts - to_test, num_val)
        label = labels[order]
        rank = pd.Series(label).groupby(label).cumcount().to_numpy()  # how many before it have its label
        in_test = rank < to_test[label]
        in_val = ~in_test & (rank < (to_test + to_val)[label])
        test, val, train = order[in_test], order[in_val], order[~in_test & ~in_val]
    return Rows(*(np.sort(part).astype(np.int64, copy=False) for part in (train, val, test)))


def check_stratifiable(labels: Array, classes: tuple[str, ...], num_splits: int) -> None:
    """Raise ConfigError unless every class has a row for each of `num_splits` splits."""
    counts = np.bincount(labels, minlength=len(classes))
    smallest = int(counts.argmin())
    if counts[smallest] < num_splits:
        raise ConfigError(
            f"data.stratify=true: class {shown(classes[smallest])} has {counts[smallest]} rows, fewer than "
            f"the {num_splits} splits; use data.stratify=false, or more rows of that class"
        )


def _size(split: str, num_rows: int, fraction: float) -> int:
    key = f"data.{split}_fraction={fraction:g}"
    if not 0 <= fraction < 1:
        raise ConfigError(f"{key}: expected a number from 0 up to, but not, 1")
    size = math.floor(num_rows * fraction + 0.5)
    if size < 1:
        kind = {"val": "validation", "test": "test"}[split]
        raise ConfigError(f"{key}: leaves no {kind} row of {num_rows}; use at least {1 / num_rows:.2g}")
    return size


def _share(counts: Array, size: int) -> Array:
    """Share `size` rows among classes in proportion to `counts`: rounded down, then largest remainders."""
    exact: Array = counts * size / counts.sum()
    share: Array = np.floor(exact).astype(np.int64)
    share[np.argsort(share - exact, kind="stable")[: size - share.sum()]] += 1
    return share
