from __future__ import annotations

import string
from contextlib import suppress

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from primer.data.csv_file import read_csv
from primer.data.sheet import Sheet
from primer.errors import DataError


def read(content: str | bytes, *, target: str = "y", delimiter: str | None = None) -> Sheet:
    content = content.encode() if isinstance(content, str) else content
    return read_csv("t.csv", content, target=target, drop=[], delimiter=delimiter)


# Letters that pandas writes bare or quoted, none that it reads as missing, numbers or booleans.
texts = st.text("kq,;|\t\"'\n é日", min_size=1).map(lambda text: "k" + text) | st.none()
floats = st.floats(allow_infinity=False, width=64)
tables = st.lists(
    st.tuples(floats, st.integers(-(2**53), 2**53), texts, st.booleans()), min_size=1, max_size=30
)


@given(rows=tables, separator=st.sampled_from(",;\t|"), ending=st.sampled_from(["\n", "\r\n"]))
def test_reads_back_what_pandas_wrote(rows: list[tuple[object, ...]], separator: str, ending: str) -> None:
    frame = pd.DataFrame(rows, columns=["float", "int", "text", "bool"]).astype({"text": "str"})
    frame.insert(0, "row", range(len(frame)))
    written = frame.to_csv(index=False, sep=separator, lineterminator=ending)
    sheet = read(written, target="int")
    pd.testing.assert_frame_equal(sheet.frame, frame, check_dtype=False, check_exact=True)
    lines = written.split("\n")
    for row in range(len(frame)):
        assert lines[int(sheet.at(row).removeprefix("line ")) - 1].startswith(f"{row}{separator}")


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_the_delimiter_is_found(separator: str) -> None:
    lines = ['"a"', "b,;x" if separator == "|" else "b", "y"], ['"1"', "2", "3"]
    sheet = read("\n".join(separator.join(line) for line in lines))
    assert sheet.frame.shape == (1, 3)


def test_blank_lines_and_a_byte_order_mark_are_no_rows() -> None:
    sheet = read("\ufeff\n a ,y\n\n1,2\n   \n\t\n3,4\n\n")
    assert sheet.frame.to_dict("list") == {"a": [1, 3], "y": [2, 4]}
    assert [sheet.at(0), sheet.at(1)] == ["line 4", "line 7"]


def test_blanks_before_a_cell_are_no_part_of_it() -> None:
    sheet = read(' a, "b", y\n 1, "x, y",  2\n 3,   , 4\n')
    assert list(sheet.frame) == ["a", "b", "y"]
    assert sheet.frame["b"].tolist()[:1] == ["x, y"]
    assert sheet.frame["b"].isna().tolist() == [False, True]


@pytest.mark.parametrize("quote", ["", '"'])
@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_leading_zeros_are_seen_wherever_they_stand(quote: str, separator: str) -> None:
    cells = [f"{quote}007{quote}", f"{quote}010{quote}"]
    for first in (True, False):
        lines = ["a", "y"], *([cell, "1"] if first else ["1", cell] for cell in cells)
        sheet = read("\n".join(separator.join(line) for line in lines))
        assert sheet.frame["a" if first else "y"].tolist() == ["007", "010"]


def test_missing_cells() -> None:
    sheet = read(
        "a,b,y\n" + "".join(f"1,{cell},2\n" for cell in ["", '""', "NA", "NaN", "nan", "null", "None"])
    )
    assert sheet.frame["b"].isna().all()


@pytest.mark.parametrize(
    ("content", "pieces"),
    [
        ("a,b,y\n1,2,3\n1,2\n", ["line 3 has 2 fields, expected 3 as in the header"]),
        ("a,b,y\n1,2,3,4\n", ["line 2 has 4 fields, expected 3"]),
        ("a,b,y\n1,2,3,4\n1,2,3,4\n", ["line 2 has 4 fields"]),  # pandas takes the first for an index
        ('a,b,y\n1,"two\nlines",3\n\n7\n', ["line 5 has 1 field, expected 3"]),
        ('a,b,y\n1,2,3\n1,"2,3\n4,5,6\n', ["line 3 can't be read", "check its quotes"]),
        ('a,b,y\n1,"2"2,3\n', ["line 2 can't be read", "check its quotes"]),
        ('a,"b,y\n1,2,3\n', ["line 1 can't be read"]),
        ("a,b,y\n", ["has a header but no rows"]),
        ("a,b,y", ["has a header but no rows"]),
        ("a,b,y\n\n \n", ["has a header but no rows"]),
        ("a,b,\n1,2,3\n", ["column 3 has no name"]),
        (",a,y\n0,1,2\n", ["column 1 has no name", "index=False"]),
        ("a,a ,y\n1,2,3\n", ["columns 1 and 2 are both named 'a'"]),
        (
            "a,b,y\n1,2,3\n1,é,3\n".encode("latin-1"),
            ["line 3 isn't UTF-8 (byte 0xe9)", "save the file as UTF-8"],
        ),
        ("é,y\n1,2\n".encode("latin-1"), ["line 1 isn't UTF-8"]),
        ("a,y\n1,2\n".encode("utf-16"), ["NUL bytes", "UTF-16"]),
        ('a,b,y\n1,2,3\n"  "\n', ["quoted blanks"]),
        ("a,y\nu,v\n\na, y\nu,v\n", ["line 4 is the header once more; delete it"]),
        ("a,y\na,y\nu,v\n", ["line 2 is the header once more"]),
        (
            'a,y\n"1,2\n' + "3,4\n" * 50_000,
            ["line 2 can't be read", "a quote that isn't closed, or a"],
        ),
    ],
)
def test_broken_files(content: str | bytes, pieces: list[str]) -> None:
    with pytest.raises(DataError) as caught:
        read(content)
    message = str(caught.value)
    assert message.startswith("t.csv: ")
    assert "\n" not in message
    for piece in pieces:
        assert piece in message


def test_ragged_far_down_is_found_in_a_large_file() -> None:
    rows = ["1,2,3"] * 50_000
    rows[40_000] = "1,2"
    with pytest.raises(DataError, match="line 40002 has 2 fields"):
        read("a,b,y\n" + "\n".join(rows))


def test_a_given_delimiter_is_not_second_guessed() -> None:
    assert read("a,b;c\ty\n1\t2\n", delimiter="\t").frame.columns.tolist() == ["a,b;c", "y"]


@given(junk=st.binary(max_size=60) | st.text(string.printable, max_size=60).map(str.encode))
def test_whatever_the_bytes_it_is_a_sheet_or_a_data_error(junk: bytes) -> None:
    with suppress(DataError):
        sheet = read(b"a,y\n1,2\n" + junk)
        assert len(sheet.frame) == len(sheet.lines or ())
