"""A loss or gradient that is not finite never reaches the weights, and never MLflow as a number."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from runs import run_folders
from torch import Tensor, nn

import primer
from primer.tracking.journal import read
from primer.training.checkpoint import Checkpoints


class Turns(nn.Module):
    """A two-layer net whose output, or only its gradient, turns to `value` in its fifth training forward."""

    def __init__(
        self, in_features: int, out_features: int, activation: nn.Module, value: float, where: str
    ) -> None:
        super().__init__()
        self.linear, self.value, self.where, self.calls = (
            nn.Linear(in_features, out_features),
            value,
            where,
            0,
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.linear(x)
        self.calls += self.training
        if self.training and self.calls == 5:
            if self.where == "loss":
                return out * self.value
            if out.requires_grad:
                out.register_hook(lambda gradient: gradient * self.value)
        return out


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    (tmp_path / "conf" / "net").mkdir(parents=True)
    part = {"_target_": "test_nonfinite.Turns", "value": 1.0, "where": "loss"}
    (tmp_path / "conf" / "net" / "turns.yaml").write_text(yaml.safe_dump(part))

    def train(*overrides: str) -> tuple[primer.RunResult, list[dict[str, Any]]]:
        quick = ("net=turns", "data=iris", "max_epochs=3", "checkpoint_every_n_steps=2", "tracking=off")
        result = primer.train(*quick, *overrides, config_dir="conf", debug=True)
        return result, read(run_folders(tmp_path)[0])

    return train


@pytest.mark.parametrize("value", ["nan", "inf"])
@pytest.mark.parametrize(("where", "words"), [("loss", "train/loss is nan"), ("gradient", "its gradient is")])
def test_the_run_stops_before_the_step_and_names_it(trained: Any, value: str, where: str, words: str) -> None:
    result, _ = trained(f"net.value={value}", f"net.where={where}")
    assert (result.status, result.exit_code) == ("FAILED", 1)
    assert "at step 5 (batch 1 of 4 in epoch 2)" in result.error
    if value == "nan" or where == "gradient":
        assert words in result.error
    state, path, _ = Checkpoints(result.folder / "checkpoints").newest_whole()
    assert path is not None
    assert path.name == "step-4.ckpt"
    assert all(torch.isfinite(weight).all() for weight in state["state_dict"].values())


def test_weights_that_the_last_update_overflows_are_not_saved(trained: Any) -> None:
    overflow = ("data=diabetes", "criterion=sum_squared_error", "optimizer=sgd", "optimizer.lr=3e38")
    result, _ = trained(*overflow, "max_epochs=null", "max_steps=1")
    assert (result.status, result.exit_code) == ("FAILED", 1)
    assert "linear.weight is not finite after step 1, so it is not saved" in result.error
    assert not list(result.folder.rglob("*.ckpt"))


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_skip_leaves_that_update_out(trained: Any, optimizer: str) -> None:
    result, records = trained(
        "net.value=nan", "net.where=gradient", "on_nonfinite=skip", f"optimizer={optimizer}"
    )
    assert result.status == "FINISHED"
    (warning,) = [record["message"] for record in records if record["kind"] == "warning"]
    assert "at step 5" in warning
    assert "left out" in warning
    state, _, _ = Checkpoints(result.folder / "checkpoints").newest_whole()
    assert state is not None
    assert all(torch.isfinite(weight).all() for weight in state["state_dict"].values())
    assert state["global_step"] == 12


def test_ignore_trains_on(trained: Any) -> None:
    result, _ = trained("net.value=nan", "net.where=loss", "on_nonfinite=ignore")
    assert result.status == "FINISHED"
    assert result.metrics["final/train/loss"] != result.metrics["final/train/loss"]
