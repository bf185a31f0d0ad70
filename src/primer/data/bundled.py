"""The small real data sets that come with scikit-learn: no download."""

from __future__ import annotations

import numpy as np

from primer.data.dataset import Array, Dataset, content_digest
from primer.data.preprocess import RawTable, prepare
from primer.data.splits import split_sizes
from primer.data.wording import did_you_mean
from primer.errors import ConfigError

# Rows of each, known here so that a bad fraction is reported without the second that importing sklearn takes.
NUM_ROWS = {"digits": 1797, "breast_cancer": 569, "wine": 178, "iris": 150, "diabetes": 442}


def bundled(
    name: str, *, val_fraction: float, test_fraction: float, stratify: bool, standardize: bool, seed: int
) -> Dataset:
    """Return "digits", "breast_cancer", "wine", "iris" (classification) or "diabetes" (regression).

    Raises ConfigError for another name, and for fractions that leave a split without rows.

    >>> bundled("iris", val_fraction=0.2, test_fraction=0.2, stratify=True, standardize=True, seed=0)
    Dataset(iris: classification, 4 features -> 3 classes, 90 train / 30 val / 30 test rows)
    """
    if name not in NUM_ROWS:
        raise ConfigError(
            f"data.name={name}: expected one of {', '.join(NUM_ROWS)}{did_you_mean(name, NUM_ROWS)}"
        )
    split_sizes(NUM_ROWS[name], val_fraction=val_fraction, test_fraction=test_fraction)
    return prepare(
        _load(name),
        val_fraction=val_fraction,
        test_fraction=test_fraction,
        stratify=stratify,
        standardize=standardize,
        seed=seed,
    )


def _load(name: str) -> RawTable:
    from sklearn import datasets

    # Raw units for diabetes: scikit-learn's scaling of it knows the validation and test rows.
    options = {"scaled": False} if name == "diabetes" else {}
    bunch = getattr(datasets, f"load_{name}")(as_frame=True, **options)
    classes = tuple(str(label) for label in bunch.get("target_names", ()))
    y: Array = bunch.target.to_numpy()
    x: Array = bunch.data.to_numpy()
    return RawTable(
        name=name,
        source=f"scikit-learn:{name}",
        task="classification" if classes else "regression",
        frame=bunch.data,
        target="target",
        y=y.astype(np.int64) if classes else y.astype(np.float64)[:, None],
        classes=classes,
        digest=content_digest(x.tobytes() + y.tobytes(), list(bunch.data), "target"),
    )
