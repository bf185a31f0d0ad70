"""Processes that torchrun or srun started become the ranks of one run, or each trains one of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from forked_ranks import ENV, check_same_curves, stored_runs, trained
from runs import run_folders

from primer.tracking.journal import points_of, read

BIN = Path(sys.executable).parent
QUICK = ("data=iris", "batch_size=16", "max_epochs=null", "max_steps=14", "precision=64")
WAIT_S = 120  # for a task that would wait for longer
SHARED = ("accelerator=ddp_cpu",)


def check_one_run(cwd: Path, *net: str, said: str) -> None:
    """There is one run, which two ranks trained to its end, and it was told once."""
    (folder,) = run_folders(cwd)
    (start,) = [record for record in read(folder) if record["kind"] == "start"]
    assert start["num_devices"] == 2
    assert sorted(path.name for path in folder.glob("ranks/[0-9]*")) == ["0", "1"]
    assert said.count("FINISHED in") == 1
    conf = cwd / "conf" if net else None
    alone = trained(cwd / "alone", 1, *QUICK, *net, config_dir=conf)
    check_same_curves(points_of(read(folder)), alone.curves(), within=1e-12)


def test_torchrun_starts_one_run(tmp_path: Path) -> None:
    command = [str(BIN / "torchrun"), "--nproc-per-node=2", f"--log-dir={tmp_path}/log", "--no-python"]
    done = subprocess.run(
        [*command, str(BIN / "primer"), "train", *SHARED, *QUICK, "tracking=off"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    check_one_run(tmp_path, said=done.stdout)


def test_a_killed_rank_of_torchrun_is_named(tmp_path: Path) -> None:
    """torchrun asks the others to stop, before they know of it or while they find out."""
    (tmp_path / "conf" / "net").mkdir(parents=True)
    option = "_target_: hurt_net.HurtNet\nfaults: [none, SIGKILL]\nat: step\n"
    (tmp_path / "conf" / "net" / "hurt.yaml").write_text(option)
    command = [str(BIN / "torchrun"), "--nproc-per-node=2", f"--log-dir={tmp_path}/log", "--no-python"]
    own = ("--config-dir", "conf", "net=hurt", "tracking=off", "data=iris", "max_steps=40")
    done = subprocess.run(
        [*command, str(BIN / "primer"), "train", *SHARED, *own],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=os.environ | ENV,
    )
    assert done.returncode == 1
    (folder,) = run_folders(tmp_path)
    end = read(folder)[-1]
    assert (end["kind"], end["status"]) == ("end", "FAILED"), done.stdout + done.stderr
    pid = json.loads((folder / "ranks" / "1").read_text())["pid"]
    assert end["error"].startswith(f"RunError: rank 1 is gone (process {pid} on ")
    assert "FAILED in" in done.stdout


class Tasks:
    """`primer COMMAND` in two tasks of a step of a job, as srun starts them on a node."""

    def __init__(self, cwd: Path, *command: str, step: int = 0) -> None:
        job = {"SLURM_JOB_ID": "7", "SLURM_STEP_ID": str(step), "SLURM_NTASKS": "2", "SLURM_NNODES": "1"}
        tasks = [
            subprocess.Popen(
                [str(BIN / "primer"), *command],
                cwd=cwd,
                env=os.environ
                | ENV
                | job
                | {"SLURM_PROCID": rank, "SLURM_LOCALID": rank, "SLURM_NODEID": "0"},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for rank in "01"
        ]
        try:
            self.printed = [task.communicate(timeout=WAIT_S) for task in tasks]
        finally:
            for task in tasks:
                task.kill()
                task.communicate()
        self.exit_codes = [task.returncode for task in tasks]


def test_two_tasks_of_srun_are_one_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "conf" / "net").mkdir(parents=True)
    (tmp_path / "conf" / "net" / "telling.yaml").write_text("_target_: hurt_net.TellingNet\ntoken: none\n")
    own = ("--config-dir", "conf", "net=telling", "net.token=sesame")
    tasks = Tasks(tmp_path, "train", *QUICK, *SHARED, "tracking.log_model=false", *own)
    assert tasks.exit_codes == [0, 0], tasks.printed
    assert tasks.printed[1] == ("", "")
    monkeypatch.chdir(tmp_path)
    check_one_run(tmp_path, "net=telling", said=tasks.printed[0][0])
    (run,) = stored_runs(tmp_path, tasks.printed[0][0])
    assert run.info.status == "FINISHED"
    (folder,) = run_folders(tmp_path)
    ranks = [json.loads((folder / "ranks" / name).read_text())["pid"] for name in ("0", "1")]
    assert [json.loads((tmp_path / f"made-{pid}").read_text())["token"] for pid in ranks] == ["sesame"] * 2


@pytest.mark.parametrize(
    ("asked", "line"),
    [
        ("optimizer.lr=abc", "optimizer.lr=abc: expected a number, at least 0"),
        ("devices=3", "accelerator.devices=3: srun started 2 processes on this node; expected 2 or null"),
    ],
)
def test_a_wrong_question_is_told_once(tmp_path: Path, asked: str, line: str) -> None:
    tasks = Tasks(tmp_path, "train", *QUICK, *SHARED, asked)
    assert tasks.exit_codes == [2, 2], tasks.printed
    assert tasks.printed == [("", f"primer: {line}\n"), ("", "")]
    assert run_folders(tmp_path) == []


@pytest.fixture(scope="module")
def own_runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Tasks]:
    """Two tasks of a run on one device, and where they were."""
    cwd = tmp_path_factory.mktemp("own")
    return cwd, Tasks(cwd, "train", *QUICK, "accelerator=cpu", "tracking=off")


def test_tasks_of_one_device_each_are_runs_of_their_own(own_runs: tuple[Path, Tasks]) -> None:
    cwd, tasks = own_runs
    assert tasks.exit_codes == [0, 0], tasks.printed
    assert all("FINISHED in" in out for out, _ in tasks.printed)
    one, other = (points_of(read(folder)) for folder in run_folders(cwd))
    assert one == other


def test_tasks_that_have_nothing_to_go_on_with_both_end(own_runs: tuple[Path, Tasks]) -> None:
    cwd, _ = own_runs
    tasks = Tasks(cwd, "resume", str(run_folders(cwd)[0]), step=1)
    assert tasks.exit_codes == [0, 0]
    assert "is FINISHED, nothing was trained" in tasks.printed[0][1]


def test_the_word_of_an_earlier_command_of_a_step_is_not_taken(own_runs: tuple[Path, Tasks]) -> None:
    cwd, _ = own_runs
    assert Tasks(cwd, "train", "optimizer.lr=abc", step=2).exit_codes == [2, 2]
    assert Tasks(cwd, "resume", str(run_folders(cwd)[0]), step=2).exit_codes == [0, 0]
