"""A sample of the campaign `scripts/break configs`: whatever is wrong with a config is told in a line."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from primer.config import compose
from primer.errors import ConfigError

sys.path.append(str(Path(__file__).parents[2] / "scripts"))

from campaigns import configs


def test_wrong_configs_are_refused_in_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert configs.main(tmp_path, sample=120), capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("7\n", "activation=mine: its file holds a single value; expected keys, as `_target_: ...`"),
        ("_target_: torch.nn.ReLU\ninplace: &a {b: *a}\n", "activation=mine: its file refers to itself"),
    ],
)
def test_files_that_hold_no_option_are_named(text: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "activation").mkdir()
    (tmp_path / "activation" / "mine.yaml").write_text(text)
    with pytest.raises(ConfigError) as refused:
        compose(["activation=mine"], config_dir=tmp_path)
    assert str(refused.value).startswith(told)
