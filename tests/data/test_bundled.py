from __future__ import annotations

import numpy as np
import pytest

from primer.data import Dataset, bundled
from primer.data.bundled import NUM_ROWS
from primer.errors import ConfigError


def load(name: str, *, seed: int = 0, **changes: float | bool) -> Dataset:
    arguments = {"val_fraction": 0.15, "test_fraction": 0.15, "stratify": True, "standardize": True}
    return bundled(name, **(arguments | changes), seed=seed)


@pytest.mark.parametrize("name", NUM_ROWS)
def test_each_is_whole_and_standardized_on_train(name: str) -> None:
    data = load(name)
    assert data.val is not None
    assert data.test is not None
    assert len(data.train) + len(data.val) + len(data.test) == NUM_ROWS[name]
    assert data.source == f"scikit-learn:{name}"
    assert data.train.x.dtype == np.float32
    varies = data.train.x.std(axis=0) > 0  # digits has pixels that are always off
    np.testing.assert_allclose(data.train.x[:, varies].mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(data.train.x[:, varies].std(axis=0), 1, rtol=1e-4)
    assert data.in_features == len(data.features)
    assert tuple(data.example) == data.features
    assert len(data.example) == 5
    np.testing.assert_array_equal(data.preprocessor.transform(data.example), data.train.x[:5])


def test_classification_has_labels_and_no_scale() -> None:
    data = load("wine")
    assert data.task == "classification"
    assert data.classes == ("class_0", "class_1", "class_2")
    assert data.out_features == 3
    assert data.train.y.dtype == np.int64
    assert (data.target_mean.item(), data.target_scale.item()) == (0, 1)


def test_regression_target_is_standardized_and_read_back() -> None:
    from sklearn.datasets import load_diabetes

    data = load("diabetes")
    assert data.task == "regression"
    assert data.classes == ()
    assert data.out_features == 1
    assert data.train.y.shape == (len(data.train), 1)
    assert data.train.y.dtype == np.float32
    assert abs(data.train.y.mean()) < 1e-5
    parts = [split.y for split in (data.train, data.val, data.test) if split]
    raw = np.concatenate(parts) * data.target_scale + data.target_mean
    np.testing.assert_allclose(np.sort(raw[:, 0]), np.sort(load_diabetes().target), rtol=1e-5)
    assert data.example["age"].min() > 1  # years, not scikit-learn's scaling of them


def test_not_standardized_means_raw_numbers() -> None:
    data = load("diabetes", standardize=False)
    np.testing.assert_allclose(data.train.x[:5], data.example.to_numpy(), rtol=1e-6)
    assert data.train.y.min() >= 25
    assert (data.target_mean.item(), data.target_scale.item()) == (0, 1)


def test_the_seed_moves_the_split_but_not_the_digest() -> None:
    one, same, other = load("iris"), load("iris"), load("iris", seed=1)
    np.testing.assert_array_equal(one.train.x, same.train.x)
    assert not np.array_equal(one.train.y, other.train.y) or not np.array_equal(one.train.x, other.train.x)
    assert one.digest == other.digest != load("wine").digest
    assert len(one.digest) == 16


def test_unknown_name_and_fraction_are_told_apart() -> None:
    with pytest.raises(ConfigError, match=r"data.name=digit: .* did you mean 'digits'\?"):
        load("digit")
    with pytest.raises(ConfigError, match=r"data.val_fraction=0.001: leaves no validation row of 150"):
        load("iris", val_fraction=0.001)
