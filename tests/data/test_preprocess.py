from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import skops.io

from primer.data.preprocess import TRUSTED_TYPES, RawTable, build_preprocessor, prepare
from primer.data.splits import split_rows
from primer.errors import ConfigError

SPLIT: dict[str, Any] = {"val_fraction": 0.2, "test_fraction": 0.2, "seed": 0}


def raw_table(*, num_rows: int = 50, classification: bool = False) -> RawTable:
    numbers = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "size": numbers.normal(1e9, 1, num_rows),  # float32 alone would lose its differences
            "color": numbers.choice(["red", "blue"], num_rows),
            "garden": numbers.random(num_rows) < 0.5,
            "rooms": numbers.integers(1, 6, num_rows),
        }
    )
    frame.loc[::7, "size"] = np.nan
    frame.loc[::5, "color"] = None
    y = np.arange(num_rows) % 2 if classification else numbers.random((num_rows, 1)) * 100
    classes = ("no", "yes") if classification else ()
    task = "classification" if classification else "regression"
    return RawTable("t", "t.csv", task, frame, "y", y, classes, "0" * 16)


def prepared(raw: RawTable, **changes: Any) -> Any:
    return prepare(raw, **(SPLIT | {"stratify": True, "standardize": True} | changes))


def test_only_training_rows_are_learned_from() -> None:
    raw, changed = raw_table(), raw_table()
    rows = split_rows(len(raw.y), **SPLIT)
    others = np.concatenate([rows.val, rows.test])
    changed.frame.loc[others, "size"] = -1e12
    changed.frame.loc[others, "color"] = "green"
    changed.y[others] = 1e6
    before, after = prepared(raw), prepared(changed)
    np.testing.assert_array_equal(before.train.x, after.train.x)
    np.testing.assert_array_equal(before.train.y, after.train.y)
    np.testing.assert_array_equal(before.target_mean, after.target_mean)
    assert skops.io.dumps(before.preprocessor) != b""
    probe = raw.frame.head(20)
    np.testing.assert_array_equal(before.preprocessor.transform(probe), after.preprocessor.transform(probe))
    assert not np.array_equal(before.val.x, after.val.x)

    changed.frame.loc[rows.train[0], "rooms"] = 1000  # the test sees a change where one is due
    assert not np.array_equal(before.train.x, prepared(changed).train.x)


def test_float32_without_loss_of_small_differences() -> None:
    data = prepared(raw_table())
    assert data.train.x.dtype == np.float32
    assert np.isfinite(data.train.x).all()
    assert abs(data.train.x[:, 0].std() - 1) < 1e-3
    assert data.in_features == 3 + 3  # size, garden, rooms; blue, missing, red


def test_survives_a_round_trip_through_skops() -> None:
    data = prepared(raw_table())
    stored = skops.io.dumps(data.preprocessor)
    assert set(skops.io.get_untrusted_types(data=stored)) <= set(TRUSTED_TYPES)
    loaded = skops.io.loads(stored, trusted=list(TRUSTED_TYPES))
    np.testing.assert_array_equal(loaded.transform(data.example), data.train.x[:5])


def test_raw_rows_of_any_make() -> None:
    """Unknown text is no category, None and NaN are both missing, whole numbers may come as text columns."""
    frame = pd.DataFrame({"color": ["red", "blue", None], "size": [1.0, 2.0, 3.0]})
    fitted = build_preprocessor(frame, standardize=False).fit(frame)
    rows = pd.DataFrame(
        {"color": pd.Series(["red", None, np.nan, "green"], dtype=object), "size": [1, None, 2, 3]},
        dtype=object,
    )
    expected = [[1, 0, 0, 1], [2, 0, 1, 0], [2, 0, 1, 0], [3, 0, 0, 0]]
    np.testing.assert_array_equal(fitted.transform(rows), expected)


@pytest.mark.parametrize("columns", [["size", "rooms"], ["color"], ["garden"]])
def test_one_kind_of_column_is_enough(columns: list[str]) -> None:
    frame = raw_table().frame[columns]
    assert build_preprocessor(frame, standardize=True).fit_transform(frame).dtype == np.float32


def test_a_column_may_have_no_value_in_train() -> None:
    raw = raw_table()
    rows = split_rows(len(raw.y), **SPLIT)
    raw.frame.loc[rows.train, "size"] = np.nan
    raw.frame.loc[rows.train, "color"] = None
    data = prepared(raw)
    assert data.in_features == 3 + 1
    assert np.isfinite(data.val.x).all()


def test_a_target_constant_over_train_is_not_divided_by_zero() -> None:
    raw = raw_table()
    raw.y[split_rows(len(raw.y), **SPLIT).train] = 7.0
    data = prepared(raw)
    assert (data.target_mean.item(), data.target_scale.item()) == (7.0, 1.0)
    assert np.isfinite(data.val.y).all()


def test_no_test_fraction_no_test_split() -> None:
    assert prepared(raw_table(), test_fraction=0).test is None


def test_stratify_is_for_classes() -> None:
    data = prepared(raw_table(classification=True))
    assert [np.bincount(split.y).tolist() for split in (data.train, data.val, data.test)] == [
        [15, 15],
        [5, 5],
        [5, 5],
    ]
    rare = raw_table(classification=True)
    rare.y[:] = 0
    rare.y[:2] = 1
    with pytest.raises(ConfigError, match=r"data.stratify=true: class 'yes' has 2 rows"):
        prepared(rare)
    assert len(prepared(rare, stratify=False).train) == 30


def test_a_class_without_a_training_row_is_told() -> None:
    raw = raw_table(classification=True)
    raw.y[:] = 0
    raw.y[split_rows(len(raw.y), **SPLIT).val[:2]] = 1
    (note,) = prepared(raw, stratify=False).notes
    assert note == "target 'y' has no training row of yes; see data.stratify, data.seed"
    assert prepared(raw_table(classification=True), stratify=False).notes == ()
