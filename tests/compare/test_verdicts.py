"""Verdicts: how often they say what is so, and what they say of few, equal, repeated or unpaired runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from written_runs import runs_of, write_run

from primer.compare.comparison import compare_runs
from primer.compare.groups import Group
from primer.compare.runs import TrackedRun, run_in
from primer.compare.verdict import DIFFERS, SAME, TOO_FEW, UNSEEN, judge, num_needed

NUM_SWEEPS = 200


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def group(label: str, scores: Sequence[float], seeds: Sequence[int] | None = None) -> Group:
    """A group of runs that have a score and nothing else."""
    seeds = range(len(scores)) if seeds is None else seeds
    runs = tuple(
        TrackedRun(
            None, label, "FINISHED", 0.0, 1.0, {}, {}, {"best/val/loss": float(score)}, None, None, dict
        )
        for score in scores
    )
    blocks = tuple(((str(seed),), ()) for seed in seeds)
    return Group({"activation": label}, "best/val/loss", runs, {"FINISHED": len(runs)}, blocks)


@pytest.mark.parametrize("is_paired", [True, False])
def test_without_a_difference_it_seldom_says_differs(is_paired: bool) -> None:
    draw = np.random.default_rng(0)
    kinds = []
    for _ in range(NUM_SWEEPS):
        seeds = range(20) if is_paired else range(100, 120)
        verdict = judge(group("relu", draw.normal(size=20)), group("tanh", draw.normal(size=20), seeds))
        assert verdict.is_paired is is_paired
        kinds.append(verdict.kind)
    assert kinds.count(DIFFERS) <= 0.07 * NUM_SWEEPS


@pytest.mark.parametrize("is_paired", [True, False])
def test_a_difference_of_a_standard_deviation_is_seen_with_20_runs(is_paired: bool) -> None:
    draw = np.random.default_rng(1)
    seeds = range(20) if is_paired else range(100, 120)
    verdicts = [
        judge(group("relu", draw.normal(size=20)), group("tanh", draw.normal(size=20) + 1, seeds))
        for _ in range(NUM_SWEEPS)
    ]
    assert sum(verdict.kind == DIFFERS for verdict in verdicts) >= 0.8 * NUM_SWEEPS
    assert {verdict.better for verdict in verdicts if verdict.kind == DIFFERS} == {"relu"}


def test_of_many_settings_seldom_any_differs() -> None:
    """Also where they are ordered by their means first, and each is compared with the best."""
    draw = np.random.default_rng(2)
    num_wrong = 0
    for _ in range(NUM_SWEEPS):
        groups = sorted(
            (group(str(place), draw.normal(size=20)) for place in range(6)), key=lambda one: one.mean
        )
        num_wrong += any(judge(groups[0], other, math.comb(6, 2)).kind == DIFFERS for other in groups[1:])
    assert num_wrong <= 0.07 * NUM_SWEEPS


def test_intervals_are_those_of_scipy() -> None:
    draw = np.random.default_rng(3)
    first, second = draw.normal(size=9), draw.normal(size=9)
    paired = judge(group("relu", first), group("tanh", second), 3)
    wanted = stats.ttest_rel(second, first).confidence_interval(1 - 0.05 / 3)
    assert paired.interval == pytest.approx((wanted.low, wanted.high))
    unpaired = judge(group("relu", first), group("tanh", second[:6], range(50, 56)))
    wanted = stats.ttest_ind(second[:6], first, equal_var=False).confidence_interval(0.95)
    assert unpaired.interval == pytest.approx((wanted.low, wanted.high))
    assert unpaired.n == (9, 6)


@pytest.mark.parametrize(("size", "is_paired", "num"), [(0.5, False, 64), (0.8, False, 26), (0.5, True, 34)])
def test_how_many_runs_are_needed_is_what_the_tables_say(size: float, is_paired: bool, num: int) -> None:
    """Cohen 1988, table 2.4.1, and G*Power for pairs."""
    assert num_needed(size, 0.05, is_paired=is_paired) == num


def test_as_many_runs_as_are_said_to_be_needed_are_enough() -> None:
    draw, num = np.random.default_rng(4), num_needed(0.7, 0.05, is_paired=False)
    assert num
    seeds = range(1000, 1000 + num)
    seen = sum(
        judge(group("a", draw.normal(size=num)), group("b", draw.normal(size=num) + 0.7, seeds)).kind
        == DIFFERS
        for _ in range(NUM_SWEEPS)
    )
    assert 0.7 * NUM_SWEEPS < seen < 0.9 * NUM_SWEEPS
    assert num_needed(1e-9, 0.05, is_paired=True) is None


def test_few_runs() -> None:
    assert judge(group("relu", [1.0]), group("tanh", [2.0])).kind == TOO_FEW
    assert judge(group("relu", []), group("tanh", [2.0])).kind == TOO_FEW
    assert "at least two seeds" in judge(group("relu", [1.0]), group("tanh", [2.0])).sentence()


def test_always_the_same_difference_is_no_certainty_in_a_few_runs() -> None:
    """As of accuracies of some rows: Student's t would be sure of it."""
    assert judge(group("relu", [0.5] * 3), group("tanh", [0.75] * 3)).kind == TOO_FEW
    assert judge(group("relu", [0.5] * 8), group("tanh", [0.75] * 8)).kind == DIFFERS
    assert judge(group("relu", [0.5] * 3), group("tanh", [0.5] * 3)).kind == UNSEEN
    assert judge(group("relu", [0.5] * 3), group("tanh", [0.75] * 3, range(9, 12))).kind == TOO_FEW
    assert judge(group("relu", [0.5] * 8), group("tanh", [0.75] * 8, range(20, 28))).kind == DIFFERS


SENTENCES = {  # by what tanh is worse, whether of the same seeds: what is said
    (9.0, True): "relu is better than tanh by 9.01 best/val/loss (98.33% interval 8.87 to 9.14; {how})",
    (-9.0, True): "tanh is better than relu by 8.99 best/val/loss (98.33% interval 8.86 to 9.13; {how})",
    (
        0.05,
        True,
    ): "no difference seen between relu and tanh with {how}: +0.056 best/val/loss (98.33% interval "
    "-0.0775 to +0.189); about n=22 would be needed to see 0.056",
    (
        0.01,
        False,
    ): "no difference seen between relu and tanh with {how}: +0.016 best/val/loss (98.33% interval "
    "-0.234 to +0.266); about n=1163 would be needed to see 0.016",
}


@pytest.mark.parametrize(("worse", "is_paired"), SENTENCES)
def test_a_verdict_in_a_sentence(worse: float, is_paired: bool) -> None:
    noise, seeds = (0.0, 0.1, -0.1, 0.05, -0.02), range(5) if is_paired else range(9, 14)
    scores, others = [1 + value for value in noise], [1 + worse + 2 * value for value in noise]
    said = judge(group("relu", scores), group("tanh", others, seeds), 3).sentence()
    how = "5 pairs, each of one seed" if is_paired else "n=5 and 5"
    assert said == SENTENCES[worse, is_paired].format(how=how)


def test_some_seeds_without_a_partner() -> None:
    first = group("relu", range(10))
    assert judge(first, group("tanh", [1.0, 3, 2, 5, 4, 6, 7, 8.5, 11], range(1, 10))).n == (9, 9)
    assert not judge(first, group("tanh", range(10), range(7, 17))).is_paired
    assert not judge(first, group("tanh", range(10), [0] * 10)).is_paired  # a seed twice


def test_the_same_curves_are_the_same_and_one_bit_makes_another() -> None:
    curve = [1.0, 0.9, 0.8, 0.7]
    other = [1.0, math.nextafter(0.9, 1), 0.8, 0.7]
    runs = [
        run_in(write_run(f"activation={name}", seed=seed)) for name in ("relu", "tanh") for seed in (0, 1)
    ]
    same = compare_runs(runs)
    assert same.verdicts[0].kind == SAME
    assert same.sentence == "relu and tanh are the same: bitwise equal curves in all 2 pairs of runs"
    changed = [*runs[:3], run_in(write_run("activation=tanh", seed=1, train=other))]
    assert curve != other
    assert compare_runs(changed).verdicts[0].kind == UNSEEN


def test_a_repeat_is_no_evidence() -> None:
    runs = runs_of({"relu": [0.5, 0.6], "tanh": [0.1, 0.2]})
    again = [run_in(write_run("activation=relu", seed=0, best=0.5)) for _ in range(5)]
    found = compare_runs([*runs, *again])
    assert [group.n for group in found.groups] == [2, 2]
    assert "5 of 9 runs repeat others, and are left out" in found.notes
    failed = run_in(write_run("activation=relu", seed=1, status="FAILED"))
    assert [group.n for group in compare_runs([*runs, failed]).groups] == [2, 2]  # it was tried again


def test_scores_that_are_no_numbers_are_left_out_and_told() -> None:
    found = compare_runs(runs_of({"relu": [0.5, math.nan, 0.7], "tanh": [0.1, 0.2, 0.3]}))
    assert [(group.label, group.n) for group in found.groups] == [("tanh", 3), ("relu", 2)]
    assert "finished runs without a finite best/val/loss are left out: of relu" in found.notes
