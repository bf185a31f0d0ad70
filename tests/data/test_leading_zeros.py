from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from primer.data.table import table


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_digits_that_name_something_stay_text(tmp_path: Path, suffix: str) -> None:
    rows = pd.DataFrame({"size": range(40), "zip": ["01123", "80331"] * 20, "unit": ["007", "008"] * 20})
    rows.loc[::5, "zip"] = None  # a gap, for which pandas makes a column of whole numbers one of fractions
    path = tmp_path / f"rows{suffix}"
    rows.to_csv(path, index=False) if suffix == ".csv" else rows.to_parquet(path)
    data = table(
        str(path), "unit", task="auto", drop=[], val_fraction=0.2, test_fraction=0.2, stratify=True,
        standardize=True, seed=0,
    )  # fmt: skip
    assert data.classes == ("007", "008")
    assert data.in_features == 1 + 3  # size, and a column for each zip and for the gap
    assert set(data.example["zip"].dropna()) <= {"01123", "80331"}
