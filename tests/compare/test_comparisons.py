"""What differs, what may not be compared, and curves on a common grid."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from written_runs import runs_of, write_run

import primer
from primer.compare.comparison import compare_runs
from primer.compare.curves import MAX_POINTS, bands
from primer.compare.runs import Curve, run_in
from primer.errors import UsageError


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_what_differs_leaves_out_seeds_and_what_follows() -> None:
    settings = [(option, seed) for option in ("sgd", "adam") for seed in range(2)]
    runs = [run_in(write_run(f"optimizer={option}", seed=seed)) for option, seed in settings]
    assert compare_runs(runs).differing == ("optimizer",)  # not betas, not lr, which both have by default
    runs += [run_in(write_run("optimizer=adam", "optimizer.lr=0.3", seed=seed)) for seed in range(2)]
    assert compare_runs(runs).differing == ("optimizer", "optimizer.lr")
    assert [group.label for group in compare_runs(runs).groups][1:] == ["adam lr=0.001", "adam lr=0.3"]


def test_another_seed_of_the_data_alone_is_a_setting() -> None:
    runs = [run_in(write_run("data.seed=7", seed=seed)) for seed in range(2)]
    changed = run_in(write_run(seed=2))
    object.__setattr__(changed, "params", changed.params | {"data.seed": "9"})
    assert compare_runs(runs).differing == ()
    assert "data.seed" in compare_runs([*runs, changed], allow=["metric"]).differing


def test_what_else_differs_is_averaged_over_and_blocks_pairs() -> None:
    runs = [
        run_in(write_run(f"activation={name}", f"optimizer.lr={lr}", seed=seed, best=score + 10 * lr))
        for name, score in (("relu", 0.1), ("tanh", 0.2))
        for lr in (0.1, 0.2)
        for seed in range(3)
    ]
    found = compare_runs(runs, by=["activation"])
    assert "averaged over what else differs: optimizer.lr" in found.notes
    assert [(group.label, group.n) for group in found.groups] == [("relu", 3), ("tanh", 3)]
    assert found.verdicts[0].n == (3, 3)  # seeds: what else differs is no evidence of its own
    assert found.verdicts[0].is_paired
    assert found.table.loc["relu", "mean"] == pytest.approx(1.6)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"by": ["activatoin"]}, r"--by activatoin: no run has that key; did you mean activation\?"),
        ({"metric": "val/los"}, r"--metric val/los: no run has it; they have .*val/loss"),
        (
            {"baseline": "activation=gelu"},
            "--baseline activation=gelu: is no setting; expected activation=relu or activation=tanh",
        ),
    ],
)
def test_a_wrong_question_is_told(asked: dict[str, str], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        compare_runs(runs_of({"relu": [0.1, 0.2], "tanh": [0.3, 0.4]}), **asked)  # type: ignore[arg-type]


def test_other_data_are_not_compared() -> None:
    runs = [run_in(write_run(seed=seed, digest=f"d{seed}")) for seed in range(2)]
    with pytest.raises(
        UsageError, match=r"data: they trained on 2 data sets: digits d0 \(relu s0\), digits d1"
    ):
        compare_runs(runs)
    assert "data: they trained on 2 data sets" in compare_runs(runs, allow=["data"]).notes[0]


def test_a_loss_by_another_criterion_is_another_quantity_and_accuracy_is_not() -> None:
    runs = [run_in(write_run(seed=seed, criterion=f"c{seed}")) for seed in range(2)]
    with pytest.raises(
        UsageError, match=r"criterion: best/val/loss is 2 different quantities.*--allow metric"
    ):
        compare_runs(runs)
    assert compare_runs(runs, metric="test/accuracy").notes == ()


@pytest.mark.parametrize("override", ["data.val_fraction=0.3", "data.seed=9", "data.stratify=false"])
def test_other_rows_to_evaluate_are_another_quantity(override: str) -> None:
    runs = [run_in(write_run(seed=seed)) for seed in (0, 1)]
    other = run_in(write_run(override, seed=2))
    key, _, value = override.partition("=")
    object.__setattr__(other, "params", other.params | {key: value})
    with pytest.raises(UsageError, match=f"{key}: test/accuracy is of other rows.*--allow metric"):
        compare_runs([*runs, other], metric="test/accuracy")


def test_a_loss_in_another_unit_is_another_quantity_and_accuracy_is_not() -> None:
    runs = [run_in(write_run(*asked)) for asked in ((), ("data.standardize=false",))]
    with pytest.raises(
        UsageError, match=r"data\.standardize: best/val/loss is of other rows, or in another unit"
    ):
        compare_runs(runs)
    assert compare_runs(runs, metric="test/accuracy").notes == ()


def test_an_interval_is_over_seeds_not_over_what_else_differs() -> None:
    runs = [
        run_in(write_run("activation=relu", f"optimizer.lr={lr}", seed=seed, best=seed + lr))
        for lr in (0.1, 0.2, 0.3)
        for seed in (0, 1)
    ]
    (group,) = compare_runs(runs, by=["activation"]).groups
    assert (len(group.runs), group.n) == (6, 2)
    low, high = group.interval
    half = 12.7062 * 0.5  # Student's t of one degree of freedom, at 95%
    assert (low, high) == pytest.approx((0.7 - half, 0.7 + half), rel=1e-4)


def test_unfinished_runs_are_counted_and_not_averaged() -> None:
    runs = runs_of({"relu": [0.1, 0.2]})
    runs.append(run_in(write_run("activation=relu", seed=2, best=9.0, status="FAILED")))
    runs.append(run_in(write_run("activation=relu", seed=3, best=9.0, status=None)))
    runs.append(run_in(write_run("activation=relu", seed=4, best=9.0, tags={"primer.pruned": "true"})))
    with pytest.raises(UsageError, match="3 of 5 runs are not finished: relu s2 FAILED, relu s3 RUNNING"):
        compare_runs(runs)
    found = compare_runs(runs, allow=["unfinished"])
    assert found.groups[0].counts == {"FINISHED": 2, "PRUNED": 1, "FAILED": 1, "RUNNING": 1}
    assert found.table["mean"].iloc[0] == pytest.approx(0.15)
    assert (
        found.sentence
        == "one setting, all runs: best/val/loss 0.15 in the mean of 2 seeds; of all runs only 2 of 5 count"
    )


def test_all_pairs_of_five_settings_and_the_best_of_more() -> None:
    names = ["relu", "tanh", "gelu", "silu", "clamp", "leaky_relu"]
    runs = runs_of({name: [place, place + 0.1] for place, name in enumerate(names)})
    assert len(compare_runs(runs[:10]).verdicts) == 10
    found = compare_runs(runs)
    assert [(one.baseline, one.other) for one in found.verdicts] == [("relu", name) for name in names[1:]]
    assert {one.level for one in found.verdicts} == {1 - 0.05 / 15}
    against = compare_runs(runs, baseline="activation=gelu")
    assert {one.baseline for one in against.verdicts} == {"gelu"}
    assert against.verdicts[0].level == pytest.approx(1 - 0.05 / 5)


def test_other_code_is_a_note() -> None:
    runs = runs_of({"relu": [0.1, 0.2]})
    assert runs[1].folder
    facts = runs[1].folder / "environment.json"
    facts.write_text(facts.read_text().replace('"python": "3.', '"python": "2.'))
    assert any(note.startswith("other code: python: ") for note in compare_runs(runs).notes)


def test_bands_are_mean_and_standard_deviation() -> None:
    trains = ([1.0, 2.0, 4.0, 4.0], [3.0, 2.0, 2.0, 8.0])
    runs = [run_in(write_run(seed=seed, train=train)) for seed, train in enumerate(trains)]
    (band,) = bands(compare_runs(runs).groups, "train/loss")
    assert (band.x.tolist(), band.n) == ([1, 2, 3, 4], 2)
    assert band.mean.tolist() == [2, 2, 3, 6]
    assert (band.high - band.mean).tolist() == pytest.approx(np.std(trains, axis=0, ddof=1).tolist())


def test_other_grids_are_interpolated_where_runs_have_points() -> None:
    runs = [run_in(write_run(seed=0, train=[0.0] * 5)), run_in(write_run(seed=1, train=[2.0] * 9))]
    (band,) = bands(compare_runs(runs).groups, "train/loss")
    assert (band.x[0], band.x[-1]) == (1, 9)
    assert band.mean[0] == 1
    assert band.mean[-1] == 2  # of the longer one alone
    assert (band.high[-1], band.low[-1]) == (2, 2)


def test_long_curves_keep_their_means() -> None:
    values = np.random.default_rng(0).normal(size=5000)
    (band,) = bands(compare_runs([run_in(write_run(train=values.tolist()))]).groups, "train/loss")
    assert len(band.x) == MAX_POINTS
    assert np.average(band.mean, weights=np.diff(np.linspace(0, 5000, 301).astype(int))) == pytest.approx(
        values.mean()
    )


def test_smoothing_begins_without_bias() -> None:
    groups = compare_runs([run_in(write_run(train=[1.0, 0.0, 0.0, 0.0]))]).groups
    (band,) = bands(groups, "train/loss", smooth=0.5)
    assert band.mean.tolist() == pytest.approx([1, 1 / 3, 1 / 7, 1 / 15])


@pytest.mark.parametrize(
    ("overrides", "samples"),
    [
        (("batch_size=32",), [32, 64, 96, 100, 132]),  # 100 rows: the fourth batch is short
        (("batch_size=20", "accumulate_grad_batches=2"), [20, 40, 60, 80, 100]),  # a batch in parts
    ],
)
def test_samples_are_exact(overrides: tuple[str, ...], samples: list[int]) -> None:
    groups = compare_runs([run_in(write_run(*overrides, train=[1.0] * 5))]).groups
    assert bands(groups, "train/loss", over="samples")[0].x.tolist() == samples
    assert bands(groups, "train/loss", over="seconds")[0].x.tolist() == [0, 0.5, 1, 1.5, 2]


def test_a_step_that_was_recorded_twice_has_its_later_value() -> None:
    curve = Curve.of([1, 2, 3, 2, 3, 4], [1, 2, 3, 20, 30, 40], [0] * 6)
    assert curve.steps.tolist() == [1, 2, 3, 4]
    assert curve.values.tolist() == [1, 20, 30, 40]


def test_runs_that_have_no_end_are_told_as_such() -> None:
    early = [dataclasses.replace(run, metrics={}) for run in runs_of({"relu": [0.1], "tanh": [0.3]})]
    with pytest.raises(
        UsageError, match="no run has come to its end with a final/train/loss; they have none"
    ):
        compare_runs(early)


def test_numbers_that_make_no_sense_are_refused() -> None:
    found = compare_runs(runs_of({"relu": [0.1, 0.2], "tanh": [0.3, 0.4]}))
    with pytest.raises(UsageError, match=r"smooth=5: expected a number, at least 0 and below 1"):
        found.curves("val/loss", smooth=5)
    with pytest.raises(UsageError, match=r"limit=0: expected a whole number, at least 1"):
        primer.runs(limit=0)
