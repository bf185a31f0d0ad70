from __future__ import annotations

import gzip
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from primer.data import Dataset, table
from primer.errors import ConfigError, DataError, UsageError


def houses(num_rows: int = 100) -> pd.DataFrame:
    numbers = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "id": np.arange(num_rows),
            "area": numbers.normal(100, 20, num_rows).round(1),
            "kind": numbers.choice(["flat", "house"], num_rows),
            "garden": numbers.random(num_rows) < 0.5,
            "price": numbers.normal(300, 50, num_rows).round(2),
        }
    )
    frame.loc[3::10, "area"] = np.nan
    frame.loc[4::10, "kind"] = None
    return frame


def read(path: Path, target: str = "price", **changes: Any) -> Dataset:
    arguments = {"task": "auto", "drop": [], "val_fraction": 0.2, "test_fraction": 0.1, "seed": 0}
    return table(str(path), target, **(arguments | {"stratify": True, "standardize": True} | changes))


def test_a_csv_and_a_parquet_file_are_the_same_data(tmp_path: Path) -> None:
    houses().to_csv(tmp_path / "houses.csv", index=False)
    houses().to_parquet(tmp_path / "houses.parquet")
    one, other = read(tmp_path / "houses.csv", drop=["id"]), read(tmp_path / "houses.parquet", drop=["id"])
    for left, right in ((one.train, other.train), (one.val, other.val), (one.test, other.test)):
        assert left is not None
        assert right is not None
        np.testing.assert_array_equal(left.x, right.x)
        np.testing.assert_array_equal(left.y, right.y)
    assert (one.name, one.source) == ("houses", str(tmp_path / "houses.csv"))
    assert one.features == ("area", "kind", "garden")
    assert one.in_features == 2 + 3  # area, garden; flat, house, missing
    assert (len(one.train), len(one.val or ()), len(one.test or ())) == (70, 20, 10)


def test_the_example_is_raw_and_the_target_reads_back(tmp_path: Path) -> None:
    frame = houses()
    frame.to_csv(tmp_path / "houses.csv", index=False)
    data = read(tmp_path / "houses.csv")
    first = data.example["id"].to_numpy()
    pd.testing.assert_frame_equal(
        data.example, frame.loc[first, list(data.features)].reset_index(drop=True), check_dtype=False
    )
    raw = data.train.y[:5] * data.target_scale + data.target_mean
    np.testing.assert_allclose(raw[:, 0], frame.loc[first, "price"], rtol=1e-5)


def test_the_digest_is_of_content_and_names_whatever_the_split(tmp_path: Path) -> None:
    path = tmp_path / "houses.csv"
    houses().to_csv(path, index=False)
    same = {read(path).digest, read(path, seed=1, val_fraction=0.4, standardize=False).digest}
    (tmp_path / "zipped.csv.gz").write_bytes(gzip.compress(path.read_bytes()))
    same.add(read(tmp_path / "zipped.csv.gz").digest)
    assert len(same) == 1
    others = {read(path, drop=["id"]).digest, read(path, "area2" if False else "garden", task="auto").digest}
    path.write_text(path.read_text().replace("flat", "loft"))
    others.add(read(path).digest)
    assert len(same | others) == 4


def test_seed_0_is_a_seed(tmp_path: Path) -> None:
    houses().to_csv(tmp_path / "houses.csv", index=False)
    one, same, other = (read(tmp_path / "houses.csv", seed=seed) for seed in (0, 0, 2**63 - 1))
    np.testing.assert_array_equal(one.train.y, same.train.y)
    assert not np.array_equal(one.train.y, other.train.y)


def test_classes_by_their_names(tmp_path: Path) -> None:
    frame = houses()
    frame["kind"] = frame["kind"].fillna("other")
    frame.to_csv(tmp_path / "houses.csv", index=False)
    data = read(tmp_path / "houses.csv", "kind")
    assert (data.task, data.classes) == ("classification", ("flat", "house", "other"))
    assert data.out_features == 3
    assert "kind" not in data.features


def test_wide_tables_are_fine(tmp_path: Path) -> None:
    wide = pd.DataFrame(
        np.random.default_rng(0).normal(size=(20, 500)), columns=[f"c{n}" for n in range(500)]
    )
    wide.to_parquet(tmp_path / "wide.parquet")
    assert read(tmp_path / "wide.parquet", "c7").in_features == 499


@pytest.mark.parametrize(
    ("text", "kind", "pieces"),
    [
        ("a,price\n1,2\n2,3\n", DataError, ["t.csv: too few rows (2); at least 3"]),
        (
            "a,price\n1,2\n2,3\n1,4\n",
            ConfigError,
            ["data.test_fraction=0.1: leaves no test row of 3", "0.33"],
        ),
        ("a,price\n1,2\n2,\n1,4\n", DataError, ["t.csv: line 3: target 'price' is missing"]),
        ("a,prize\n1,2\n", DataError, ["t.csv: no column 'price'; did you mean 'prize'?"]),
        ("a,price\n,2\n,3\n,4\n", DataError, ["t.csv: column 'a' has no value in any row"]),
        ("a,price\n1,2\ninf,3\n1,4\n", DataError, ["t.csv: line 3: column 'a': 'inf' is infinite"]),
        ("a,price\n1,x\n2,x\n1,z\n", DataError, ["t.csv: class 'z' (line 4)"]),
    ],
)
def test_errors_come_through(tmp_path: Path, text: str, kind: type[UsageError], pieces: list[str]) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(kind) as caught:
        read(tmp_path / "t.csv")
    for piece in pieces:
        assert piece in str(caught.value)


def test_a_dropped_column_is_not_checked(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,bad,price\n" + "".join(f"{n},,{n % 7}.5\n" for n in range(20)))
    assert read(tmp_path / "t.csv", drop=["bad"]).features == ("a",)


def python(code: str) -> str:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", textwrap.dedent(code)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.strip()


LOADED = "print([name for name in ('torch', 'mlflow', 'sklearn', 'pandas') if name in sys.modules])"


def test_nothing_heavy_is_imported_before_it_is_needed(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.csv", tmp_path / "bad.csv"
    houses().to_csv(good, index=False)
    bad.write_text("a,price\n1,2\n1,inf\n1,4\n")
    call = "table({!r}, 'price', task='auto', drop=[], val_fraction=0.2, test_fraction=0.1, stratify=True, "
    call += "standardize=True, seed=0)"
    assert python(f"import sys, primer.data\n{LOADED}") == "[]"
    reading = f"import sys\nfrom primer.data import table\n{call.format(str(good))}\n{LOADED}"
    assert python(reading) == "['sklearn', 'pandas']"
    failing = f"""
        import sys
        from primer.data import table
        try:
            {call.format(str(bad))}
        except ValueError as error:
            assert "is infinite" in str(error)
        {LOADED}
    """
    assert python(failing) == "['pandas']"
    assert python(f"import sys\nsys.modules['torch'] = sys\n{LOADED}") == "['torch']"  # it would be seen
