"""A sample of the campaign `scripts/break tables`: refused in a line, or read right, and told."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2] / "scripts"))

from campaigns import tables


def test_bad_tables_are_refused_or_read_right(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert tables.main(tmp_path, sample=4), capsys.readouterr().out
