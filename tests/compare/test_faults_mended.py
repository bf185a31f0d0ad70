"""What was wrong with comparisons once, and stays mended."""

from __future__ import annotations

import itertools
import math
import re
from pathlib import Path

import pytest
from click.testing import CliRunner
from test_verdicts import group
from written_runs import runs_of, write_run

import primer
from primer.cli import main
from primer.compare.asked import mlflow_filter
from primer.compare.comparison import compare_runs
from primer.compare.curves import bands
from primer.compare.report import page_of
from primer.compare.runs import TrackedRun, run_in
from primer.compare.verdict import DIFFERS, UNSEEN, judge
from primer.errors import UsageError


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


LRS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)


def averaged(*by_seed: float) -> list[TrackedRun]:
    """Runs of relu and tanh with seven rates; tanh is worse by so much, by seed."""
    return [
        run_in(
            write_run(
                f"activation={name}", f"optimizer.lr={lr}", seed=seed, best=lr + (name == "tanh") * more
            )
        )
        for (seed, more), name, lr in itertools.product(enumerate(by_seed), ("relu", "tanh"), LRS)
    ]


@pytest.mark.parametrize("by_seed", [(0.1,), (1.0, 0.9, -0.6)])
def test_runs_of_one_seed_with_several_rates_are_no_more_seeds(by_seed: tuple[float, ...]) -> None:
    """21 pairs of 3 seeds are 3 differences: drawn without a true one, it says "differs" of half of them."""
    (verdict,) = compare_runs(averaged(*by_seed), by=["activation"]).verdicts
    assert verdict.kind != DIFFERS, verdict.sentence()


@pytest.mark.parametrize(
    ("first", "second"),
    [([0.1] * 3, [0.1] * 3), ([0.7] * 5, [0.8, 0.9, 0.7, 0.85, 0.75]), ([0.1] * 7, [0.1] * 6)],
)
def test_unpaired_constants_are_judged_without_a_warning(first: list[float], second: list[float]) -> None:
    """0.1 three times has the mean 0.10000000000000002, so a standard deviation of 1.7e-17."""
    assert judge(group("relu", first), group("tanh", second, range(50, 50 + len(second)))).kind in (
        UNSEEN,
        DIFFERS,
    )


def test_the_page_draws_runs_that_stopped_early_where_they_were() -> None:
    runs = [run_in(write_run(seed=0, train=[1.0] * 5)), run_in(write_run(seed=1, train=[2.0] * 9))]
    steps = re.findall(r'\["steps",\[([\d.,]+)\]\]', page_of(compare_runs(runs)))
    assert "1.0,2.0,3.0,4.0,5.0,6.0,7.0,8.0,9.0" in steps, steps  # not 5.0,5.5,6.0,6.5,7.0


def test_values_are_listed_as_they_are() -> None:
    for name in ("a", "b"):
        write_run("data=table", f"data.path='/x/[/{name}]'", "data.target=y")
    done = CliRunner().invoke(main, ["runs"], standalone_mode=False)
    assert done.exit_code == 0, repr(done.exception)  # rich's MarkupError
    assert "[/a]" in done.stdout


@pytest.mark.parametrize("command", [("runs",), ("show", "last")])
def test_names_can_not_command_a_terminal(command: tuple[str, ...]) -> None:
    write_run(name="x \x1b]0;mine\x07\x1b[31m")
    assert "\x1b" not in CliRunner().invoke(main, command, standalone_mode=False).stdout


def test_long_curves_of_other_grids_are_averaged_not_sampled() -> None:
    jumping = [2.0 * (step % 2) for step in range(6000)]
    runs = [run_in(write_run(seed=seed, train=jumping[: 6000 - 10 * seed])) for seed in (0, 1)]
    (band,) = bands(compare_runs(runs).groups, "train/loss")
    within = band.mean[:-1]  # the last bin has one point of the shorter run
    assert within == pytest.approx([1.0] * len(within), abs=0.11)  # each point is 0 or 2


def test_one_point_that_is_no_number_leaves_the_others_of_its_bin() -> None:
    values = [1.0] * 5000
    values[17] = math.nan
    (band,) = bands(compare_runs([run_in(write_run(train=values))]).groups, "train/loss")
    assert len(band.x) == 300


def test_the_command_that_repeats_it_can_be_typed() -> None:
    folders = [str(write_run(seed=seed, root=Path("my runs").absolute())) for seed in (0, 1)]
    assert f"'{folders[0]}'" in primer.compare(*folders).asked


def test_a_baseline_may_hold_a_comma() -> None:
    runs = [
        run_in(write_run("optimizer=adam", f"optimizer.betas=[{beta},0.999]", seed=seed, best=beta + seed))
        for beta, seed in itertools.product((0.8, 0.9), (0, 1))
    ]
    found = compare_runs(runs, baseline="optimizer.betas=[0.8, 0.999]")  # as the refusal itself says
    assert found.verdicts[0].baseline == "betas=[0.8, 0.999]"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("metrics.val/loss < 0.5", "metrics.`val/loss` < 0.5"),
        ("`val/loss` < 0.5", "metrics.`val/loss` < 0.5"),
        ("dataset.name = 'digits'", "dataset.name = 'digits'"),
    ],
)
def test_filters_that_mlflow_would_not_take_as_they_are(text: str, wanted: str) -> None:
    assert mlflow_filter(text) == wanted


def test_a_run_that_died_before_it_read_its_data_was_tried_again() -> None:
    runs = runs_of({"relu": [0.1, 0.2]})
    died = run_in(write_run("activation=relu", seed=1, status="FAILED"))
    object.__setattr__(died, "digest", None)  # as that of a full disk, before its "data" record
    assert compare_runs([*runs, died]).groups[0].counts == {"FINISHED": 2}


def test_words_of_python_are_checked_like_those_of_the_command() -> None:
    folders = [str(write_run(f"activation={name}")) for name in ("relu", "tanh")]
    found = primer.compare(*folders)
    with pytest.raises(UsageError, match="over=epochs"):
        found.plot("x.png", over="epochs")  # a KeyError
    with pytest.raises(UsageError, match="scale=lgo"):
        found.plot("x.png", scale="lgo")  # drawn, as "auto" or not
    with pytest.raises(UsageError, match="dat"):
        primer.compare(*folders, allow=["dat"])  # let pass
    assert primer.compare(*folders, by="activation").by == ("activation",)  # "--by a: no run has that key"
