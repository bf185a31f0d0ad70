"""A sweep that is stopped, or killed at any moment, goes on: each job is trained once, in its own run."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pandas as pd
import pytest
import yaml
from mlflow import MlflowClient
from runs import primer
from sweeping import QUICK, Begin, environment, sweep_folders, sweep_in, with_faulty_net

import primer as primer_package
from primer.errors import CantFuse
from primer.stopping import StopSignal
from primer.sweep import ledger
from primer.sweep.backend import Attempt
from primer.sweep.executor import Slot
from primer.sweep.fused import run_tile
from primer.sweep.job import JobMeans, run_job
from primer.sweep.stop import JobStop
from primer.tracking.journal import read
from primer.tracking.shipment import id_of

JOBS = ("net.fault=slow", "activation=relu,tanh", "seed=0,1,2", "checkpoint_every_n_steps=3")
NUM_JOBS = 6
KILLS = (6.0, 4.0, 9.0)  # seconds: while the libraries are imported, and while jobs train


def resume(cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return primer("resume", *arguments, cwd=cwd, env=environment())


def curves(folder: Path) -> list[pd.DataFrame]:
    """Every point of each job: metric, step, value."""
    files = [folder / str(number) / "curves.parquet" for number in range(NUM_JOBS)]
    return [pd.read_parquet(file).drop(columns="time") for file in files]


def ends(folder: Path) -> list[list[str]]:
    """How each job's attempts ended."""
    jobs = [read(folder / str(number)) for number in range(NUM_JOBS)]
    return [[record["status"] for record in job if record["kind"] == "end"] for job in jobs]


def until_training(cwd: Path, process: subprocess.Popen[str]) -> None:
    """Wait until a job has points."""
    deadline = time.monotonic() + 60
    while not any(b'"points"' in path.read_bytes() for path in cwd.glob("outputs/*/*/*/journal")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    cwd = with_faulty_net(tmp_path_factory.mktemp("undisturbed"))
    done = sweep_in(cwd, *JOBS)
    assert done.returncode == 0, done.stdout + done.stderr
    return sweep_folders(cwd)[0]


def test_a_controller_killed_again_and_again_loses_nothing(
    begin: Begin, tmp_path: Path, undisturbed: Path
) -> None:
    cwd = with_faulty_net(tmp_path)
    process = begin(cwd, "train", "-m", *QUICK, *JOBS)
    for seconds in KILLS:
        time.sleep(seconds)
        begin.kill(process)
        process = begin(cwd, "resume", "last")
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, out + err
    (folder,) = sweep_folders(cwd)
    assert [job[-1] for job in ends(folder)] == ["FINISHED"] * NUM_JOBS
    assert all(job.count("FINISHED") == 1 for job in ends(folder))
    for found, expected in zip(curves(folder), curves(undisturbed), strict=True):
        key = ["key", "step"]
        found = found.drop_duplicates().sort_values(key, ignore_index=True)
        pd.testing.assert_frame_equal(found, expected.sort_values(key, ignore_index=True), check_exact=True)
    client = MlflowClient(f"sqlite:///{cwd}/mlflow.db")
    runs = client.search_runs(["1"])
    assert len(runs) == NUM_JOBS + 1
    assert {run.info.status for run in runs} == {"FINISHED"}
    for run in runs:
        if "mlflow.parentRunId" in run.data.tags:
            steps = [point.step for point in client.get_metric_history(run.info.run_id, "train/loss")]
            assert sorted(steps) == list(range(1, 17))


def test_ctrl_c_ends_the_jobs_and_says_how_to_go_on(begin: Begin, tmp_path: Path, undisturbed: Path) -> None:
    cwd = with_faulty_net(tmp_path)
    process = begin(cwd, "train", "-m", *QUICK, *JOBS)
    until_training(cwd, process)
    os.kill(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, out + err
    (folder,) = sweep_folders(cwd)
    assert f"resume {folder.relative_to(cwd)}" in out
    if "sync sends it" in out:  # a busy machine: who pressed Ctrl-C does not wait for MLflow
        assert primer("sync", cwd=cwd, env=environment()).returncode == 0
    runs = MlflowClient(f"sqlite:///{cwd}/mlflow.db").search_runs(["1"])
    assert {run.info.status for run in runs} == {"KILLED"}
    refused = resume(cwd, "last", "optimizer=sgd")
    assert refused.returncode == 2
    assert "optimizer=sgd: would change the jobs of the sweep" in refused.stderr
    option = cwd / "conf" / "net" / "faulty.yaml"
    before = option.read_text()
    option.write_text(yaml.safe_dump(yaml.safe_load(before) | {"_target_": "faulty_net.OtherNet"}))
    changed = resume(cwd, "last")
    assert changed.returncode == 2
    assert "net._target_ faulty_net.FaultyNet -> faulty_net.OtherNet: the sweep's jobs were" in changed.stderr
    option.write_text(before)
    done = resume(cwd, str(folder), "hydra.launcher.workers=3")
    assert done.returncode == 0, done.stdout + done.stderr
    for found, expected in zip(curves(folder), curves(undisturbed), strict=True):
        assert set(map(tuple, found.to_numpy())) == set(map(tuple, expected.to_numpy()))
    again = resume(cwd, "last")
    assert again.returncode == 0
    assert "6 FINISHED, nothing was trained" in again.stderr


def test_a_sweep_whose_failed_job_went_on_by_itself_is_finished(tmp_path: Path) -> None:
    cwd = with_faulty_net(tmp_path)
    assert sweep_in(cwd, "net.fault=once", "seed=4").returncode == 1
    (folder,) = sweep_folders(cwd)
    alone = resume(cwd, str(folder / "0"))
    assert alone.returncode == 0, alone.stdout + alone.stderr
    assert read(folder)[-1]["status"] == "FAILED"
    done = resume(cwd, "last")
    assert done.returncode == 0, done.stdout + done.stderr
    assert read(folder)[-1]["status"] == "FINISHED"
    parent = MlflowClient(f"sqlite:///{cwd}/mlflow.db").get_run(str(id_of(folder)))
    assert parent.info.status == "FINISHED"


def test_a_job_that_somebody_finished_meanwhile_is_left_as_it_is(undisturbed: Path) -> None:
    (job, *_), begun = ledger.jobs_in(undisturbed), list[str]()
    before = (job.folder / "journal").read_bytes()
    means = JobMeans(job, None, JobStop(StopSignal()), print, lambda *_: pytest.fail("it trains"))
    found = run_job(means, {}, lambda: begun.append("begun"))
    assert found is not None
    assert (found.status, begun) == ("FINISHED", ["begun"])
    assert (job.folder / "journal").read_bytes() == before


def test_jobs_of_which_somebody_finished_one_meanwhile_do_not_go_on_as_one(undisturbed: Path) -> None:
    jobs = tuple(ledger.jobs_in(undisturbed)[:2])
    before = [(job.folder / "journal").read_bytes() for job in jobs]
    slot, stop = Slot(0, 1, None), JobStop(StopSignal())
    attempt = Attempt(undisturbed, jobs, slot, stop, {}, None, lambda _: None, lambda *_: None)
    with pytest.raises(CantFuse, match="is FINISHED by now"):
        run_tile(attempt, lambda *_: pytest.fail("it trains"))
    assert [(job.folder / "journal").read_bytes() for job in jobs] == before


def test_failed_jobs_go_on_when_they_are_asked_to(tmp_path: Path) -> None:
    cwd = with_faulty_net(tmp_path)
    failed = sweep_in(cwd, "net.fault=once", "seed=4")
    assert failed.returncode == 1
    assert "resume" in failed.stdout
    assert "--failed" in failed.stdout
    left = resume(cwd, "last")
    assert left.returncode == 1
    assert "1 FAILED, nothing was trained; --failed goes on with those that failed" in left.stderr
    done = resume(cwd, "last", "--failed")
    assert done.returncode == 0, done.stdout + done.stderr
    runs = MlflowClient(f"sqlite:///{cwd}/mlflow.db").search_runs(["1"])
    assert [run.info.status for run in runs] == ["FINISHED", "FINISHED"]


def test_a_controller_killed_after_the_last_job_leaves_only_the_end_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cwd = with_faulty_net(tmp_path)
    done = sweep_in(cwd, "seed=4")
    assert done.returncode == 0, done.stdout + done.stderr
    (folder,) = sweep_folders(cwd)
    lines = (folder / "journal").read_bytes().splitlines(keepends=True)
    (folder / "journal").write_bytes(b"".join(line for line in lines if b'"kind":"end"' not in line))
    client = MlflowClient(f"sqlite:///{cwd}/mlflow.db")
    (parent,) = [run for run in client.search_runs(["1"]) if "primer.sweep" not in run.data.tags]
    client.update_run(parent.info.run_id, status="RUNNING")
    monkeypatch.chdir(cwd)
    result = primer_package.resume("last")  # from Python, too
    assert isinstance(result, primer_package.SweepResult)
    assert (result.status, result.exit_code, result.is_shipped) == ("FINISHED", 0, True)
    assert result.name == parent.info.run_name
    assert client.get_run(parent.info.run_id).info.status == "FINISHED"
    assert [record["kind"] for record in read(folder / "0")].count("start") == 1
    with pytest.raises(primer_package.UsageError, match="is a sweep; expected one of its jobs"):
        primer_package.reproduce("last")
    with pytest.raises(primer_package.UsageError, match="--fork is for one run, but last is a sweep"):
        primer_package.resume("last", fork=True)


@pytest.mark.parametrize("num_planned", [0, 2])
def test_a_controller_killed_while_it_wrote_the_plan_leaves_no_smaller_sweep(
    begin: Begin, tmp_path: Path, num_planned: int
) -> None:
    cwd = with_faulty_net(tmp_path)
    process = begin(cwd, "train", "-m", *QUICK, "seed=0,1,2")
    until_training(cwd, process)
    begin.kill(process)
    (folder,) = sweep_folders(cwd)
    time.sleep(2)  # its jobs notice
    for number in range(3):
        shutil.rmtree(folder / str(number), ignore_errors=True)
    (folder / "mlflow.json").unlink(missing_ok=True)
    for path in cwd.glob("mlflow.db*"):
        path.unlink()
    lines = (folder / "journal").read_bytes().splitlines(keepends=True)
    (folder / "journal").write_bytes(b"".join(lines[: 1 + num_planned]) + lines[1 + num_planned][:20])
    done = resume(cwd, str(folder))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 FINISHED" in done.stdout
    runs = MlflowClient(f"sqlite:///{cwd}/mlflow.db").search_runs(["1"])
    assert [run.info.status for run in runs] == ["FINISHED"] * 4
    assert len([run for run in runs if "mlflow.parentRunId" in run.data.tags]) == 3
    numbers = [record["number"] for record in read(folder) if record["kind"] == "job"]
    assert numbers == [0, 1, 2]


def test_ctrl_c_on_a_terminal_while_the_libraries_are_imported(begin: Begin, tmp_path: Path) -> None:
    """A terminal sends it to every process in front of it, to the one that workers are forked from, too."""
    cwd = with_faulty_net(tmp_path)
    process = begin(cwd, "train", "-m", *QUICK, "seed=0,1,2", "hydra.launcher.workers=2")
    deadline = time.monotonic() + 60
    while not list(cwd.glob("outputs/*/*/0/journal")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (130, ""), out + err
    assert "KILLED" in out
    assert "FAILED" not in out
    done = resume(cwd, "last")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 FINISHED" in done.stdout


def test_a_sweep_that_was_killed_in_its_plan_is_not_the_last_run(tmp_path: Path) -> None:
    empty = tmp_path / "outputs" / "2026-01-01" / "120000-seed"
    empty.mkdir(parents=True)
    (empty / "journal").touch()
    (empty / "multirun.yaml").touch()
    for run, words in (("last", "there is no run"), (str(empty), "nothing was begun there; expected")):
        done = resume(tmp_path, run)
        assert done.returncode == 2
        assert words in done.stderr


def test_runs_deleted_in_mlflow_stay_so_and_are_told(tmp_path: Path) -> None:
    cwd = with_faulty_net(tmp_path)
    assert sweep_in(cwd, "net.fault=once", "seed=4").returncode == 1
    client = MlflowClient(f"sqlite:///{cwd}/mlflow.db")
    for run in client.search_runs(["1"]):
        client.delete_run(run.info.run_id)
    done = resume(cwd, "last", "--failed")
    assert done.stderr.count("its run was deleted in MLflow, and stays so") == 2
    assert primer("sync", cwd=cwd).stdout.splitlines()[-1] == "0 of 2 runs are in MLflow, whole"
    assert client.search_runs(["1"]) == []
