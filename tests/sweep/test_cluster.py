"""Sweeps on Ray, on Slurm and by submitit on this machine: the jobs, points and ledger of local ones."""

from __future__ import annotations

import os
import re
import signal
import subprocess
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
from sweeping import QUICK, begin, environment, sweep_folders, sweep_in, with_faulty_net

from primer.tracking.journal import Record, read

JOBS = ("max_epochs=null", "max_steps=100", "net.fault=slow", "seed=0,1,2", "checkpoint_every_n_steps=3")
NUM_JOBS, NUM_STEPS = 3, 100  # of 50 ms
KEY = ["key", "step"]


@dataclass
class Cluster:
    """How a sweep gets there."""

    overrides: tuple[str, ...]
    env: dict[str, str]

    def train(self, cwd: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
        """`primer train -m` on this cluster, until its end."""
        words = (*QUICK, *self.overrides, *overrides)
        return primer("train", "-m", *words, cwd=with_faulty_net(cwd), env=environment() | self.env)

    def begin(self, cwd: Path, *overrides: str) -> subprocess.Popen[str]:
        """`primer train -m` on this cluster, while it goes on."""
        return begin(with_faulty_net(cwd), "train", "-m", *QUICK, *self.overrides, *overrides, env=self.env)


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
    done = sweep_in(cwd, *JOBS)
    assert done.returncode == 0, done.stdout + done.stderr
    return sweep_folders(cwd)[0]


def points_in(folder: Path, number: int) -> pd.DataFrame:
    """Every point of a job, each once."""
    points = pd.read_parquet(folder / str(number) / "curves.parquet").drop(columns="time")
    return points.sort_values(KEY, ignore_index=True)


def job_records(folder: Path, number: int) -> list[Record]:
    return read(folder / str(number))


def errors_of(folder: Path, number: int) -> list[Any]:
    """The errors that the attempts of a job ended with."""
    return [record["error"] for record in job_records(folder, number) if record["kind"] == "end"]


def worker_of(cwd: Path, number: int) -> int:
    """The process that trains a job, once it has a checkpoint."""
    (folder,) = sweep_folders(cwd)
    until(lambda: list((folder / str(number)).glob("checkpoints/step-*.ckpt")))
    pattern = f"primer.worker {re.escape(str(folder))}/{number}/config.yaml"
    until(lambda: subprocess.run(["pgrep", "-f", pattern], capture_output=True).returncode == 0)
    return int(subprocess.check_output(["pgrep", "-f", pattern], text=True))


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def check_whole(cwd: Path, local: Path) -> None:
    """Every job was trained to its end once, to the same points as on this machine, and is in MLflow."""
    (folder,) = sweep_folders(cwd)
    runs = MlflowClient(f"sqlite:///{cwd}/mlflow.db").search_runs(["1"])
    (parent,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    assert len(runs) == NUM_JOBS + 1
    assert {run.info.status for run in runs} == {"FINISHED"}
    client = MlflowClient(f"sqlite:///{cwd}/mlflow.db")
    for run in runs:
        if run is not parent:
            assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
            steps = [point.step for point in client.get_metric_history(run.info.run_id, "train/loss")]
            assert sorted(steps) == list(range(1, NUM_STEPS + 1))
    for number in range(NUM_JOBS):
        ends = [record["status"] for record in job_records(folder, number) if record["kind"] == "end"]
        assert ends.count("FINISHED") == 1
        pd.testing.assert_frame_equal(points_in(folder, number), points_in(local, number), check_exact=True)
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
    process = cluster.begin(tmp_path, *JOBS, "hydra.launcher.retries=1")
    until(lambda: sweep_folders(tmp_path))
    os.kill(worker_of(tmp_path, 0), signal.SIGKILL)
    os.kill(parent_of(worker_of(tmp_path, 1)), signal.SIGKILL)
    os.kill(parent_of(worker_of(tmp_path, 2)), signal.SIGTERM)  # the scheduler wants its node
    (folder,) = sweep_folders(tmp_path)
    until(lambda: errors_of(folder, 2))
    os.kill(worker_of(tmp_path, 2), signal.SIGKILL)  # its one retry is not spent yet
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, out + err
    check_whole(tmp_path, local)
    killed = "stopped by SIGKILL (by hand, or by the system for want of memory)"
    assert errors_of(folder, 0) == [killed, None]
    assert "ended" in errors_of(folder, 1)[0]
    assert errors_of(folder, 2) == ["stopped by SIGTERM", killed, None]


def test_ctrl_c_and_a_killed_controller_lose_nothing(cluster: Cluster, tmp_path: Path, local: Path) -> None:
    process = cluster.begin(tmp_path, *JOBS, "hydra.launcher.workers=2")
    until(lambda: sweep_folders(tmp_path))
    worker_of(tmp_path, 0)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130, out + err
    (folder,) = sweep_folders(tmp_path)
    assert f"resume {folder.relative_to(tmp_path)}" in out
    assert not (folder / "2").exists()
    again = begin(tmp_path, "resume", "last", env=cluster.env)
    until(lambda: any(record["kind"] == "resume" for record in job_records(folder, 0)))
    again.kill()
    again.communicate()
    done = primer("resume", "last", cwd=tmp_path, env=environment() | cluster.env)
    assert done.returncode == 0, done.stdout + done.stderr
    check_whole(tmp_path, local)


def test_a_job_that_takes_too_long_has_failed(cluster: Cluster, tmp_path: Path) -> None:
    slow = ("max_epochs=null", "max_steps=100000", "net.fault=slow", "seed=0,1")
    done = cluster.train(tmp_path, *slow, "hydra.launcher.timeout_minutes=0.2")
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stdout.count("FAILED: took longer than 0.2 minutes") == 2
    runs = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db").search_runs(["1"])
    assert {run.info.status for run in runs} == {"FAILED"}
