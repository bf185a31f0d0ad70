"""A sample of the campaign `scripts/break configs`: whatever is wrong with a config is told in a line."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2] / "scripts"))

from campaigns import configs


def test_wrong_configs_are_refused_in_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert configs.main(tmp_path, sample=120), capsys.readouterr().out
