from __future__ import annotations

import numpy as np

from primer.data import synthetic


def test_standard_normal_train_only() -> None:
    data = synthetic(num_samples=500, in_features=40, out_features=10, seed=0)
    assert data.train.x.dtype == data.train.y.dtype == np.float32
    assert abs(data.train.x.mean()) < 0.03
    assert abs(data.train.x.std() - 1) < 0.03
    assert abs(np.corrcoef(data.train.x[:, 0], data.train.y[:, 0])[0, 1]) < 0.2
    assert (data.val, data.test, data.preprocessor) == (None, None, None)
    assert (data.in_features, data.out_features, len(data.train)) == (40, 10, 500)
    assert data.task == "regression"
    assert data.source == "synthetic seed=0"
    np.testing.assert_array_equal(data.example.to_numpy(), data.train.x[:5])
    assert tuple(data.example) == data.features


def test_a_function_of_the_seed() -> None:
    sizes = {"num_samples": 8, "in_features": 4, "out_features": 2}
    one, same, other = (synthetic(**sizes, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one.train.x, same.train.x)
    np.testing.assert_array_equal(one.train.y, same.train.y)
    assert not np.array_equal(one.train.x, other.train.x)
    assert one.digest == same.digest != other.digest


def test_x_stays_when_y_gets_wider() -> None:
    narrow = synthetic(num_samples=8, in_features=4, out_features=1, seed=0)
    wide = synthetic(num_samples=8, in_features=4, out_features=3, seed=0)
    np.testing.assert_array_equal(narrow.train.x, wide.train.x)
