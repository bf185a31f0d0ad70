from __future__ import annotations

import gzip
import os
from pathlib import Path

import pandas as pd
import pytest

from primer.data.table import read_sheet
from primer.errors import DataError

TEXT = "a,y\n1,2\n3,4\n"


def test_every_kind_of_file_reads_the_same(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": [1, 3], "y": [2, 4]})
    (tmp_path / "t.csv").write_text(TEXT)
    (tmp_path / "t.CSV").write_text(TEXT.replace(",", ";"))
    (tmp_path / "t.tsv").write_text(TEXT.replace(",", "\t"))
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(TEXT.encode()))
    (tmp_path / "t.tsv.gz").write_bytes(gzip.compress(TEXT.replace(",", "\t").encode()))
    frame.to_parquet(tmp_path / "t.parquet")
    frame.to_parquet(tmp_path / "t.pq")
    for path in tmp_path.iterdir():
        sheet, content = read_sheet(path, target="y", drop=[])
        pd.testing.assert_frame_equal(sheet.frame, frame)
        assert sheet.file == path.name
        assert content


def test_files_that_are_not_there(tmp_path: Path) -> None:
    (tmp_path / "houses.csv").write_text(TEXT)
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "t.xlsx").write_text(TEXT)
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "blank.csv").write_bytes(b"\xef\xbb\xbf \n\n")
    (tmp_path / "empty.parquet").write_text("")
    (tmp_path / "plain.csv.gz").write_text(TEXT)
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "packed.csv").write_bytes(gzip.compress(TEXT.encode()))
    (tmp_path / "book.tsv").write_bytes(b"PK\x03\x04 ...")
    (tmp_path / "parquet.csv").write_bytes(b"PAR1 ...")
    (tmp_path / "cut.csv.gz").write_bytes(gzip.compress(TEXT.encode() * 100)[:-9])
    expected = {
        "house.csv": ["house.csv: no such file", "did you mean 'houses.csv'?"],
        "nowhere/houses.csv": ["houses.csv: no such file, nor is there a folder ", "nowhere"],
        "folder.csv": ["folder.csv: ", "is a folder, not a file"],
        "t.xlsx": ["t.xlsx: not a kind of table", ".csv, .csv.gz, .tsv, .tsv.gz, .parquet, .pq"],
        "empty.csv": ["empty.csv: is empty"],
        "blank.csv": ["blank.csv: is empty"],
        "empty.parquet": ["empty.parquet: is empty"],
        "plain.csv.gz": ["plain.csv.gz: can't be read: Not a gzipped file"],
        "cut.csv.gz": ["cut.csv.gz: can't be read: "],
        "pipe.csv": ["pipe.csv: ", "is a pipe or a device, not a file"],
        "packed.csv": ["packed.csv: is compressed by gzip; name it .csv.gz"],
        "book.tsv": ["book.tsv: is a zip archive, as spreadsheets are; save it as CSV"],
        "parquet.csv": ["parquet.csv: is a Parquet file; name it .parquet"],
        "n" * 300 + ".csv": ["data.path=nnnn", "can't be read: File name too long"],
    }
    for name, pieces in expected.items():
        with pytest.raises(DataError) as caught:
            read_sheet(tmp_path / name, target="y", drop=[])
        assert "\n" not in str(caught.value)
        for piece in pieces:
            assert piece in str(caught.value)


def test_a_home_that_nobody_has() -> None:
    with pytest.raises(DataError, match=r"data.path=t.csv: can't be read: Could not determine home"):
        read_sheet(Path("~no_such_user/t.csv"), target="y", drop=[])
