"""One device or several: the same losses, metrics and weights, of sums and of means, on any number."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from forked_ranks import ByRanks, check_same_curves, check_same_weights, trained
from resuming import KILL_AT, conf_dir, unlike

from primer.tracking.journal import read

STEPS = ("max_epochs=null", "max_steps=30")
# a sum over each batch, in parts of uneven size; a mean, where the last batch of an epoch is short
CASES = {
    "sum": ("experiment=primer/two_layer", "accumulate_grad_batches=3"),
    "mean": ("data=digits", "criterion=cross_entropy", "batch_size=50", "val_every_n_steps=7"),
}


class Runs:
    """The run of each case by each number of ranks, trained when first asked for."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._runs: dict[tuple[str, int, str], ByRanks] = {}

    def of(self, case: str, num: int, precision: str = "64") -> ByRanks:
        key = case, num, precision
        if key not in self._runs:
            folder = self._root / "-".join(map(str, key))
            self._runs[key] = trained(folder, num, *CASES[case], *STEPS, f"precision={precision}")
        return self._runs[key]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return Runs(tmp_path_factory.mktemp("ranks"))


@pytest.mark.parametrize(("case", "num"), [("sum", 2), ("mean", 2), ("mean", 3)])
def test_every_point_and_weight_is_that_of_one_device(runs: Runs, case: str, num: int) -> None:
    alone, shared = runs.of(case, 1), runs.of(case, num)
    check_same_curves(shared.curves(), alone.curves(), within=1e-12)
    check_same_weights(shared.weights(), alone.weights(), within=1e-12)
    assert [step for key, step in shared.curves() if key == "train/loss"] == list(range(1, 31))
    kinds = {"train/loss", "val/loss", "val/accuracy", "val/f1", "test/loss", "test/accuracy", "test/f1"}
    assert (kinds <= {key for key, _ in shared.curves()}) == (case == "mean")
    assert [run.started()["num_devices"] for run in (alone, shared)] == [1, num]


def test_in_float32_up_to_its_rounding(runs: Runs) -> None:
    alone, shared = runs.of("mean", 1, "32"), runs.of("mean", 2, "32")
    check_same_curves(shared.curves(), alone.curves(), within=1e-5)
    check_same_weights(shared.weights(), alone.weights(), within=1e-5)


def test_a_batch_of_fewer_rows_than_ranks(tmp_path: Path) -> None:
    few = ("data=iris", "batch_size=2", *STEPS, "max_steps=8", "val_every_n_steps=4", "precision=64")
    alone, shared = (trained(tmp_path / str(num), num, *few) for num in (1, 3))
    check_same_curves(shared.curves(), alone.curves(), within=1e-12)
    check_same_weights(shared.weights(), alone.weights(), within=1e-12)


def test_a_place_in_another_job_is_nothing_to_a_run_of_one(tmp_path: Path) -> None:
    run = ByRanks(tmp_path / "run", 1, "data=iris", *STEPS)
    assert run.work({"LOCAL_RANK": "1"}) == [0], run.log()
    assert len(run.curves()) > 30


def test_the_same_bits_twice_and_after_a_kill(tmp_path: Path) -> None:
    """In float32 with dropout, which each rank draws for its own rows, as it would have without the kill."""
    conf = conf_dir(tmp_path / "conf")
    noisy = ("net=dropout", "data=iris", "batch_size=16", *STEPS, "checkpoint_every_n_steps=5")
    first, again = (trained(tmp_path / name, 2, *noisy, config_dir=conf) for name in ("first", "again"))
    assert unlike(again.folder, first.folder) == []
    mine, its = first.checkpoint()["primer"]["random_states"]
    assert not torch.equal(mine["torch"], its["torch"])
    killed = ByRanks(tmp_path / "killed", 2, *noisy, config_dir=conf)
    assert killed.work({KILL_AT: "24"}) == [-9, -9]
    assert killed.work() == [0, 0], killed.log()
    assert killed.started()["step"] == 20
    assert unlike(killed.folder, first.folder) == []


def test_killed_on_two_ranks_it_goes_on_on_three(tmp_path: Path) -> None:
    conf = conf_dir(tmp_path / "conf")
    plain = ("net=plain", "data=iris", "batch_size=16", *STEPS, "checkpoint_every_n_steps=10", "precision=64")
    alone = trained(tmp_path / "alone", 1, *plain, config_dir=conf)
    killed = ByRanks(tmp_path / "killed", 2, *plain, config_dir=conf)
    assert killed.work({KILL_AT: "19"}) == [-9, -9]
    killed.change(3)
    assert killed.work() == [0, 0, 0], killed.log()
    assert (killed.started()["step"], killed.started()["num_devices"]) == (10, 3)
    check_same_curves(killed.curves(), alone.curves(), within=1e-9)
    check_same_weights(killed.weights(), alone.weights(), within=1e-9)
    assert [record for record in read(killed.folder) if record["kind"] == "warning"] == []
