from __future__ import annotations

import pandas as pd
import pytest

from primer.data.sheet import Sheet, columns_to_read
from primer.errors import DataError


def test_keeps_the_order_of_the_file() -> None:
    assert columns_to_read("a.csv", ["c", "y", "b", "a"], target="y", drop=["b"]) == ["c", "y", "a"]


@pytest.mark.parametrize(
    ("header", "target", "drop", "pieces"),
    [
        (
            ["area", "price"],
            "prize",
            [],
            ["no column 'prize'", "did you mean 'price'?", "(columns: area, price)"],
        ),
        (["area", "price"], "Price", [], ["no column 'Price'", "did you mean 'price'?"]),
        (["area", "price"], "zzz", [], ["no column 'zzz' (columns: area, price)"]),
        (["area", "price"], "price", ["aera"], ["data.drop: no column 'aera'", "did you mean 'area'?"]),
        (["area", "price"], "price", ["price"], ["the target 'price' is listed in data.drop", "take it out"]),
        (["area", "price"], "price", ["area"], ["no column is left to learn 'price' from"]),
        (["price"], "price", [], ["no column is left to learn 'price' from"]),
        (["a", "b", "a", "y"], "y", [], ["columns 1 and 3 are both named 'a'", "rename"]),
        (["a", "", "y"], "y", [], ["column 2 has no name in the header", "index=False"]),
    ],
)
def test_headers_that_cannot_be(header: list[str], target: str, drop: list[str], pieces: list[str]) -> None:
    with pytest.raises(DataError) as caught:
        columns_to_read("houses.csv", header, target, drop)
    assert str(caught.value).startswith("houses.csv: ")
    for piece in pieces:
        assert piece in str(caught.value)


def test_rows_are_found_in_the_file() -> None:
    assert Sheet("a.csv", pd.DataFrame(), lines=[2, 5]).at(1) == "line 5"
    assert Sheet("a.parquet", pd.DataFrame(), lines=None).at(1) == "row 2"
