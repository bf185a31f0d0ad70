from __future__ import annotations

import io
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from primer.data.parquet_file import read_parquet
from primer.data.sheet import Sheet
from primer.errors import DataError


def read(table: Any, drop: list[str] | None = None) -> Sheet:
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return read_parquet("t.parquet", buffer.getvalue(), target="y", drop=drop or [])


def test_plain_types_become_numbers_booleans_and_text() -> None:
    sheet = read(
        pa.table(
            {
                "int": pa.array([1, None, 3], pa.int32()),
                "decimal": pa.array([Decimal("1.50"), None, Decimal("2.25")]),
                "half": pa.array(np.array([1, 2, 3], np.float16)),
                "text": ["a", None, "b"],
                "category": pa.array(["x", None, "x"]).dictionary_encode(),
                "codes": pa.array([7, 8, 7]).dictionary_encode(),
                "a.b": [True, False, True],
                "a": [1.5, 2.5, 3.5],
                "y": [1, 2, 3],
            }
        )
    )
    kinds = {
        str(name): dtype.kind if dtype != "str" else "text" for name, dtype in sheet.frame.dtypes.items()
    }
    assert kinds == {
        "int": "f",
        "decimal": "f",
        "half": "f",
        "text": "text",
        "category": "text",
        "codes": "i",
        "a.b": "b",
        "a": "f",
        "y": "i",
    }
    assert sheet.frame["decimal"].dropna().tolist() == [1.5, 2.25]
    assert sheet.at(0) == "row 1"


@pytest.mark.parametrize("index", [pd.Index([7, 8], name="id"), pd.Index([7, 8]), pd.RangeIndex(2)])
def test_a_pandas_index_is_no_feature(index: pd.Index) -> None:
    frame = pd.DataFrame({"a": [1.0, 2.0], "y": [1, 2]}, index=index)
    assert read(pa.Table.from_pandas(frame)).frame.columns.tolist() == ["a", "y"]


@pytest.mark.parametrize(
    ("column", "pieces"),
    [
        (pa.array([date(2024, 1, 1)] * 2), ["column 'bad' holds dates or times (date32", "data.drop=[bad]"]),
        (pa.array([datetime(2024, 1, 1)] * 2), ["column 'bad' holds dates or times (timestamp"]),
        (pa.array([timedelta(1)] * 2), ["column 'bad' holds dates or times (duration"]),
        (pa.array([[1], [2]]), ["column 'bad' is of type list", "no number and no text"]),
        (pa.array([{"k": 1}] * 2), ["column 'bad' is of type struct"]),
        (pa.array([b"x", b"y"]), ["column 'bad' is of type binary"]),
    ],
)
def test_columns_that_are_no_numbers_and_no_text(column: pa.Array, pieces: list[str]) -> None:
    table = pa.table({"a": [1, 2], "bad": column, "y": [1, 2]})
    with pytest.raises(DataError) as caught:
        read(table)
    for piece in ["t.parquet: ", *pieces]:
        assert piece in str(caught.value)
    assert read(table, drop=["bad"]).frame.columns.tolist() == ["a", "y"]


def test_a_dot_in_a_name_is_no_path() -> None:
    table = pa.table({"a": [{"b": 1}], "a.b": [2], "y": [3]})
    assert read(table, drop=["a"]).frame.to_dict("list") == {"a.b": [2], "y": [3]}


def test_broken_files() -> None:
    with pytest.raises(DataError, match=r"t.parquet: has columns but no rows"):
        read(pa.table({"a": pa.array([], pa.int64()), "y": pa.array([], pa.int64())}))
    with pytest.raises(DataError, match=r"t.parquet: columns 1 and 2 are both named 'a'"):
        read(pa.table([[1], [2], [3]], names=["a", "a", "y"]))
    buffer = io.BytesIO()
    pq.write_table(pa.table({"a": list(range(1000)), "y": list(range(1000))}), buffer)
    whole = buffer.getvalue()
    broken = [b"PAR1 not really", whole[:-100], whole[:4] + b"\xff" * 2000 + whole[2004:]]
    for content in broken:
        with pytest.raises(
            DataError, match=r"t.parquet: isn't a Parquet file that can be read: \S"
        ) as caught:
            read_parquet("t.parquet", content, target="y", drop=[])
        assert "\n" not in str(caught.value)


def test_text_that_is_not_utf_8_and_metadata_that_is_no_json() -> None:
    buffers = [None, pa.py_buffer(np.array([0, 1, 2], np.int32).tobytes()), pa.py_buffer(b"\xff\xfe")]
    spoilt = pa.table({"a": pa.Array.from_buffers(pa.string(), 2, buffers), "y": [1, 2]})
    sound = pa.table({"a": [1, 2], "y": [1, 2]})
    for table in (spoilt, sound.replace_schema_metadata({"pandas": "{"})):
        with pytest.raises(DataError, match=r"t.parquet: isn't a Parquet file that can be read: \S"):
            read(table)
    for words in ("[1]", "{}", '{"index_columns": null}'):
        assert read(sound.replace_schema_metadata({"pandas": words})).frame.columns.tolist() == ["a", "y"]


def test_a_wrong_bit_is_seen_where_the_file_has_checksums() -> None:
    options = {"write_page_checksum": True, "compression": "none", "use_dictionary": False}
    pq.write_table(pa.table({"a": [1.0, 1.5, 2.0], "y": [1, 2, 3]}), buffer := io.BytesIO(), **options)
    content = bytearray(buffer.getvalue())
    content[content.index(np.float64(1.5).tobytes()) + 6] ^= 1
    with pytest.raises(DataError, match=r"t.parquet: isn't a Parquet file that can be read: .*checksum"):
        read_parquet("t.parquet", bytes(content), target="y", drop=[])
