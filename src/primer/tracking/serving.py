"""Answer on raw rows: what `mlflow models serve` runs. Copied into each saved model, so it imports no primer.

A model folder holds `data/model.pt2` (the exported net), `serving/answer.json` (names) and, where the raw
rows hold more than numbers, `serving/preprocessor.skops` (the fitted scikit-learn object).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch


class RawRows:
    """A trained net that takes raw rows: a DataFrame with the training table's columns, in any order."""

    def __init__(self, folder: Path, net: torch.nn.Module | None = None) -> None:
        """The model of a folder; with `net`, what is saved in there, it need not be loaded."""
        answer = json.loads((folder / "serving" / "answer.json").read_text())
        self.features: list[str] = answer["features"]
        self.classes: list[str] = answer["classes"]
        self.texts: list[str] = answer["texts"]
        self.net = net or torch.export.load(folder / "data" / "model.pt2").module()
        self.preprocessor: Any = None
        preprocessor = folder / "serving" / "preprocessor.skops"
        if preprocessor.exists():
            import skops.io

            self.preprocessor = skops.io.load(preprocessor, trusted=answer["trusted"])

    def _checked(self, rows: pd.DataFrame) -> list[str]:
        missing = [name for name in self.features if name not in rows]
        if missing:
            raise ValueError(f"the rows lack the columns {missing}; expected {self.features}")
        for name in self.texts:
            if pd.api.types.is_numeric_dtype(rows[name]) and rows[name].notna().any():
                raise ValueError(
                    f"column {name!r} was text in training; read it with dtype={{{name!r}: str}}"
                )
        return self.features

    def predict(self, rows: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """rows: (rows, features) -> `prediction`, and for classes the probability of each."""
        table = rows[self._checked(rows)]
        encode = self.preprocessor.transform if self.preprocessor else _as_numbers
        with torch.no_grad():
            answer = self.net(torch.from_numpy(encode(table))).numpy()
        if not self.classes:
            num = answer.shape[1]
            names = ["prediction"] if num == 1 else [f"prediction_{i}" for i in range(num)]
            return pd.DataFrame(answer, columns=names)
        probabilities = {f"probability_{name}": answer[:, i] for i, name in enumerate(self.classes)}
        labels = np.array(self.classes, dtype=object)[answer.argmax(axis=1)]
        return pd.DataFrame({"prediction": labels, **probabilities})


def _as_numbers(table: pd.DataFrame) -> Any:
    return table.to_numpy(np.float64, copy=True)  # pandas' own array can't be written to; torch warns


def _load_pyfunc(path: str) -> RawRows:
    """MLflow's name for the door."""
    return RawRows(Path(path))
