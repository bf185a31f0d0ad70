"""Jobs of one shape train as one, each still a run of its own, in its folder and in MLflow."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from runs import primer
from sweeping import Begin, sweep_folders, sweep_in, with_faulty_net

from primer.tracking.journal import read

PLAIN = ("net=two_layer", "seed=0,1,2", "optimizer.lr=0.01,0.001")


def children(cwd: Path) -> list[Run]:
    """The runs of the jobs in MLflow, in the order of their names."""
    runs = MlflowClient(f"sqlite:///{cwd}/mlflow.db").search_runs(["1"])
    jobs = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    return sorted(jobs, key=lambda run: str(run.info.run_name))


def curves(folder: Path) -> list[pd.DataFrame]:
    """Every point of each job: metric, step, value."""
    files = sorted(folder.glob("*/curves.parquet"))
    return [
        pd.read_parquet(file)
        .drop(columns="time")
        .drop_duplicates()
        .sort_values(["key", "step"])
        .reset_index(drop=True)
        for file in files
    ]


def test_each_is_a_run_of_its_own(tmp_path: Path) -> None:
    cwd = with_faulty_net(tmp_path)
    done = sweep_in(cwd, *PLAIN)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("plan    6 runs train as one, in 2 processes\n")
    assert "(6 FINISHED)" in done.stdout
    client = MlflowClient(f"sqlite:///{cwd}/mlflow.db")
    for run in children(cwd):
        assert (run.info.status, run.data.tags["primer.num_fused"]) == ("FINISHED", "3")
        assert run.info.run_name == f"lr={run.data.params['optimizer.lr']} s{run.data.params['seed']}"
        steps = [point.step for point in client.get_metric_history(run.info.run_id, "train/loss")]
        assert sorted(steps) == list(range(1, 17))
        assert {"test/accuracy", "best/val/loss", "final/train/loss"} <= run.data.metrics.keys()
        assert run.outputs.model_outputs
        files = {file.path for file in client.list_artifacts(run.info.run_id)}
        assert files == {"config.yaml", "environment.json", "curves.parquet"}
    assert len({run.data.metrics["test/loss"] for run in children(cwd)}) == 6
    (folder,) = sweep_folders(cwd)
    off = with_faulty_net(tmp_path / "off")
    alone = sweep_in(off, *PLAIN, "hydra.launcher.fuse=off", "tracking=off")
    assert "plan" not in alone.stdout
    for one, other in zip(curves(folder), curves(sweep_folders(off)[0]), strict=True):
        pd.testing.assert_frame_equal(one, other, rtol=1e-4)


def test_a_killed_controller_goes_on_with_them_together(begin: Begin, tmp_path: Path) -> None:
    steps = ("max_epochs=null", "max_steps=20000", "val_every_n_steps=1000", "checkpoint_every_n_steps=500")
    long = (*PLAIN, *steps, "data=iris")
    cwd = with_faulty_net(tmp_path / "killed")
    process = begin(cwd, "train", "-m", *long)
    deadline = time.monotonic() + 120
    while not list(cwd.glob("outputs/*/*/*/checkpoints/step-*.ckpt")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    begin.kill(process)
    done = primer("resume", "last", cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "(6 FINISHED)" in done.stdout
    other = with_faulty_net(tmp_path / "undisturbed")
    assert sweep_in(other, *long, "tracking=off").returncode == 0
    for found, expected in zip(curves(sweep_folders(cwd)[0]), curves(sweep_folders(other)[0]), strict=True):
        pd.testing.assert_frame_equal(found, expected, check_exact=True)
    assert [run.info.status for run in children(cwd)] == ["FINISHED"] * 6
    for number in range(6):
        kinds = [record["kind"] for record in read(sweep_folders(cwd)[0] / str(number))]
        assert (kinds.count("done"), kinds.count("warning")) == (1, 0)


def test_mlflow_gets_a_thinned_curve_with_its_extremes(tmp_path: Path) -> None:
    cwd = with_faulty_net(tmp_path)
    few = ("max_epochs=null", "max_steps=300", "tracking.points=20", "tracking.log_model=false")
    assert sweep_in(cwd, "net=two_layer", "seed=0,1", *few).returncode == 0
    client = MlflowClient(f"sqlite:///{cwd}/mlflow.db")
    for run, curve in zip(children(cwd), curves(sweep_folders(cwd)[0]), strict=True):
        losses = curve[curve["key"] == "train/loss"].set_index("step")["value"]
        history = {
            point.step: point.value for point in client.get_metric_history(run.info.run_id, "train/loss")
        }
        assert len(losses) == 300
        assert 15 <= len(history) <= 20
        assert all(losses[step] == value for step, value in history.items())
        assert {losses.idxmin(), losses.idxmax(), 300} <= history.keys()
    again = primer("sync", cwd=cwd)
    assert again.stdout == "3 of 3 runs are in MLflow, whole\n"


def test_one_that_diverges_fails_alone(tmp_path: Path) -> None:
    cwd = with_faulty_net(tmp_path)
    done = sweep_in(
        cwd, "net=two_layer", "data=diabetes", "optimizer=sgd", "optimizer.lr=0.01,0.02,1e19", "seed=0,1"
    )
    assert done.returncode == 1
    assert "(4 FINISHED, 2 FAILED)" in done.stdout
    assert re.search(r"job \d  FAILED: RunError: train/loss is \w+ at step \d .*traceback.txt\)", done.stdout)
    assert sorted(run.info.status for run in children(cwd)) == ["FAILED"] * 2 + ["FINISHED"] * 4


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        (("net.fault=none",), "what they compute changes in training: net.calls"),
        (("net=two_layer", "on_nonfinite=skip"), None),
        (("net=two_layer", "accelerator.precision=bf16-mixed"), None),
    ],
)
def test_what_can_not_trains_alone(tmp_path: Path, overrides: tuple[str, ...], reason: str | None) -> None:
    done = sweep_in(with_faulty_net(tmp_path), *overrides, "seed=0,1", "tracking=off")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "(2 FINISHED)" in done.stdout
    assert done.stdout.count("train as one") == (reason is not None)
    assert reason is None or f"plan    alone: iris s0 and 1 more: {reason}" in done.stdout


@pytest.mark.parametrize("how", ["kill", "raise"])
def test_what_befalls_their_process_costs_no_run(how: str, tmp_path: Path) -> None:
    cwd = with_faulty_net(tmp_path)
    option = f"_target_: faulty_net.FragileNet\nhow: {how}\n"
    (cwd / "conf" / "net" / "fragile.yaml").write_text(option)
    done = sweep_in(cwd, "net=fragile", "seed=0,1,2", "hydra.launcher.workers=1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "plan    alone: 3 runs: the process of iris s0 and 2 more failed" in done.stdout
    assert "(3 FINISHED)" in done.stdout
    assert [run.info.status for run in children(cwd)] == ["FINISHED"] * 3


def test_a_dry_run_tells_the_plan_and_leaves_nothing(tmp_path: Path) -> None:
    cwd = with_faulty_net(tmp_path)
    swept = ("activation=relu,tanh", "on_nonfinite=stop,skip", "hydra.launcher.workers=1", "--dry-run")
    done = sweep_in(cwd, *PLAIN, *swept)
    assert done.stdout.splitlines() == [
        "24 jobs",
        "6 runs train as one: activation=relu on_nonfinite=stop",
        "6 runs train as one: activation=tanh on_nonfinite=stop",
        "12 alone: on_nonfinite=skip",
    ]
    assert not (cwd / "outputs").exists()
