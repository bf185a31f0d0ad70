"""Mixed precisions: float16, whose gradients are scaled, and bfloat16; in one process and in several."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from forked_ranks import ByRanks, Curves, check_same_curves, trained
from resuming import KILL_AT, conf_dir, unlike

QUICK = ("data=iris", "batch_size=16", "max_epochs=null", "max_steps=30", "checkpoint_every_n_steps=10")


def losses(curves: Curves) -> list[float]:
    """The training losses, in the order of the steps."""
    return [value for (key, _), value in curves.items() if key == "train/loss"]


@pytest.fixture(scope="module")
def in_float32(tmp_path_factory: pytest.TempPathFactory) -> ByRanks:
    return trained(tmp_path_factory.mktemp("float32") / "run", 1, *QUICK)


def test_float16_is_scaled_and_goes_on_with_its_scale(tmp_path: Path, in_float32: ByRanks) -> None:
    """Killed after a checkpoint it ends with the bits of an undisturbed run, its scaler's among them."""
    conf = conf_dir(tmp_path / "conf")
    half = (*QUICK, "precision=16-mixed", "net=dropout")
    undisturbed, killed = (ByRanks(tmp_path / name, 1, *half, config_dir=conf) for name in ("one", "other"))
    assert undisturbed.work() == [0], undisturbed.log()
    assert killed.work({KILL_AT: "24"}) == [-9]
    assert killed.work() == [0], killed.log()
    assert killed.started()["step"] == 20
    assert unlike(killed.folder, undisturbed.folder) == []
    scaler = killed.checkpoint()["MixedPrecision"]
    assert scaler["scale"] > 1
    assert scaler["_growth_tracker"] > 0  # it counted steps without overflow, which a new one has not


def test_float16_on_ranks_of_which_one_has_no_rows(tmp_path: Path) -> None:
    few = (*QUICK, "precision=16-mixed", "batch_size=2", "max_steps=8", "gradient_clip_val=1")
    alone, shared = (trained(tmp_path / str(num), num, *few) for num in (1, 3))
    check_same_curves(shared.curves(), alone.curves(), within=1e-2)
    assert shared.checkpoint()["MixedPrecision"] == alone.checkpoint()["MixedPrecision"]


def test_bfloat16_on_two_ranks(tmp_path: Path, in_float32: ByRanks) -> None:
    shared = trained(tmp_path / "run", 2, *QUICK, "precision=bf16-mixed")
    found, expected = losses(shared.curves()), losses(in_float32.curves())
    assert len(found) == 30
    assert found == pytest.approx(expected, rel=2e-2)
    assert found != pytest.approx(expected, rel=1e-6)  # it is another precision
    assert all(math.isfinite(value) for value in shared.curves().values())
    assert {str(weight.dtype) for weight in shared.weights().values()} == {"torch.float32"}
