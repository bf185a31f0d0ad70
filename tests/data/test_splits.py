from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from primer.data.splits import check_stratifiable, split_rows, split_sizes
from primer.errors import ConfigError


@given(num_rows=st.integers(20, 500), seed=st.integers(0, 2**63 - 1), num_classes=st.integers(0, 4))
def test_every_row_is_in_one_split(num_rows: int, seed: int, num_classes: int) -> None:
    labels = np.arange(num_rows) % num_classes if num_classes else None
    rows = split_rows(num_rows, val_fraction=0.15, test_fraction=0.1, seed=seed, labels=labels)
    assert sorted(np.concatenate(rows).tolist()) == list(range(num_rows))
    assert tuple(map(len, rows)) == split_sizes(num_rows, val_fraction=0.15, test_fraction=0.1)


@given(counts=st.lists(st.integers(3, 60), min_size=2, max_size=5), seed=st.integers(0, 1000))
def test_stratified_splits_hold_classes_in_proportion(counts: list[int], seed: int) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    rows = split_rows(len(labels), val_fraction=0.2, test_fraction=0.2, seed=seed, labels=labels)
    for part in rows:
        found = np.bincount(labels[part], minlength=len(counts))
        expected = np.array(counts) * len(part) / len(labels)
        assert np.abs(found - expected).max() < 2  # one row of rounding in each of two draws


def test_a_stratified_split_is_random_within_the_class() -> None:
    labels = np.repeat([0, 1], 50)
    parts = {
        tuple(split_rows(100, val_fraction=0.1, test_fraction=0, seed=seed, labels=labels).val)
        for seed in range(10)
    }
    assert len(parts) == 10
    assert len({row for part in parts for row in part}) > 40  # not always the same few rows


def test_a_function_of_the_seed() -> None:
    def val(seed: int) -> list[int]:
        return split_rows(100, val_fraction=0.2, test_fraction=0.2, seed=seed).val.tolist()

    assert val(0) == val(0) != val(1)


def test_the_split_of_old_runs_stays() -> None:
    """A resumed run trains on the rows that it began with: equals keep their order."""
    labels = np.arange(90) * 7 % 30
    rows = split_rows(90, val_fraction=0.2, test_fraction=0.1, seed=3, labels=labels)
    assert rows.val.tolist() == [2, 6, 7, 16, 23, 25, 38, 41, 42, 45, 49, 57, 58, 63, 70, 80, 84, 89]
    assert rows.test.tolist() == [18, 30, 31, 35, 39, 56, 73, 74, 82]


def test_no_test_split_when_not_asked() -> None:
    assert split_sizes(10, val_fraction=0.2, test_fraction=0) == (8, 2, 0)


@pytest.mark.parametrize(
    ("val", "test", "message"),
    [
        (0.001, 0.1, "data.val_fraction=0.001: leaves no validation row of 150; use at least 0.0067"),
        (0, 0.1, "data.val_fraction=0: leaves no validation row of 150; use at least 0.0067"),
        (0.1, 0.001, "data.test_fraction=0.001: leaves no test row of 150; use at least 0.0067"),
        (0.6, 0.4, "data.val_fraction=0.6 and data.test_fraction=0.4: leave no training row of 150; lower"),
        (-0.1, 0.1, "data.val_fraction=-0.1: expected a number from 0 up to, but not, 1"),
        (0.1, 1.0, "data.test_fraction=1: expected"),
        (float("nan"), 0.1, "data.val_fraction=nan: expected"),
    ],
)
def test_sizes_that_cannot_be(val: float, test: float, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        split_sizes(150, val_fraction=val, test_fraction=test)


@pytest.mark.parametrize("num_rows", [3, 7, 150, 999, 123_457])
def test_the_advised_fraction_works(num_rows: int) -> None:
    with pytest.raises(ConfigError) as caught:
        split_sizes(num_rows, val_fraction=0, test_fraction=0)
    advised = float(str(caught.value).rpartition(" ")[2])
    assert split_sizes(num_rows, val_fraction=advised, test_fraction=0)[1] >= 1


def test_a_class_too_small_to_stratify() -> None:
    labels = np.array([0] * 10 + [1] * 2)
    check_stratifiable(labels, ("no", "yes"), num_splits=2)
    with pytest.raises(ConfigError) as caught:
        check_stratifiable(labels, ("no", "yes"), num_splits=3)
    for piece in ("data.stratify=true", "class 'yes' has 2 rows", "3 splits", "use data.stratify=false"):
        assert piece in str(caught.value)
