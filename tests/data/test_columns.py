from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from primer.data.columns import feature, is_numbers
from primer.data.sheet import Sheet
from primer.data.table import table
from primer.errors import DataError


def read(cells: list[object]) -> pd.Series:
    frame = pd.DataFrame({"bad": cells})
    return feature(Sheet("t.csv", frame, lines=range(2, len(cells) + 2)), "bad")


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ([1, 2], [1, 2]),
        ([1.5, None], [1.5, np.nan]),
        ([True, False], [True, False]),
        ([True, None], [1.0, np.nan]),
        (["1", "2.5"], [1.0, 2.5]),  # text whose every cell is a number
        (["123456789012345678901", "1"], [1.2345678901234568e20, 1.0]),
    ],
)
def test_numbers(cells: list[object], expected: list[object]) -> None:
    column = read(cells)
    assert is_numbers(column)
    np.testing.assert_array_equal(column.to_numpy(np.float64), np.array(expected, np.float64))


@pytest.mark.parametrize(
    "cells",
    [
        ["red", None, "blue"],
        ["1", "2", "many"],
        [True, "maybe", None],
        ["10-12", "13-15"],
        ["2024-13", "2024-99"],
        ["may", "june"],
        ["4 doors", "2 doors"],
        ["$", "$$"],
        ["Marble 2000", "Junior 1990", "Decor 1234"],
        ["12:00 to 13:00", "13:00 to 14:00"],
    ],
)
def test_text(cells: list[object]) -> None:
    column = read(cells)
    assert column.dtype == "str"
    assert column.dropna().tolist() == [str(cell) for cell in cells if cell is not None]


@pytest.mark.parametrize(
    ("cells", "pieces"),
    [
        ([None, None], ["column 'bad' has no value in any row", "data.drop=[bad]"]),
        (
            ["1"] * 9 + ["abc"],
            ["line 11: column 'bad' holds numbers, but 'abc' isn't one", "data.drop=[bad]"],
        ),
        (["1"] * 99 + ["x" * 99], ["line 101", "but '" + "x" * 39 + "…' isn't one"]),
        (["1,5", "2,5"], ["line 2", "'1,5' isn't one", "with a decimal point and without commas"]),
        (["1,000.5", "7"], ["line 2", "'1,000.5' isn't one"]),
        ([1.0, np.inf], ["line 3: column 'bad': 'inf' is infinite"]),
        ([1.0, -np.inf, np.inf], ["line 3: column 'bad': '-inf' is infinite"]),
        ([1.0, 1e39], ["line 3: column 'bad': '1e+39' is beyond 32-bit numbers (3.4e+38)"]),
        (["2024-01-31", "2024-02-01"], ["line 2: column 'bad' holds dates or times ('2024-01-31')", "year"]),
        ([None, "2024-01-31T10:00:00Z"], ["line 3: column 'bad' holds dates"]),
        (["31.12.2024", "01.01.2025 12:00"], ["column 'bad' holds dates"]),
        (["1/2/24", "12/31/99"], ["column 'bad' holds dates"]),
        (["31 Jan 2024", "1 Feb. 2024"], ["column 'bad' holds dates or times ('31 Jan 2024')"]),
        (["31-Jan-24", "Monday 1 February 2024", "Sat, 03 May 2024"], ["column 'bad' holds dates"]),
        (["January 2024", "May 2024", "Jan 31, 2024"], ["column 'bad' holds dates"]),
        (["2024-01", "2024-12"], ["column 'bad' holds dates"]),
        (["09:30", "23:59:59", "9:30 PM"], ["column 'bad' holds dates or times ('09:30')", "hours"]),
        (
            ["5%", "7.5%"],
            ["column 'bad' holds numbers, but '5%' isn't one", "digits only, as 1234.5"],
        ),
        (["1 000", "1\u00a0500"], ["'1 000' isn't one; write it as digits only"]),
        (["1'000", "'5'"], ["write it as digits only"]),
        (["$5", "7 €"], ["'$5' isn't one; write it as digits only"]),
        (["−5", "−7"], ["'−5' isn't one; write it as digits only, as 1234.5 or -7"]),
        (["1_000", "2_000"], ["'1_000' isn't one"]),
        (
            [f"name {n}" for n in range(50)],
            ["'bad' has 50 distinct texts in 50 rows", "first 'name 0'", "drop=[bad]"],
        ),
        ([f"w{n % 1001}" for n in range(5000)], ["'bad' has 1001 distinct texts in 5000 rows", "too many"]),
    ],
)
def test_columns_that_cannot_be_trusted(cells: list[object], pieces: list[str]) -> None:
    with pytest.raises(DataError) as caught:
        read(cells)
    assert str(caught.value).startswith("t.csv: ")
    for piece in pieces:
        assert piece in str(caught.value)


def test_limits_from_below() -> None:
    assert read(["1"] * 8 + ["abc", "d"]).dtype == "str"  # 80% numbers: categories
    assert read([f"w{n % 1000}" for n in range(5000)]).nunique() == 1000
    assert read([f"name {n}" for n in range(20)]).nunique() == 20
    assert read([3.4e38, -3.4e38]).dtype == np.float64


@pytest.mark.parametrize("name", ["k" * 5000, "a\nb", "\x1b[31m", "it's", 'a"]'])
def test_a_name_that_no_line_can_repeat_is_left_out_of_the_advice(name: str) -> None:
    with pytest.raises(DataError) as caught:
        feature(Sheet("t.csv", pd.DataFrame({name: [None, None]}), lines=None), name)
    assert str(caught.value).endswith("leave the column out with data.drop")
    assert len(str(caught.value)) < 150
    assert str(caught.value).isprintable()


def test_the_advice_to_leave_a_column_out_keeps_those_that_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(
        "id,when,a,y\n" + "".join(f"n{n},2024-01-{n:02},{n},{n}\n" for n in range(1, 29))
    )
    with pytest.raises(DataError, match=r"holds dates .* leave the column out with data.drop=\[id,when\]$"):
        table(
            str(tmp_path / "t.csv"), "y", task="auto", drop=["id"], val_fraction=0.2, test_fraction=0.2,
            stratify=False, standardize=True, seed=0,
        )  # fmt: skip
