"""From raw columns to the numbers that a net sees, learned from the training rows only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from primer.data.columns import is_numbers
from primer.data.dataset import NUM_EXAMPLE_ROWS, Array, Dataset, Split, Task
from primer.data.splits import check_stratifiable, split_rows
from primer.data.wording import listed, shown

if TYPE_CHECKING:
    import pandas as pd

# What skops must be told to trust when it loads a preprocessor: scikit-learn's imputer keeps its dtype.
TRUSTED_TYPES = ("numpy.dtype",)


@dataclass(frozen=True, eq=False)
class RawTable:
    """A sound table, not yet split: each feature is finite numbers with gaps, booleans, or text with gaps."""

    name: str
    source: str
    task: Task
    frame: pd.DataFrame  # the features only
    target: str
    y: Array  # regression: (rows, target columns) float64; classification: (rows,) int64 labels
    classes: tuple[str, ...]
    digest: str
    notes: tuple[str, ...] = ()


def prepare(
    raw: RawTable, *, val_fraction: float, test_fraction: float, stratify: bool, standardize: bool, seed: int
) -> Dataset:
    """Split `raw`, fit the preprocessor and the target's scale on the training rows, and apply both.

    Raises ConfigError for fractions that leave a split without rows, and for classes too small to stratify.
    """
    labels = raw.y if stratify and raw.task == "classification" else None
    if labels is not None:
        check_stratifiable(labels, raw.classes, num_splits=3 if test_fraction else 2)
    rows = split_rows(
        len(raw.y), val_fraction=val_fraction, test_fraction=test_fraction, seed=seed, labels=labels
    )
    train = raw.frame.iloc[rows.train]
    preprocessor = build_preprocessor(raw.frame, standardize=standardize).fit(train)
    mean, scale = _target_scale(raw, rows.train, standardize)

    def split(part: Array) -> Split:
        x = preprocessor.transform(raw.frame.iloc[part])
        y = raw.y[part]
        return Split(x, y if raw.task == "classification" else ((y - mean) / scale).astype(np.float32))

    return Dataset(
        name=raw.name,
        source=raw.source,
        task=raw.task,
        train=split(rows.train),
        val=split(rows.val),
        test=split(rows.test) if len(rows.test) else None,
        features=tuple(str(name) for name in raw.frame),
        target=raw.target,
        classes=raw.classes,
        target_mean=mean,
        target_scale=scale,
        preprocessor=preprocessor,
        example=train.head(NUM_EXAMPLE_ROWS).reset_index(drop=True),
        digest=raw.digest,
        notes=(*raw.notes, *_unseen(raw, rows.train)),
    )


def build_preprocessor(frame: pd.DataFrame, *, standardize: bool) -> Any:
    """Return an unfitted ColumnTransformer from the columns of `frame` to float32: numbers, then categories.

    A missing number becomes the median, a missing text a category of its own, an unknown text all zeros.

    >>> import pandas as pd
    >>> frame = pd.DataFrame({"size": [1.0, None, 3.0], "color": ["red", "blue", None]})
    >>> build_preprocessor(frame, standardize=False).fit_transform(frame)
    array([[1., 0., 0., 1.],
           [2., 1., 0., 0.],
           [3., 0., 1., 0.]], dtype=float32)
    """
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

    numbers = make_pipeline(
        # keep_empty: a column may have its only values in other splits
        SimpleImputer(strategy="median", keep_empty_features=True),
        *([StandardScaler()] if standardize else []),
        # Last, so that large numbers with small differences are centred as float64.
        FunctionTransformer(np.float32, feature_names_out="one-to-one"),
    )
    # Two imputers: a missing text is NaN in a table but None in a row that came as JSON.
    gaps = {"strategy": "constant", "fill_value": "missing", "keep_empty_features": True}
    categories = make_pipeline(
        SimpleImputer(missing_values=np.nan, **gaps),
        SimpleImputer(missing_values=None, **gaps),
        OneHotEncoder(handle_unknown="ignore", sparse_output=False, dtype=np.float32),
    )
    kinds = {name: is_numbers(column) for name, column in frame.items()}
    steps = [
        ("numbers", numbers, [name for name, numeric in kinds.items() if numeric]),
        ("categories", categories, [name for name, numeric in kinds.items() if not numeric]),
    ]
    return ColumnTransformer([step for step in steps if step[2]], sparse_threshold=0)


def _unseen(raw: RawTable, train: Array) -> list[str]:
    """Return a line when classes have no row in `train`."""
    unseen = sorted({*range(len(raw.classes))} - {*np.unique(raw.y[train]).tolist()}) if raw.classes else []
    if not unseen:
        return []
    names = listed(raw.classes[label] for label in unseen)
    return [f"target {shown(raw.target)} has no training row of {names}; see data.stratify, data.seed"]


def _target_scale(raw: RawTable, train: Array, standardize: bool) -> tuple[Array, Array]:
    """Return mean and scale of each target column over the `train` rows; 0 and 1 where y stays as it is."""
    width = 1 if raw.y.ndim == 1 else raw.y.shape[1]
    if raw.task == "classification" or not standardize:
        return np.zeros(width), np.ones(width)
    scale = raw.y[train].std(axis=0)
    return raw.y[train].mean(axis=0), np.where(scale > 0, scale, 1.0)  # 0: constant over the train rows
