"""A search proposes jobs as slots are free, stops the hopeless, and goes on where a kill left it."""

from __future__ import annotations

import time
from pathlib import Path

from mlflow import MlflowClient
from runs import primer
from sweeping import QUICK, Begin, environment, sweep_folders, sweep_in, with_faulty_net

from primer.tracking.journal import read

SEARCH = ("hydra/sweeper=optuna", "optimizer.lr=tag(log,interval(1e-3,1e-1))", "activation=relu,tanh")
SLOW = ("net.fault=slow", "hydra.launcher.workers=2")


def jobs_of(folder: Path) -> list[Path]:
    return sorted((path.parent for path in folder.glob("[0-9]*/journal")), key=lambda path: int(path.name))


def test_a_killed_search_goes_on_to_the_number_of_jobs_it_was_asked_for(begin: Begin, tmp_path: Path) -> None:
    cwd = with_faulty_net(tmp_path)
    process = begin(cwd, "train", "-m", *QUICK, *SEARCH, *SLOW, "hydra.sweeper.n_trials=5")
    while len(list(cwd.glob("outputs/*/*/*/journal"))) < 3:
        assert process.poll() is None
        time.sleep(0.05)
    begin.kill(process)
    (folder,) = sweep_folders(cwd)
    assert len(jobs_of(folder)) < 5
    done = primer("resume", "last", cwd=cwd, env=environment())
    assert done.returncode == 0, done.stdout + done.stderr
    assert [job.name for job in jobs_of(folder)] == list("01234")
    for job in jobs_of(folder):
        assert [record["status"] for record in read(job) if record["kind"] == "end"][-1:] == ["FINISHED"]
    more = primer("resume", "last", "hydra.sweeper.n_trials=6", cwd=cwd, env=environment())
    assert more.returncode == 0, more.stdout + more.stderr
    assert len(jobs_of(folder)) == 6
    runs = MlflowClient(f"sqlite:///{cwd}/mlflow.db").search_runs(["1"])
    assert [run.info.status for run in runs] == ["FINISHED"] * 7
    assert len({run.data.params["optimizer.lr"] for run in runs if run.data.params}) == 6


def test_a_hopeless_job_is_stopped_and_has_not_failed(tmp_path: Path) -> None:
    cwd = with_faulty_net(tmp_path)
    target = "hydra.sweeper.pruner._target_=optuna.pruners.ThresholdPruner"
    upper = "+hydra.sweeper.pruner.upper=0.01"
    done = sweep_in(cwd, *SEARCH, *SLOW, "hydra.sweeper.n_trials=2", target, upper)
    assert done.returncode == 0, done.stdout + done.stderr
    runs = MlflowClient(f"sqlite:///{cwd}/mlflow.db").search_runs(["1"], "tags.`primer.pruned` = 'true'")
    assert [run.info.status for run in runs] == ["FINISHED", "FINISHED"]
    (folder,) = sweep_folders(cwd)
    losses = [record for job in jobs_of(folder) for record in read(job) if record.get("key") == "train/loss"]
    assert max(record["steps"][-1] for record in losses) < 16


def test_a_space_with_a_wrong_corner_is_told_before_the_first_job(tmp_path: Path) -> None:
    cwd = with_faulty_net(tmp_path)
    done = sweep_in(cwd, "hydra/sweeper=optuna", "optimizer.lr=interval(-1,1)", "activation=relu,gelo")
    assert (done.returncode, done.stdout) == (2, "")
    assert "optimizer.lr=-1: expected" in done.stderr or "optimizer.lr=-1.0: expected" in done.stderr
    assert "did you mean activation=gelu" in done.stderr
    assert not (cwd / "outputs").exists()
