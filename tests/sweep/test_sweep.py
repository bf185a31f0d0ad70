"""A sweep's jobs fail alone, are told apart, and are one thing in MLflow; what they are is checked first."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import yaml
from mlflow import MlflowClient
from mlflow.entities import Run
from runs import primer
from sweeping import QUICK, Begin, environment, sweep_folders, sweep_in, with_faulty_net

from primer.gpus import visible_gpus

Sweep = Callable[..., subprocess.CompletedProcess[str]]
HEALTHY = 8
FAULTS = {
    "raise": ("FAILED", "ArithmeticError: one"),
    "kill": ("KILLED", "stopped by SIGKILL"),
    "memory": ("FAILED", "try a smaller batch_size"),
    "nonfinite": ("FAILED", "train/loss is nan at step 6"),
}


class Swept:
    """A sweep of twelve jobs, four of which fail."""

    def __init__(self, cwd: Path) -> None:
        self.cwd = with_faulty_net(cwd)
        values = [*(f"fine{number}" for number in range(HEALTHY)), *FAULTS]
        self.done = sweep_in(cwd, f"net.fault={','.join(values)}", "hydra.launcher.workers=2")
        (self.folder,) = sweep_folders(cwd)
        self.client = MlflowClient(f"sqlite:///{cwd}/mlflow.db")
        runs = self.client.search_runs(["1"])
        (self.parent,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
        self.children: dict[str, Run] = {
            run.data.params["net.fault"]: run for run in runs if run is not self.parent
        }


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Swept:
    return Swept(tmp_path_factory.mktemp("sweep"))


def test_one_failure_costs_one_job(swept: Swept) -> None:
    assert swept.done.returncode == 1
    assert f"({HEALTHY} FINISHED, 3 FAILED, 1 KILLED)" in swept.done.stdout
    rows = swept.done.stdout.splitlines()
    for number, (fault, (status, error)) in enumerate(FAULTS.items(), start=HEALTHY):
        assert any(re.match(rf" *{number} +fault={fault} s0 +{status} ", row) for row in rows)
        (line,) = [row for row in rows if row.startswith(f"job {number}  {status}: ")]
        assert error in line
        log = swept.cwd / line.split("(")[-1].removesuffix(")")
        assert log.exists()
    assert "Traceback" in (log.parent / "traceback.txt").read_text()


def test_failures_are_told_apart_in_mlflow(swept: Swept) -> None:
    assert len(swept.children) == HEALTHY + len(FAULTS)
    for fault, run in swept.children.items():
        status, error = FAULTS.get(fault, ("FINISHED", ""))
        assert run.info.status == status
        assert error in run.data.tags.get("primer.error", "")
        assert run.data.tags["mlflow.parentRunId"] == swept.parent.info.run_id
        assert run.data.tags["primer.sweep"] == swept.parent.info.run_id
        assert run.info.run_name == f"fault={fault} s0"


def test_the_parent_says_what_the_sweep_came_to(swept: Swept) -> None:
    tags = swept.parent.data.tags
    assert swept.parent.info.status == "FAILED"
    assert swept.parent.info.run_name == "net.fault"
    assert tags["primer.counts"] == f"{HEALTHY} FINISHED, 3 FAILED, 1 KILLED"
    best = re.search(r"best val/loss: \S+, of \[fault=fine\d s0\]\((\S+)\)", tags["mlflow.note.content"])
    assert best
    assert best[1].startswith("#/experiments/1/runs/")
    assert best[1].rpartition("/")[2] in {run.info.run_id for run in swept.children.values()}
    assert tags["mlflow.note.content"].count("\n|") == HEALTHY + len(FAULTS) + 2
    names = {file.path for file in swept.client.list_artifacts(swept.parent.info.run_id)}
    assert {"sweep.csv", "sweep.md", "multirun.yaml", "environment.json"} <= names
    assert "viewStateShareKey=" in swept.done.stdout
    with (swept.folder / "sweep.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["status"] for row in rows].count("FINISHED") == HEALTHY
    assert {row["run_id"] for row in rows} == {run.info.run_id for run in swept.children.values()}


def test_each_point_is_in_mlflow_once(swept: Swept) -> None:
    for folder in sorted(swept.folder.glob("[0-9]*")):
        curves = pd.read_parquet(folder / "curves.parquet")
        run_id = json.loads((folder / "mlflow.json").read_text())["run_id"]
        losses = curves[(curves["key"] == "train/loss") & curves["value"].notna()]
        history = swept.client.get_metric_history(run_id, "train/loss")
        assert [(point.step, point.value) for point in sorted(history, key=lambda point: point.step)] == list(
            zip(losses["step"], losses["value"], strict=True)
        )


def test_the_folder_is_as_hydra_leaves_one(swept: Swept) -> None:
    for number, fault in enumerate([*(f"fine{number}" for number in range(HEALTHY)), *FAULTS]):
        hydra = swept.folder / str(number) / ".hydra"
        assert f"net.fault={fault}" in yaml.safe_load((hydra / "overrides.yaml").read_text())
        assert yaml.safe_load((hydra / "config.yaml").read_text())["net"]["fault"] == fault
        job = yaml.safe_load((hydra / "hydra.yaml").read_text())["hydra"]["job"]
        assert job["num"] == number
    multirun = yaml.safe_load((swept.folder / "multirun.yaml").read_text())
    assert multirun["hydra"]["launcher"]["workers"] == 2


def test_the_same_command_again_tells_of_the_unfinished_sweep(sweep: Sweep, tmp_path: Path) -> None:
    killed = sweep("net.fault=kill,none")
    assert "(1 FINISHED, 1 KILLED)" in killed.stdout
    (first,) = sweep_folders(tmp_path)
    again = sweep("net.fault=kill,none", "hydra.launcher.timeout_minutes=0.0001")
    place = first.relative_to(tmp_path)
    assert f"(1 FINISHED, 1 KILLED); this is a new one, and primer resume {place}" in again.stderr
    assert again.stdout.count("took longer than 0.0001 minutes") == 4  # as they end, and in the table


@pytest.mark.parametrize(("fault", "status"), [("raise", "FAILED"), ("kill", "KILLED")])
def test_no_job_begins_after_a_failure_where_that_is_asked(sweep: Sweep, fault: str, status: str) -> None:
    """Killed, too: by the system, for want of memory."""
    done = sweep(f"net.fault={fault},none", "hydra.launcher.on_failure=stop", "hydra.launcher.workers=1")
    assert done.returncode == 1
    assert f"(1 {status}, 1 waiting)" in done.stdout


def test_what_is_wrong_with_any_job_stops_the_sweep_before_the_first(sweep: Sweep, tmp_path: Path) -> None:
    done = sweep("seed=0,1,x", "optimizer.lr=0.1,oops", "batch_size=4,0")
    assert done.returncode == 2
    assert done.stdout == ""
    found = [re.sub(r": expected.*", "", line) for line in done.stderr.splitlines()]
    assert found == [
        "primer: jobs 1, 5: batch_size=0",
        "primer: jobs 2, 3, 6 and 1 more: optimizer.lr=oops",
        "primer: jobs 8, 9, 10 and 1 more: seed=x",
    ]
    assert not (tmp_path / "outputs").exists()


WRONG = {
    "hydra.launcher.wrkers=2": "did you mean hydra.launcher.workers?",
    "hydra.launcher.on_failure=contine": "did you mean continue?",
    "hydra/launcher=locl": "no such option; did you mean local?",
    "hydra/launcher=basic": "does not run primer's jobs; expected local",
    "hydra.job.chdir=true": "jobs run where the sweep was begun",
    "optimizer.lrr=0.1": "did you mean optimizer.lr?",
    "seed=1,": "can't be read",
    "seed=range(0)": "seed: there is no value, and so no job",
    "seed=range(2),3": "Set[str]",
    "optimizer.lr=interval(0.1,1)": "hydra/sweeper=optuna, which searches it",
    "hydra/sweeper=optuna hydra.sweeper.sampler._target_=optuna.samplers.Nope": "no 'Nope'",
    "hydra.sweep.dir=/proc/nothing": "can't be made",
    "hydra.sweep.dir=": "expected a folder",
    "hydra.sweep.dir=${nope}": "Interpolation key 'nope' not found",
    "hydra.sweep.subdir=${nope}": "Interpolation key 'nope' not found",
    "+hydra.callbacks.mine._target_=typo.X": "typo.X",
    "activation=gelu,silu": "activation: is given twice",
    "activation=gelu": "activation: is given twice",
    "+hydra.callbacks.mine.target=typo.X": "hydra.callbacks.mine: expected _target_",
}


@pytest.mark.parametrize("override", WRONG)
def test_a_wrong_question_is_told_in_a_line(sweep: Sweep, override: str, tmp_path: Path) -> None:
    done = sweep("activation=relu,tanh", *override.split())
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert WRONG[override] in line
    assert not list(tmp_path.glob("outputs/*/*"))


def test_a_typed_name_is_as_it_was_meant_and_equal_jobs_are_told(sweep: Sweep) -> None:
    done = sweep('name="müll x"', "seed=1,1", "tracking=off")
    assert done.stderr == "primer: 1 of 2 jobs ask for what another one does\n"
    assert ": müll x (2 FINISHED)" in done.stdout
    assert re.search(r"^best    iris s1: val/loss [\d.]+$", done.stdout, re.MULTILINE)


def test_retries_go_on_in_the_same_run(sweep: Sweep, tmp_path: Path) -> None:
    done = sweep("net.fault=once", "hydra.launcher.retries=1", "checkpoint_every_n_steps=2")
    assert done.returncode == 0, done.stdout + done.stderr
    (job,) = tmp_path.glob("outputs/*/*/0")
    kinds = [json.loads(line.split(" ", 1)[1])["kind"] for line in (job / "journal").read_text().splitlines()]
    assert kinds.count("end") == 2
    assert kinds.count("resume") == 1
    runs = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db").search_runs(["1"])
    assert [run.info.status for run in runs] == ["FINISHED", "FINISHED"]


def test_gpus_are_shared_out_and_a_folder_is_never_used_twice(sweep: Sweep, tmp_path: Path) -> None:
    gpus = ("net.fault=gpu", "accelerator=auto", "hydra.launcher.gpus=[3,GPU-5]", "hydra.sweep.dir=mine")
    subdir = "hydra.sweep.subdir=${hydra.job.override_dirname}"
    done = sweep(*gpus, "seed=0,1,2,3", subdir, "tracking=off")
    assert done.returncode == 0, done.stdout + done.stderr
    assert sorted(set((tmp_path / "gpus").read_text().split())) == ["3", "GPU-5"]
    assert len(list((tmp_path / "mine").glob("*seed=*/journal"))) == 4
    again = sweep(*gpus, "seed=0,1,2,3")
    assert again.returncode == 2
    assert "is there already; expected a new folder" in again.stderr


def test_jobs_are_not_handed_gpus_they_can_not_share(sweep: Sweep, tmp_path: Path) -> None:
    done = sweep("seed=0,1", "hydra.launcher.gpus=[0]", "hydra.launcher.gpus_per_job=2")
    assert (done.returncode, done.stderr) == (2, "primer: hydra.launcher.gpus_per_job=2: found 0\n")
    done = sweep("seed=0,1", "hydra.launcher.gpus_per_job=0.7")
    assert done.returncode == 2
    assert "gpus_per_job=0.7: expected a whole number, or a share" in done.stderr
    assert not (tmp_path / "outputs").exists()


def test_jobs_that_train_on_the_cpu_leave_gpus_alone(sweep: Sweep, tmp_path: Path) -> None:
    gpus = ("net.fault=gpu", "accelerator=cpu", "hydra.launcher.gpus=[3]")
    assert sweep(*gpus, "seed=0,1", "tracking=off").returncode == 0
    assert set((tmp_path / "gpus").read_text().split()) <= {"none", os.environ.get("CUDA_VISIBLE_DEVICES")}


@pytest.mark.gpu
@pytest.mark.skipif(not visible_gpus(), reason="no GPU")
def test_jobs_of_a_sweep_train_on_one_gpu_at_once(sweep: Sweep, tmp_path: Path) -> None:
    done = sweep("net.fault=gpu", "accelerator=gpu", "seed=range(4)", "hydra.launcher.gpus_per_job=0.25")
    assert done.returncode == 0, done.stdout + done.stderr
    assert set((tmp_path / "gpus").read_text().split()) == {"0"}
    runs = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db").search_runs(["1"])
    assert [run.data.tags.get("primer.device") for run in runs].count("cuda:0") == 4


def test_two_sweeps_begun_at_once_share_nothing(tmp_path: Path) -> None:
    with_faulty_net(tmp_path)
    command = ["-m", *QUICK, "activation=relu,tanh", "tracking=local"]
    begun = [
        subprocess.Popen(
            [sys.executable, "-m", "primer", "train", *command],
            cwd=tmp_path,
            env=os.environ | environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for process in begun:
        out, err = process.communicate(timeout=240)
        assert process.returncode == 0, out + err
        assert err == ""
    first, second = sweep_folders(tmp_path)
    assert first != second
    runs = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db").search_runs(["1"])
    assert [run.info.status for run in runs] == ["FINISHED"] * 6
    assert len({run.data.tags.get("mlflow.parentRunId") for run in runs}) == 3
    assert primer("sync", cwd=tmp_path).stdout.splitlines() == ["6 of 6 runs are in MLflow, whole"]


def test_who_reads_the_output_may_go_away(begin: Begin, tmp_path: Path) -> None:
    process = begin(with_faulty_net(tmp_path), "train", "-m", *QUICK, "seed=0,1", "tracking=off")
    assert process.stdout
    assert process.stderr
    process.stdout.close()
    assert process.wait(timeout=120) == 0
    process.stderr.close()
    assert len(list(tmp_path.glob("outputs/*/*/*/curves.parquet"))) == 2


def test_where_nothing_is_validated_the_training_loss_is_told_as_what_it_is(tmp_path: Path) -> None:
    done = primer("train", "-m", "data=primer", "seed=0,1", "max_steps=3", "tracking=off", cwd=tmp_path)
    (folder,) = sweep_folders(tmp_path)
    lines = done.stdout.splitlines()
    assert "val/loss" not in done.stdout
    assert next(line for line in lines if line.startswith("job")).endswith("train/loss")
    assert [line.split()[-2] for line in lines if line[:2] in ("1/", "2/")] == ["train/loss"] * 2
    assert "train/loss" in next(line for line in lines if line.startswith("best"))
    assert "val/loss" not in (folder / "sweep.md").read_text()
    listed = primer("runs", str(folder), cwd=tmp_path).stdout
    assert "train/loss" in listed.splitlines()[0]
    assert "val/loss" not in listed


def test_a_job_that_can_not_be_begun_costs_itself_alone(sweep: Sweep) -> None:
    """As on a full disk; here a file is in the way of its folder."""
    done = sweep("seed=0,1", "+hydra.callbacks.mine._target_=writing_callback.InTheWay", "tracking=off")
    assert done.returncode == 1
    assert "job 0  FAILED: can't be begun" in done.stdout
    assert "(1 FINISHED, 1 FAILED)" in done.stdout
