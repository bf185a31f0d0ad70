"""`primer compare`, `primer runs` and `primer show`, from folders and from MLflow; pictures."""

from __future__ import annotations

import json
import math
import os
import shutil
import sys
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner
from runs import primer
from written_runs import runs_of, write_run

import primer as package
from primer.cli import main
from primer.compare.asked import mlflow_filter
from primer.compare.comparison import compare_runs
from primer.compare.plot import figure_of
from primer.compare.runs import run_in
from primer.sync import sync
from primer.tracking.shipment import id_of


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    # a shell that finds `primer`, also where the environment is not activated: messages then call it so
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    return tmp_path


def called(*words: str) -> tuple[int, str, str]:
    """A command, in this process: exit code, what it printed, what it said was wrong."""
    done = CliRunner().invoke(main, words, standalone_mode=False)
    return done.exit_code, done.stdout, done.stderr


def written(name: str, seed: int, best: float) -> str:
    return str(write_run(f"activation={name}", seed=seed, best=best))


@pytest.fixture
def folders() -> list[str]:
    scores = {"relu": [0.1, 0.2, 0.3], "tanh": [0.5, 0.65, 0.71]}
    return [written(name, seed, score) for name, some in scores.items() for seed, score in enumerate(some)]


def test_the_verdict_comes_last_and_json_is_whole(folders: list[str]) -> None:
    code, printed, _ = called("compare", *folders)
    assert code == 0
    lines = printed.splitlines()
    assert lines[0].strip() == "best/val/loss"
    assert lines[2].split()[:4] == ["relu", "3", "0.2", "0.1"]
    assert lines[-1].startswith("verdict relu is better than tanh by 0.42 best/val/loss (95% interval 0.3")
    code, printed, _ = called("compare", *folders, "--json", "--csv", "runs.csv")
    found = json.loads(printed)
    assert found["sentence"] == lines[-1].removeprefix("verdict ")
    assert [one["setting"] for one in found["settings"]] == ["relu", "tanh"]
    assert found["verdicts"][0]["better"] == "relu"
    table = pd.read_csv("runs.csv")
    assert table["best/val/loss"].tolist() == [0.1, 0.2, 0.3, 0.5, 0.65, 0.71]
    assert table["activation"].tolist() == ["relu"] * 3 + ["tanh"] * 3


def test_one_run_is_valid_json_too() -> None:
    code, printed, _ = called("compare", written("relu", 0, 0.5), "--json")
    assert code == 0
    assert json.loads(printed)["settings"][0]["sd"] is None


def test_the_store_says_what_the_folders_say(folders: list[str], here: Path) -> None:
    assert all(result.error is None for result in sync(*folders))
    by_folder = package.compare(*folders)
    by_filter = package.compare(where="activation = 'relu'")
    assert by_filter.table.loc["all runs", "n"] == 3
    by_store = package.compare(experiment="primer")
    columns = ["n", "mean", "sd", "low", "high", "best", "statuses"]
    pd.testing.assert_frame_equal(by_store.table[columns], by_folder.table[columns])
    assert by_store.sentence == by_folder.sentence
    ids = [str(id_of(Path(folder))) for folder in folders]
    curves = by_folder.curves("train/loss")
    shutil.rmtree(here / "outputs")
    gone = package.compare(*ids)  # nothing but the store is left
    assert gone.sentence == by_folder.sentence
    pd.testing.assert_frame_equal(gone.curves("train/loss"), curves)
    assert gone.curves("train/loss", over="samples")["x"].tolist()[:4] == [32, 64, 96, 100]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("compare",), "there is no sweep below outputs; expected runs, --sweep ID or --filter"),
        (("compare", "nope"), "nope: no run folder, and no run of that id in outputs or in the store"),
        (("compare", "--filter", "activation ~ 'x'"), "--filter activation ~ 'x': Invalid"),
        (
            ("compare", "--filter", "activation = 'x'"),
            "--filter activation = 'x': no run of the newest experiment (or --experiment NAME) passes it",
        ),
        (("compare", "--experiment", "none"), "--experiment none: the store has none of that name"),
        (("compare", "--plot", "x.jpg", "RUN"), "x.jpg: expected a file that ends in .png, .svg, .pdf"),
        (("compare", "--html", "no/x.html", "RUN"), "no/x.html: there is no folder no"),
        (("compare", "--filter", "seed = 0", "RUN"), "--filter and --experiment look through MLflow"),
        (("runs", "RUN"), "RUN: is a single run; expected a sweep, or `primer show RUN`"),
        (("show", "nope"), "nope: no run folder, and no run of that id in outputs or in the store"),
    ],
)
def test_a_wrong_question_is_a_line(words: tuple[str, ...], line: str) -> None:
    folder = written("relu", 0, 0.5)
    assert sync(folder)[0].error is None
    code, _, said = called(*(folder if word == "RUN" else word for word in words))
    assert code == 2
    assert said.startswith(f"primer: {line.replace('RUN', folder)}")
    assert len(said.splitlines()) == 1


def test_nothing_is_made_where_there_is_no_store(here: Path) -> None:
    code, _, said = called("compare", "--filter", "seed = 0")
    assert (code, said.startswith("primer: no runs here yet: ")) == (2, True)
    assert list(here.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("seed = 1", "params.`seed` = '1'"),
        ("lr = 1e-3 and x!=2", "params.`lr` = '0.001' and params.`x` != '2'"),
        ("x = 1.2.3 and y = 007", "params.`x` = '1.2.3' and params.`y` = '007'"),
        ("params.seed = '1'", "params.seed = '1'"),
        ("status = 'FAILED'", "attributes.status = 'FAILED'"),
        ("name = 'a = b'", "params.`name` = 'a = b'"),
        ("tags.`primer.sweep` = 'x'", "tags.`primer.sweep` = 'x'"),
    ],
)
def test_filters_may_leave_out_what_a_key_is(text: str, wanted: str) -> None:
    assert mlflow_filter(text) == wanted


def drawn(scores: dict[tuple[str, ...], float]) -> list[int | str]:
    """The panels of a picture, and the scales of the first one's axes."""
    runs = [
        run_in(write_run(*overrides, seed=seed, best=score + seed / 100))
        for overrides, score in scores.items()
        for seed in (0, 1)
    ]
    found = compare_runs(runs)
    figure = figure_of(found, over="steps", smooth=0.0, scale="auto")
    found.plot("drawn.png")
    assert Path("drawn.png").stat().st_size > 5000
    return [len(figure.axes), figure.axes[0].get_xscale(), figure.axes[0].get_xlabel()]


def test_pictures_follow_what_was_switched() -> None:
    names, lrs, sizes = ("relu", "tanh"), (0.001, 0.01, 0.1), (16, 32, 64)
    assert drawn({(f"activation={name}",): 0.1 for name in names}) == [1, "linear", "optimizer step"]
    shutil.rmtree("outputs")
    both = {(f"activation={name}", f"optimizer={kind}"): 0.1 for name in names for kind in ("sgd", "adam")}
    assert drawn(both) == [2, "linear", "optimizer step"]
    shutil.rmtree("outputs")
    assert drawn({(f"optimizer.lr={lr}",): lr for lr in lrs}) == [2, "log", "optimizer.lr"]
    shutil.rmtree("outputs")
    grid = {(f"optimizer.lr={lr}", f"batch_size={size}"): lr + size for lr in lrs for size in sizes}
    assert drawn(grid) == [2, "linear", "optimizer.lr"]  # a heat map and its scale


def test_a_picture_of_each_kind_is_written(folders: list[str]) -> None:
    for suffix, begin in ((".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF")):
        code, _, said = called(
            "compare", *folders, "--plot", f"x{suffix}", "--over", "seconds", "--scale", "log"
        )
        assert (code, said) == (0, "")
        assert Path(f"x{suffix}").read_bytes().startswith(begin)


def test_runs_are_listed_newest_first(folders: list[str]) -> None:
    died = write_run("activation=relu", seed=9, status=None)
    code, printed, _ = called("runs")
    lines = printed.splitlines()
    assert code == 0
    assert len(lines) == 8
    assert lines[0].split() == ["age", "name", "status", "activation", "val/loss", "id,", "or", "folder"]
    assert "DIED" in lines[1]
    assert str(died.relative_to(Path.cwd())) in lines[1]
    assert "FINISHED" in lines[2]
    assert len(called("runs", "--limit", "3")[1].splitlines()) == 4
    table = package.runs()
    assert table["status"].tolist() == ["DIED"] + ["FINISHED"] * 6
    assert table["age_s"].is_monotonic_increasing


def test_a_run_on_one_screen() -> None:
    folder = write_run("activation=tanh", "optimizer.lr=0.5", "data.seed=4", seed=3)
    assert sync(str(folder))[0].error is None
    for name in (str(folder), str(id_of(folder)), "last"):
        code, printed, _ = called("show", name)
        assert code == 0
        assert "switched activation=tanh optimizer.lr=0.5 seed=3" in printed
        assert f"primer resume {folder.relative_to(Path.cwd())}" in printed
        assert "command  primer train activation=tanh optimizer.lr=0.5 data.seed=4" in printed
        assert "train/loss" in printed
    hostile = {"primer.num_fused": "[/x]\x1b[2J", "primer.verification.f\x1b[2J": "right\x1b[2J"}
    code, printed, _ = called("show", str(write_run(seed=2, tags=hostile)))
    assert code == 0
    assert "as one of [/x]?[2J, " in printed
    assert "\x1b" not in printed
    failed = write_run(seed=1, status="FAILED")
    shown = called("show", str(failed))[1]
    assert "error    of a test" in shown
    assert f"primer resume {failed.relative_to(Path.cwd())}\n" in shown


def test_a_sweep_leaves_its_report_and_is_compared(here: Path) -> None:
    asked = (
        "data=iris",
        "activation=relu,custom_relu",
        "seed=0,1",
        "max_epochs=2",
        "tracking.log_model=false",
    )
    done = primer("train", "-m", *asked, cwd=here)
    assert done.returncode == 0, done.stdout + done.stderr
    (report,) = here.glob("outputs/*/*/report.html")
    assert f"report  {report.relative_to(here)}" in done.stdout
    assert "bitwise equal curves in all 2 pairs of runs" in report.read_text()
    code, printed, _ = called("compare")
    assert code == 0
    assert printed.splitlines()[-1].endswith("are the same: bitwise equal curves in all 2 pairs of runs")
    sweep = id_of(report.parent)
    assert called("compare", str(sweep))[1] == printed
    listed = called("runs")[1].splitlines()
    assert len(listed) == 2
    assert "4 FINISHED" in listed[1]
    assert str(sweep) in listed[1]
    assert len(called("runs", "last")[1].splitlines()) == 5
    shown = called("show", "last")[1]
    assert f"primer compare {report.parent.relative_to(here)}" in shown
    assert f"command primer train -m {' '.join(asked)}" in shown
    assert f"primer train -m {' '.join(asked)}" in report.read_text()
    assert f"verdict {printed.splitlines()[-1].removeprefix('verdict ')}" in done.stdout
    assert package.compare().table["duration_s"].isna().all()  # of jobs that trained as one
    from primer.tracking.store import Store

    names = {file.path for file in Store(f"sqlite:///{here}/mlflow.db").client.list_artifacts(str(sweep))}
    assert "report.html" in names
    shutil.rmtree(here / "outputs")
    assert called("compare", str(sweep))[1].endswith("bitwise equal curves in all 2 pairs of runs\n")


def test_a_hundred_runs() -> None:
    names = ("relu", "tanh", "gelu", "silu")
    scores = {name: [place + math.sin(seed) / 9 for seed in range(25)] for place, name in enumerate(names)}
    assert [group.n for group in compare_runs(runs_of(scores)).groups] == [25] * 4
