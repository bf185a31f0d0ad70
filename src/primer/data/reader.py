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
TEXT = {".csv": None, ".csv.gz": None, ".tsv": "\t", ".tsv.gz": "\t"}  # the delimiter, None: look


def read_sheet(path: Path, *, target: str, drop: Sequence[str]) -> tuple[Sheet, bytes]:
    """Read a CSV, TSV (both also .gz) or Parquet file; return its sheet and its (unzipped) bytes.

    Raises DataError for what isn't a table of named columns that has `target` and at least one feature.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "houses.csv")
    ...     _ = path.write_text("area,price\\n50,1.5\\n70,2.5\\n")
    ...     sheet, content = read_sheet(path, target="price", drop=[])
    >>> sheet.frame.shape, len(content)
    ((2, 2), 25)
    """
    file, lower = path.name, path.name.lower()
    content = _content(path)
    if lower.endswith(PARQUET):
        return read_parquet(file, content, target=target, drop=drop), content
    delimiter = next(mark for extension, mark in TEXT.items() if lower.endswith(extension))
    return read_csv(file, content, target=target, drop=drop, delimiter=delimiter), content


def _content(path: Path) -> bytes:
    if not path.exists():
        raise DataError(_not_found(path))
    if not path.is_file():
        raise DataError(f"{path.name}: {path} is a folder, not a file; give the path of one table")
    if not path.name.lower().endswith((*TEXT, *PARQUET)):
        raise DataError(
            f"{path.name}: not a kind of table that can be read; expected {', '.join((*TEXT, *PARQUET))}"
        )
    try:
        content = path.read_bytes()
        if path.name.lower().endswith(".gz"):
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path.name}: can't be read: {error}") from None
    if not content.strip(b"\xef\xbb\xbf \t\r\n"):  # a byte order mark alone is empty too
        raise DataError(f"{path.name}: is empty")
    return content


def _not_found(path: Path) -> str:
    folder = path.absolute().parent
    if not folder.is_dir():
        return f"data.path={path}: no such file, nor is there a folder {folder}"
    near = did_you_mean(path.name, sorted(entry.name for entry in folder.iterdir()))
    return f"data.path={path}: no such file{near}"
