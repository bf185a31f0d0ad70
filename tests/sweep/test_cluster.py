"""Sweeps on Ray, on Slurm and by submitit on this machine: the jobs, points and ledger of local ones."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from clusters import HAS_SLURM, ray_cluster, slurm_cluster
from mlflow import MlflowClient
from runs import primer
from shipping import until
from sweeping import QUICK, Begin, environment, sweep_folders, sweep_in, with_faulty_net

from primer.tracking.journal import read

NUM_STEPS = 100
JOBS = ("max_epochs=null", f"max_steps={NUM_STEPS}", "checkpoint_every_n_steps=3")
KEY = ["key", "step"]


@dataclass
class Cluster:
    """How a sweep gets there."""

    overrides: tuple[str, ...]
    env: dict[str, str]

    def words(self, *overrides: str) -> tuple[str, ...]:
        """What trains on this cluster."""
        return ("train", "-m", *QUICK, *self.overrides, *overrides)

    def train(self, cwd: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
        """`primer train -m` on this cluster, until its end."""
        return primer(*self.words(*overrides), cwd=with_faulty_net(cwd), env=environment() | self.env)


@pytest.fixture(
    scope="module",
    params=[
        "submitit",
        "ray",
        pytest.param(
            "slurm", marks=pytest.mark.skipif(not HAS_SLURM, reason="needs root, slurmctld and slurmd")
        ),
    ],
)
def cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    if request.param == "submitit":
        yield Cluster(("hydra/launcher=slurm", "hydra.launcher.executor=local"), {})
    elif request.param == "ray":
        with ray_cluster() as variables:
            yield Cluster(("hydra/launcher=ray",), variables)
    else:
        with slurm_cluster(tmp_path_factory.mktemp("slurm")) as variables:
            yield Cluster(("hydra/launcher=slurm",), variables)


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same jobs on this machine, undisturbed."""
    cwd = with_faulty_net(tmp_path_factory.mktemp("local"))
    done = sweep_in(cwd, *JOBS, "seed=0,1,2")
    assert done.returncode == 0, done.stdout + done.stderr
    return sweep_folders(cwd)[0]


def points_in(folder: Path) -> pd.DataFrame:
    """Every point of a job, each once."""
    points = pd.read_parquet(folder / "curves.parquet").drop(columns="time")
    return points.sort_values(KEY, ignore_index=True)


def errors_of(folder: Path, number: int) -> list[Any]:
    """The errors that the attempts of a job ended with."""
    return [record["error"] for record in read(folder / str(number)) if record["kind"] == "end"]


def check_whole(cwd: Path, expected: list[Path]) -> None:
    """Every job was trained to its end once, to the points of an undisturbed one, and is in MLflow."""
    (folder,) = sweep_folders(cwd)
    client = MlflowClient(f"sqlite:///{cwd}/mlflow.db")
    runs = client.search_runs(["1"])
    (parent,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    assert len(runs) == len(expected) + 1
    assert {run.info.status for run in runs} == {"FINISHED"}
    for run in runs:
        if run is not parent:
            assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
            steps = [point.step for point in client.get_metric_history(run.info.run_id, "train/loss")]
            assert sorted(steps) == list(range(1, NUM_STEPS + 1))
    for number, undisturbed in enumerate(expected):
        ends = [record["status"] for record in read(folder / str(number)) if record["kind"] == "end"]
        assert ends.count("FINISHED") == 1
        found = points_in(folder / str(number))
        pd.testing.assert_frame_equal(found, points_in(undisturbed), check_exact=True)
        assert (folder / str(number) / ".hydra" / "overrides.yaml").exists()


def test_failures_cost_one_job_and_are_told(cluster: Cluster, tmp_path: Path) -> None:
    done = cluster.train(tmp_path, "net.fault=none,raise,kill")
    assert done.returncode == 1, done.stderr
    assert "(1 FINISHED, 1 FAILED, 1 KILLED)" in done.stdout
    assert "job 1  FAILED: ArithmeticError: one" in done.stdout
    assert "job 2  KILLED: stopped by SIGKILL" in done.stdout
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    runs = client.search_runs(["1"], filter_string="params.seed = '0'")
    assert sorted(run.info.status for run in runs) == ["FAILED", "FINISHED", "KILLED"]


def test_killed_workers_and_tasks_go_on(cluster: Cluster, tmp_path: Path, local: Path) -> None:
    done = cluster.train(tmp_path, *JOBS, "net.fault=killed,orphaned,left", "hydra.launcher.retries=1")
    assert done.returncode == 0, done.stdout + done.stderr
    check_whole(tmp_path, [local / "0"] * 3)
    (folder,) = sweep_folders(tmp_path)
    killed = "stopped by SIGKILL (by hand, or by the system for want of memory)"
    assert errors_of(folder, 0) == [killed, None]
    assert "ended" in errors_of(folder, 1)[0]
    assert errors_of(folder, 2) == ["stopped by SIGTERM", killed, None]


def test_ctrl_c_and_a_killed_controller_lose_nothing(
    cluster: Cluster, begin: Begin, tmp_path: Path, local: Path
) -> None:
    held = (*JOBS, "net.fault=held", "seed=0,1,2", "hydra.launcher.workers=2")
    process = begin(with_faulty_net(tmp_path), *cluster.words(*held), env=cluster.env)
    until(lambda: list(tmp_path.glob("outputs/*/*/*/checkpoints/step-*.ckpt")))
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130, out + err
    (folder,) = sweep_folders(tmp_path)
    assert f"resume {folder.relative_to(tmp_path)}" in out
    assert not (folder / "2").exists()
    again = begin(tmp_path, "resume", "last", env=cluster.env)
    until(lambda: any(record["kind"] == "resume" for record in [*read(folder / "0"), *read(folder / "1")]))
    begin.kill(again)
    (tmp_path / "go").touch()
    done = primer("resume", "last", cwd=tmp_path, env=environment() | cluster.env)
    assert done.returncode == 0, done.stdout + done.stderr
    check_whole(tmp_path, [local / str(number) for number in range(3)])


def test_a_job_that_takes_too_long_has_failed(cluster: Cluster, tmp_path: Path) -> None:
    slow = ("max_epochs=null", "max_steps=100000", "net.fault=slow", "seed=0,1")
    done = cluster.train(tmp_path, *slow, "hydra.launcher.timeout_minutes=0.2")
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stdout.count("FAILED: took longer than 0.2 minutes") == 2
    runs = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db").search_runs(["1"])
    assert {run.info.status for run in runs} == {"FAILED"}


def test_two_tasks_of_a_job_train_it_once(tmp_path: Path, local: Path) -> None:
    """As where a controller was killed when a task was handed over that had not begun yet."""
    cwd = with_faulty_net(tmp_path)
    assert sweep_in(cwd, *JOBS, "seed=0").returncode == 0
    (sweep,) = sweep_folders(cwd)
    shutil.rmtree(sweep / "0")
    task = f"from primer.sweep.task import run_task; print(run_task('{sweep}', 0, 0, '{cwd}', {{}}, 1))"
    env = os.environ | environment()
    tasks = [
        subprocess.Popen([sys.executable, "-c", task], env=env, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    assert [process.communicate()[0] for process in tasks] == ["None\n", "None\n"]
    kinds = [record["kind"] for record in read(sweep / "0")]
    assert (kinds.count("run"), kinds.count("resume"), kinds.count("end")) == (1, 0, 1)
    pd.testing.assert_frame_equal(points_in(sweep / "0"), points_in(local / "0"), check_exact=True)
