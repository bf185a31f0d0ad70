"""Your own table: a CSV, TSV or Parquet file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from primer.data.columns import feature
from primer.data.dataset import Dataset, content_digest
from primer.data.preprocess import RawTable, prepare
from primer.data.reader import read_sheet
from primer.data.remarks import remarks
from primer.data.target import read_target
from primer.errors import DataError

MIN_ROWS = 3  # chosen: one a split


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
    import pandas as pd  # the reader has imported it by now, unless it found the file broken

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
