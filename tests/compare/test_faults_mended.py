"""What was wrong with comparisons once, and stays mended."""

from __future__ import annotations

import io
import itertools
import math
import re
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.console import Console
from test_verdicts import group
from written_runs import runs_of, write_run

import primer
from primer.cli import main
from primer.compare.asked import mlflow_filter
from primer.compare.comparison import compare_runs
from primer.compare.curves import bands
from primer.compare.one import switched
from primer.compare.report import page_of
from primer.compare.runs import TrackedRun, run_in
from primer.compare.show import show
from primer.compare.verdict import DIFFERS, UNSEEN, judge, num_needed
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
    object.__setattr__(died, "data", None)  # as that of a full disk, before its "data" record
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


def test_a_setting_of_which_runs_failed_is_named_in_the_verdict() -> None:
    folders = [write_run("activation=relu", seed=seed, best=0.5 + seed / 100) for seed in range(5)]
    folders += [write_run("activation=tanh", seed=seed, best=0.1 + seed / 99) for seed in range(2)]
    folders += [write_run("activation=tanh", seed=seed, status="FAILED") for seed in range(2, 5)]
    folders += [write_run("activation=gelu", seed=seed, status="FAILED") for seed in range(5)]
    sentence = compare_runs([run_in(folder) for folder in folders], allow=["unfinished"]).sentence
    assert sentence.endswith("; of tanh only 2 of 5 count; of gelu none of 5 counts"), sentence


@pytest.mark.parametrize(("size", "alpha", "num"), [(3.0, 0.01, 5), (1.229, 0.05 / 45, 17)])
def test_what_is_needed_is_told_where_scipy_has_no_number(size: float, alpha: float, num: int) -> None:
    assert num_needed(size, alpha, is_paired=True) == num


def test_a_difference_that_is_always_the_same_says_how_many_pairs_would_tell() -> None:
    (verdict,) = compare_runs(runs_of({"relu": [0.5] * 5, "tanh": [0.25] * 5})).verdicts
    assert verdict.sentence() == (
        "tanh and relu: always +0.25 in 5 pairs, each of one seed, too few to tell; 6 pairs would tell"
    )


def test_settings_that_are_all_the_same_are_said_to_be() -> None:
    found = compare_runs(runs_of({"relu": [0.5, 0.4], "tanh": [0.5, 0.4], "gelu": [0.5, 0.4]}))
    assert found.sentence == "all 3 are the same: bitwise equal curves in every pair of runs"


def test_a_row_is_over_seeds_as_the_verdict_is() -> None:
    """Three runs of a seed are one number: mean, interval and n are of the same."""
    runs = [run_in(write_run(f"optimizer.lr={lr}", seed=0, best=9.0)) for lr in LRS[:3]]
    runs += [run_in(write_run("optimizer.lr=0.1", seed=seed, best=float(seed))) for seed in (1, 2)]
    (row,) = compare_runs(runs, by=["activation"]).table.to_dict("records")
    assert (row["n"], row["mean"]) == (3, 4.0)
    assert (row["low"] + row["high"]) / 2 == pytest.approx(row["mean"])


def test_a_repeat_that_needs_other_threads_is_no_other_setting() -> None:
    for words in (
        ("activation=relu",),
        ("activation=tanh",),
        ("activation=tanh", "accelerator.num_threads=1"),
    ):
        write_run(*words)
    folders = sorted(Path("outputs").glob("*/*"))
    assert compare_runs([run_in(folder) for folder in folders]).by == ("activation",)
    assert compare_runs([run_in(folder) for folder in folders[1:]]).by == ("accelerator.num_threads",)


def test_runs_that_watched_other_metrics_are_compared_with_a_note() -> None:
    runs = [run_in(write_run(f"monitor={name}")) for name in ("val/loss", "val/accuracy")]
    (note,) = [note for note in compare_runs(runs).notes if "watched" in note]
    expected = (
        "they watched val/accuracy and val/loss: compared by final/train/loss, unless --metric is given"
    )
    assert note == expected


def test_what_was_switched_is_shown_where_the_default_is_nothing() -> None:
    folder = write_run("activation=tanh", "patience=7", "accelerator.num_threads=1")
    assert switched(run_in(folder)) == ["activation=tanh", "accelerator.num_threads=1", "patience=7"]


def test_formulas_in_names_are_drawn_as_they_are(tmp_path: Path) -> None:
    runs = [
        run_in(write_run("data=table", f"data.path='{name}'", "data.target=y")) for name in ("$x_{$", "b")
    ]
    compare_runs(runs, allow=["data"]).plot(tmp_path / "x.png")
    assert (tmp_path / "x.png").stat().st_size > 1000


@pytest.mark.parametrize("width", [40, 80, 200])
def test_a_narrow_terminal_has_what_matters_most(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("relu", "tanh"):
        write_run(f"activation={name}")
    console = Console(width=width, file=io.StringIO())
    monkeypatch.setattr(sys.modules["primer.compare.show"], "result_console", lambda: console)
    show(compare_runs([run_in(folder) for folder in sorted(Path("outputs").glob("*/*"))]))
    header, *rows = console.file.getvalue().splitlines()[1:4]
    assert header.split()[:3] == ["setting", "n", "mean"]
    assert ("runs" in header) == (width > 40)
    assert all(len(row.rstrip()) <= width for row in (header, *rows))
