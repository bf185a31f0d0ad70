"""From a path to a sheet: which file, what kind, are the bytes there at all."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Sequence
from pathlib import Path

from primer.data.csv_file import read_csv
from primer.data.parquet_file import read_parquet
from primer.data.sheet import Sheet
from primer.data.wording import did_you_mean
from primer.errors import DataError

PARQUET = (".parquet", ".pq")
MAX_NAME = 255  # what file systems take
OTHERS = {  # first bytes of what is no text
    b"PAR1": "a Parquet file; name it .parquet",
    b"\x1f\x8b": "compressed by gzip; name it .csv.gz",
    b"PK\x03\x04": "a zip archive, as spreadsheets are; save it as CSV",
}
TEXT = {".csv": None, ".csv.gz": None, ".tsv": "\t", ".tsv.gz": "\t"}  # the delimiter, None: look


def read_sheet(path: Path, *, target: str, drop: Sequence[str]) -> tuple[Sheet, bytes]:
    """Read a CSV, TSV (both also .gz) or Parquet file; return its sheet and its (unzipped) bytes.

    Raises DataError for what isn't a table of named columns that has `target` and at least one feature.
    """
    try:
        path = path.expanduser()
        content = _content(path)
    except (OSError, EOFError, zlib.error, RuntimeError) as error:  # RuntimeError: ~nobody
        reason = getattr(error, "strerror", None) or error  # without the path once more
        raise DataError(f"data.path={path.name[:MAX_NAME]}: can't be read: {reason}") from None
    file, lower = path.name, path.name.lower()
    if lower.endswith(PARQUET):
        return read_parquet(file, content, target=target, drop=drop), content
    for mark, kind in OTHERS.items():
        if content.startswith(mark):
            raise DataError(f"{file}: is {kind}")
    delimiter = next(mark for extension, mark in TEXT.items() if lower.endswith(extension))
    return read_csv(file, content, target=target, drop=drop, delimiter=delimiter), content


def _content(path: Path) -> bytes:
    if not path.exists():
        raise DataError(_not_found(path))
    if not path.is_file():
        kind = "a folder" if path.is_dir() else "a pipe or a device"
        raise DataError(f"{path.name}: {path} is {kind}, not a file; give the path of one table")
    if not path.name.lower().endswith((*TEXT, *PARQUET)):
        raise DataError(
            f"{path.name}: not a kind of table that can be read; expected {', '.join((*TEXT, *PARQUET))}"
        )
    content = path.read_bytes()
    if path.name.lower().endswith(".gz"):
        content = gzip.decompress(content)
    if not content.strip(b"\xef\xbb\xbf \t\r\n"):  # a byte order mark alone is empty too
        raise DataError(f"{path.name}: is empty")
    return content


def _not_found(path: Path) -> str:
    folder = path.absolute().parent
    if not folder.is_dir():
        return f"data.path={path}: no such file, nor is there a folder {folder}"
    near = did_you_mean(path.name, sorted(entry.name for entry in folder.iterdir()))
    return f"data.path={path}: no such file{near}"
