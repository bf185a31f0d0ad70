"""What a table was taken for is told where that may surprise, and nothing is told of a plain one."""

from __future__ import annotations

import io
from typing import Any

import pandas as pd
import pytest

from primer.data.columns import feature
from primer.data.csv_file import read_csv
from primer.data.remarks import remarks
from primer.data.target import read_target

NUM_ROWS = 24
PLAIN = {
    "size": [f"{row * row / 4}" for row in range(NUM_ROWS)],
    "floor": ["3", "1", "2", "7"] * 6,
    "kind": ["flat", "house", ""] * 8,
    "garden": ["True", "False", ""] * 8,
    "year": ["1990", "2020"] * 12,
}


def told(target: str = "size", **columns: list[str]) -> tuple[str, ...]:
    text = pd.DataFrame({**PLAIN, **columns}).to_csv(index=False)
    sheet = read_csv("t.csv", text.encode(), target=target, drop=[], delimiter=None)
    classes = read_target(sheet, target, "auto").classes
    frame = pd.DataFrame({str(name): feature(sheet, str(name)) for name in sheet.frame if name != target})
    return remarks(sheet, frame, target, classes)


def test_nothing_is_said_of_a_plain_table() -> None:
    assert told() == ()
    assert told("year") == ()
    assert told("size", kind=["+", "-"] * 12, floor=["0", "1.5"] * 12) == ()


@pytest.mark.parametrize(
    ("cells", "line"),
    [
        (["1", "2", "3+"], "numbers among text in bad ('1', '3+'); all are taken as categories"),
        (["True", "1"], "numbers among text in bad ('1', 'True'); all are taken as categories"),
        (["Yes", "no", "yes"], "categories that differ in case or blanks only in bad ('Yes', 'yes'); "),
        (["red", "red "], "categories that differ in case or blanks only in bad ('red', 'red '); "),
        (["007", "12"], "digits with leading zeros in bad ('007'); they are taken as text"),
        ([f"w{n}" for n in range(21)], "very many categories in bad (21); each is a column of x"),
        (["7"], "the same in every row: bad; nothing can be learned from it"),
        (["red"], "the same in every row: bad; "),
        ([str(n) for n in range(5, 5 + NUM_ROWS)], "bad only counts the rows; leave it out "),
        (["20240131", "20231201"], "numbers that look like dates, as 20240131, in bad; "),
        (
            ["9007199254740993", "1"],
            "whole numbers of more than 15 digits in bad; their last digits are lost",
        ),
        (["9007199254740993", "", "1"], "whole numbers of more than 15 digits in bad; "),
        (["123456789012345678901", "1"], "whole numbers of more than 15 digits in bad; "),
    ],
)
def test_what_may_surprise_is_told_in_a_line(cells: list[str], line: str) -> None:
    (one,) = told(bad=(cells * NUM_ROWS)[:NUM_ROWS])
    assert one.startswith(f"t.csv: {line}")


def test_measured_numbers_are_no_long_whole_ones() -> None:
    assert told(bad=["6.02e23", "1.5e22"] * 12) == ()


def test_columns_of_one_kind_share_a_line() -> None:
    (one,) = told(**{f"c{n}": ["0"] * NUM_ROWS for n in range(300)})
    assert "the same in every row: c0, c1, " in one
    assert "(300 in all)" in one
    assert len(one) < 200


@pytest.mark.parametrize(
    ("cells", "piece"),
    [
        (["Yes", "yes", "no"], "differ in case or blanks only in bad"),
        (["1", "2", "3+"], "numbers among text in bad"),
        (["007", "008"], "leading zeros in bad"),
    ],
)
def test_classes_are_looked_at_too(cells: list[str], piece: str) -> None:
    (one,) = told("bad", bad=(cells * NUM_ROWS)[:NUM_ROWS])
    assert piece in one


def test_a_row_for_a_header_is_told() -> None:
    content = "0.5,2,7.25\n" + "".join(f"{row * row / 8},{row % 5},{row}.5\n" for row in range(NUM_ROWS))
    sheet = read_csv("t.csv", content.encode(), target="7.25", drop=[], delimiter=None)
    (one,) = remarks(sheet, sheet.frame[["0.5", "2"]], "7.25", ())
    assert (
        one
        == "t.csv: the header is all numbers: 0.5, 2, 7.25; if that is a row, put a line of names above it"
    )
    numbered: Any = pd.DataFrame({"0": [1, 3, 2], "1": [4, 7, 5]}).to_csv(index=False)
    sheet = read_csv("t.csv", numbered.encode(), target="1", drop=[], delimiter=None)
    assert remarks(sheet, sheet.frame[["0"]], "1", ()) == ()


def test_rows_that_repeat_are_told() -> None:
    frame = pd.DataFrame(PLAIN)
    for copies, is_told in ((0.4, False), (1.0, True)):
        more = pd.concat([frame, frame.head(int(copies * NUM_ROWS))])
        more.to_csv(written := io.StringIO(), index=False)
        sheet = read_csv("t.csv", written.getvalue().encode(), target="size", drop=[], delimiter=None)
        lines = remarks(sheet, sheet.frame.drop(columns="size"), "size", ())
        assert any("24 of 48 rows repeat another" in line for line in lines) == is_told
