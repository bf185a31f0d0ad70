"""Data sets as numpy arrays: made from a seed, bundled with scikit-learn, or read from your own table.

    file bytes -> sheet -> columns, target -> RawTable -> split, preprocess -> Dataset

Knows no config, no torch and no MLflow; pandas and scikit-learn are imported only where they are needed,
so that a bad file is reported before either has cost anything.
"""

from __future__ import annotations

from primer.data.bundled import bundled
from primer.data.dataset import Dataset, Split
from primer.data.streams import epoch_order
from primer.data.synthetic import synthetic
from primer.data.table import table

__all__ = ["Dataset", "Split", "bundled", "epoch_order", "synthetic", "table"]
