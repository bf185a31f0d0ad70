"""The command line: help, the whole config, exit codes, and parts of the user's own."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from runs import primer, run_folders

import primer as primer_api
from primer.config import compose, options, schema

MY_PACKAGE = """
import torch


class MyNet(torch.nn.Module):
    def __init__(self, in_features, out_features, activation, width):
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Linear(in_features, width), activation, torch.nn.Linear(width, out_features)
        )

    def forward(self, x):
        return self.layers(x)


class Square(torch.nn.Module):
    def forward(self, x):
        return x * x
"""
OWN = {
    "my_package.py": MY_PACKAGE,
    "my_conf/net/my_net.yaml": "# Mine.\n_target_: my_package.MyNet\nwidth: 7\n",
    "my_conf/activation/square.yaml": "# x times x.\n_target_: my_package.Square\n",
    "my_conf/optimizer/slow.yaml": "# Slow.\ndefaults:\n  - adam\n  - _self_\nlr: 1.0e-5\n",
    "my_conf/experiment/mine.yaml": (
        "# @package _global_\n# All of it.\ndefaults:\n  - override /data: iris\n  - override /net: my_net\n"
        "  - override /activation: square\n  - override /tracking: 'off'\n  - _self_\nmax_epochs: 2\n"
    ),
}


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A working directory with parts of the user's own in it."""
    for name, text in OWN.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def test_help_and_version(tmp_path: Path) -> None:
    done = primer("--help", cwd=tmp_path)
    assert done.returncode == 0
    assert "primer train activation=custom_relu" in done.stdout
    done = primer("--version", cwd=tmp_path)
    assert done.stdout == f"primer, version {primer_api.__version__}\n"
    assert not list(tmp_path.iterdir())


def test_no_command_shows_the_help(tmp_path: Path) -> None:
    done = primer(cwd=tmp_path)
    assert done.returncode == 2
    assert "primer train --help" in done.stderr


def test_train_help_shows_every_option_and_key_with_its_value(tmp_path: Path) -> None:
    text = primer("train", "--help", cwd=tmp_path).stdout
    assert max(map(len, text.splitlines())) <= 100
    for group in schema.GROUPS:
        assert f"\n{group}=OPTION" in text
        for option in options(group):
            assert re.search(rf"^  [* ] {option}  +\S", text, re.MULTILINE), option
    for kind in [schema.Train, *(kind for kinds in schema.SCHEMAS.values() for kind in kinds.values())]:
        for field in schema.fields_of(kind).values():
            assert field.metadata.get("help", "") in " ".join(text.split())
    assert re.search(r"^  \* adam  ", text, re.MULTILINE)
    assert "[adam|adamw|rmsprop: 0.001, sgd: 0.05]" in text


def test_help_lists_own_options(own: Path) -> None:
    text = primer("train", "--config-dir", "my_conf", "--help", cwd=own).stdout
    assert re.search(r"^    my_net  +Mine\.$", text, re.MULTILINE)
    assert "net.width" in text


@pytest.mark.parametrize(
    "overrides", [[], ["experiment=primer/manual", "seed=3"], ["name=mine", "tracking=off"]]
)
def test_cfg_job_prints_the_whole_config(overrides: list[str], tmp_path: Path) -> None:
    done = primer("train", *overrides, "--cfg", "job", cwd=tmp_path)
    assert done.returncode == 0
    assert yaml.safe_load(done.stdout) == compose(overrides)
    assert "${" not in done.stdout
    assert not list(tmp_path.iterdir())


def test_own_parts_train(own: Path) -> None:
    done = primer("train", "--config-dir", "my_conf", "experiment=mine", "net.width=9", cwd=own)
    assert done.returncode == 0, done.stdout + done.stderr
    (folder,) = run_folders(own)
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert config["switches"]["net"] == "my_net"
    assert config["net"] == {"_target_": "my_package.MyNet", "width": 9}
    assert config["name"] == "mine width=9 s0"
    assert "FINISHED" in done.stdout + done.stderr


def test_own_parts_compose(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(own)
    config = compose(["net=my_net", "+net.depth=3", "~net.width", "optimizer=slow"], config_dir="my_conf")
    assert config["net"] == {"_target_": "my_package.MyNet", "depth": 3}
    assert config["optimizer"]["lr"] == 1e-5
    assert config["optimizer"]["_target_"] == "torch.optim.Adam"
    with pytest.raises(primer_api.ConfigError, match=r"optimizer\.lr=abc: expected a number"):
        compose(["optimizer=slow", "optimizer.lr=abc"], config_dir="my_conf")


def test_own_parts_need_their_folder(own: Path) -> None:
    done = primer("train", "net=my_net", cwd=own)
    assert done.returncode == 2
    hint = "did you mean it with --config-dir my_conf? (options: manual, sequential, tensors, two_layer)"
    assert f"net=my_net: no such option; {hint}" in done.stderr
    (own / "my_conf").rename(own / "it's mine")
    done = primer("train", "net=my_net", cwd=own)
    assert "--config-dir 'it'\"'\"'s mine'?" in done.stderr


def test_folder_of_own_parts_may_have_any_name(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(own)
    (own / "my_conf").rename(own / "it's, (mine) [1]=$x")
    assert compose(["net=my_net"], config_dir="it's, (mine) [1]=$x")["net"]["width"] == 7


def test_a_run_that_raises_is_exit_code_1(own: Path) -> None:
    (own / "my_package.py").write_text(MY_PACKAGE + "\n    def __init__(self): raise RuntimeError('mine')\n")
    done = primer("train", "--config-dir", "my_conf", "experiment=mine", cwd=own)
    assert done.returncode == 1
    assert "mine" in done.stdout + done.stderr
