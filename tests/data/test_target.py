from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from primer.data.sheet import Sheet
from primer.data.target import Target, read_target
from primer.errors import ConfigError, DataError


def read(cells: list[object], task: str = "auto") -> Target:
    frame = pd.DataFrame({"y": cells})
    return read_target(Sheet("t.csv", frame, lines=range(2, len(cells) + 2)), "y", task)


@pytest.mark.parametrize(
    ("cells", "task", "classes"),
    [
        (["b", "a", "b", "a"], "auto", ("a", "b")),
        ([True, False] * 2, "auto", ("False", "True")),
        ([1, 0] * 2, "auto", ("0", "1")),
        (list(range(20)) * 10, "auto", tuple(str(n) for n in range(20))),  # 10 after 9
        ([1.5, 10.5, 9.5] * 2, "classification", ("1.5", "9.5", "10.5")),
        (["1", "2", "3+"] * 2, "classification", ("1", "2", "3+")),
        (["1"] * 18 + ["other"] * 2, "classification", ("1", "other")),
    ],
)
def test_classes(cells: list[object], task: str, classes: tuple[str, ...]) -> None:
    found = read(cells, task)
    assert found.task == "classification"
    assert found.classes == classes
    assert found.y.dtype == np.int64
    assert [classes[label] for label in found.y] == [str(cell) for cell in cells]


@pytest.mark.parametrize(
    ("cells", "task"),
    [
        ([1.0, 0.0] * 5, "auto"),
        (list(range(21)) * 100, "auto"),
        ([1, 2, 3], "auto"),
        ([1, 0] * 5, "regression"),
        ([True, False], "regression"),
    ],
)
def test_regression(cells: list[object], task: str) -> None:
    found = read(cells, task)
    assert found.task == "regression"
    assert found.classes == ()
    np.testing.assert_array_equal(found.y, np.array(cells, np.float64)[:, None])


@pytest.mark.parametrize(
    ("cells", "task", "pieces"),
    [
        ([1, None, None], "auto", ["line 3: target 'y' is missing (2 rows of 3 in all)"]),
        (["a", "b", None], "auto", ["line 4: target 'y' is missing (1 row of 3 in all)"]),
        ([None, None], "auto", ["line 2: target 'y' is missing (2 rows of 2 in all)"]),
        ([3, 3, 3], "auto", ["target 'y' is '3' in all 3 rows", "nothing to learn"]),
        (["a", "a"], "classification", ["target 'y' is 'a' in all 2 rows"]),
        (["a", "a", "b"], "auto", ["class 'b' (line 4) of target 'y' has only one row"]),
        (
            ["a", "a", "b", "c"],
            "auto",
            ["2 classes of target 'y' have only one row each, first 'b' (line 4)"],
        ),
        (
            [1.5, 2.5, 3.5],
            "classification",
            ["3 classes of target 'y'", "data.task=regression learns numbers"],
        ),
        ([1.0] * 5 + [2.0, np.inf], "auto", ["line 8: column 'y': 'inf' is infinite"]),
        (["1"] * 19 + ["x"], "auto", ["line 21: column 'y' holds numbers, but 'x' isn't one"]),
        (["2024-01-31", "2024-02-01"] * 2, "auto", ["column 'y' holds dates"]),
    ],
)
def test_targets_that_cannot_be_learned(cells: list[object], task: str, pieces: list[str]) -> None:
    with pytest.raises(DataError) as caught:
        read(cells, task)
    assert str(caught.value).startswith("t.csv: ")
    for piece in pieces:
        assert piece in str(caught.value)


def test_a_target_is_not_advised_to_be_dropped() -> None:
    for cells in (["1"] * 19 + ["x"], ["2024-01-31", "2024-02-01"] * 2):
        with pytest.raises(DataError) as caught:
            read(list(cells))
        assert "data.drop" not in str(caught.value)


def test_tasks_that_cannot_be() -> None:
    with pytest.raises(ConfigError) as caught:
        read(["red", "blue"] * 2, "regression")
    for piece in ("data.task=regression", "target 'y' of t.csv is text", "line 2: 'red'", "classification"):
        assert piece in str(caught.value)
    with pytest.raises(
        ConfigError, match=r"data.task=clasification: expected one of auto, .*'classification'\?"
    ):
        read([1, 2], "clasification")
