"""Your own table: a CSV, TSV or Parquet file."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Sequence
from pathlib import Path

from primer.data.columns import feature
from primer.data.csv_file import read_csv
from primer.data.dataset import Dataset, content_digest
from primer.data.parquet_file import read_parquet
from primer.data.preprocess import RawTable, prepare
from primer.data.remarks import remarks
from primer.data.sheet import Sheet
from primer.data.target import read_target
from primer.data.wording import did_you_mean
from primer.errors import DataError

MIN_ROWS = 3  # chosen: one a split
PARQUET = (".parquet", ".pq")
MAX_NAME = 255  # what file systems take
OTHERS = {  # first bytes of what is no text
    b"PAR1": "a Parquet file; name it .parquet",
    b"\x1f\x8b": "compressed by gzip; name it .csv.gz",
    b"PK\x03\x04": "a zip archive, as spreadsheets are; save it as CSV",
}
TEXT = {".csv": None, ".csv.gz": None, ".tsv": "\t", ".tsv.gz": "\t"}  # the delimiter, None: look


def table(
    path: str,
    target: str,
    *,
    task: str,
    drop: Sequence[str],
    val_fraction: float,
    test_fraction: float,
    stratify: bool,
    standardize: bool,
    seed: int,
) -> Dataset:
    """Read the table at `path`, to learn column `target` from all others but `drop`.

    Numbers and booleans are features as they are, text is one-hot encoded; cells may be missing in features,
    not in the target. `task` is "regression", "classification" or "auto" (see `read_target`).
    What that may surprise with is told in the `notes` of what is returned.
    Raises DataError for the file, ConfigError for an argument; each says which and what to do.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "houses.csv")
    ...     _ = path.write_text("area,kind,price\\n50,flat,1.5\\n70,house,2.5\\n,flat,2.25\\n60,flat,2\\n")
    ...     table(str(path), "price", task="auto", drop=[], val_fraction=0.25, test_fraction=0.25,
    ...           stratify=True, standardize=True, seed=0)
    Dataset(houses: regression, 2 features -> 1 outputs, 2 train / 1 val / 1 test rows)
    """
    raw = _read(Path(path), target, task, drop)
    return prepare(
        raw,
        val_fraction=val_fraction,
        test_fraction=test_fraction,
        stratify=stratify,
        standardize=standardize,
        seed=seed,
    )


def _read(file: Path, target: str, task: str, drop: Sequence[str]) -> RawTable:
    sheet, content = read_sheet(file, target=target, drop=drop)
    if len(sheet.frame) < MIN_ROWS:
        raise DataError(f"{sheet.file}: too few rows ({len(sheet.frame)}); at least {MIN_ROWS} are needed")
    import pandas as pd  # it has been imported by now, unless it found the file broken

    learned = read_target(sheet, target, task)
    features = [str(name) for name in sheet.frame if name != target]
    frame = pd.DataFrame({name: feature(sheet, name) for name in features})
    return RawTable(
        name=file.name.partition(".")[0],
        source=str(file.resolve()),
        task=learned.task,
        frame=frame,
        target=target,
        y=learned.y,
        classes=learned.classes,
        digest=content_digest(content, features, target),
        notes=remarks(sheet, frame, target, learned.classes),
    )


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
