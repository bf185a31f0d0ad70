"""What every source of data hands to training: arrays, and all that is needed to read them back."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy.typing as npt

if TYPE_CHECKING:
    import pandas as pd

Task = Literal["regression", "classification"]
Array = npt.NDArray[Any]

NUM_EXAMPLE_ROWS = 5  # chosen: MLflow shows the input example whole


@dataclass(frozen=True, eq=False)  # eq: comparing arrays has no one answer
class Split:
    """The rows of one split: what the net sees and what it should say.

    >>> import numpy as np
    >>> split = Split(x=np.zeros((3, 2), np.float32), y=np.array([0, 1, 0]))
    >>> len(split), split
    (3, Split(3 rows, 2 features))
    """

    x: Array  # (rows, in_features) float32
    y: Array  # regression: (rows, out_features) float32, standardized; classification: (rows,) int64

    def __len__(self) -> int:
        return len(self.x)

    def __repr__(self) -> str:
        return f"Split({len(self)} rows, {self.x.shape[1]} features)"


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set that can be trained on: its splits, its names, and the way from raw rows to `x`.

    A standardized regression target is read back as `y * target_scale + target_mean`.

    >>> from primer.data import synthetic
    >>> synthetic(num_samples=64, in_features=1000, out_features=10, seed=0)
    Dataset(primer: regression, 1000 features -> 10 outputs, 64 train / 0 val / 0 test rows)
    """

    name: str
    source: str  # where the raw content came from: "scikit-learn:digits", a file's absolute path, a seed
    task: Task
    train: Split
    val: Split | None
    test: Split | None
    features: tuple[str, ...]  # the raw columns, in the order of `example`
    target: str
    classes: tuple[str, ...]  # classes[label] is the label's name; empty for regression
    target_mean: Array  # (target columns,) float64; 0 where the target isn't standardized
    target_scale: Array  # (target columns,) float64; 1 where the target isn't standardized
    preprocessor: Any  # fitted scikit-learn: DataFrame with `features` -> x; None: raw numbers are x
    example: pd.DataFrame  # the first raw feature rows of train
    digest: str  # 16 hex digits; of the raw content and the names, whatever the split
    notes: tuple[str, ...] = ()  # lines: what the raw content was taken for, where that may surprise

    @property
    def in_features(self) -> int:
        """Width of `x`, after one-hot encoding."""
        return int(self.train.x.shape[1])

    @property
    def out_features(self) -> int:
        """What a net has to put out: one score a class, or one number a target column."""
        return len(self.classes) if self.task == "classification" else int(self.train.y.shape[1])

    def __repr__(self) -> str:
        kind = "classes" if self.task == "classification" else "outputs"
        splits = {"train": self.train, "val": self.val, "test": self.test}
        rows = (f"{len(split or ())} {key}" for key, split in splits.items())
        widths = f"{len(self.features)} features -> {self.out_features} {kind}"
        return f"Dataset({self.name}: {self.task}, {widths}, {' / '.join(rows)} rows)"


def content_digest(content: bytes, features: Sequence[str], target: str) -> str:
    """Return 16 hex digits (of SHA-256) that name raw content read as these columns.

    >>> content_digest(b"age,price", ["age"], "price")
    '193647c186d4d647'
    """
    names = json.dumps([list(features), target]).encode()
    return hashlib.sha256(hashlib.sha256(content).digest() + names).hexdigest()[:16]
