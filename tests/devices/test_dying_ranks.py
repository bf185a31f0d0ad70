"""When one rank of a run comes to harm all end, the run says which it was, and goes on where it was."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from forked_ranks import ENV, ByRanks, Curves, check_same_curves, trained
from hurt_net import NUM_STEPS
from runs import primer, run_folders

from primer.tracking.journal import Record, points_of, read
from primer.training.checkpoint import Checkpoints

QUICK = (
    "data=iris",
    "batch_size=16",
    "max_epochs=null",
    f"max_steps={NUM_STEPS}",
    "precision=64",
    "checkpoint_every_n_steps=10",
)
HURT = ("--config-dir", "conf", "net=hurt")


def with_hurt_net(cwd: Path) -> Path:
    """A working directory with `net=hurt` in its conf."""
    (cwd / "conf" / "net").mkdir(parents=True)
    option = {"_target_": "hurt_net.HurtNet", "faults": ["none", "none"], "at": "step"}
    (cwd / "conf" / "net" / "hurt.yaml").write_text(yaml.safe_dump(option))
    return cwd


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Curves:
    """The curves of the run on one device that nothing befalls."""
    cwd = with_hurt_net(tmp_path_factory.mktemp("undisturbed"))
    return trained(cwd / "run", 1, *QUICK, "net=hurt", config_dir=cwd / "conf").curves()


def processes_of(cwd: Path) -> list[int]:
    """The processes that work on a run below a folder; of one that is dead already /proc tells no command."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if f"{cwd}/outputs".encode() in (process / "cmdline").read_bytes():
                found.append(int(process.name))
    return found


class Hurt:
    """A run of two ranks of the command line, which came to harm in step 19; `faults`: of each."""

    def __init__(self, cwd: Path, faults: str) -> None:
        self.cwd = with_hurt_net(cwd)
        asked = (*HURT, f"net.faults=[{faults}]", *QUICK, "tracking=off")
        try:
            self.done = primer("train", "accelerator=ddp_cpu", "devices=2", *asked, cwd=cwd, env=ENV)
        finally:
            self.left = processes_of(cwd)
            for pid in self.left:
                os.kill(pid, signal.SIGKILL)
        (self.folder,) = run_folders(cwd)
        self.ranks = {
            int(path.name): json.loads(path.read_text()) for path in self.folder.glob("ranks/[0-9]")
        }

    def check_over(self, exit_code: int, status: str, *words: str) -> None:
        """It ended so, told in those words, and no process of it is left."""
        assert self.done.returncode == exit_code, self.done.stdout + self.done.stderr
        assert status in self.done.stdout
        end = self.records("end")[-1]
        assert end["status"] == status
        for word in words:
            assert word in end["error"]
            assert word in self.done.stdout
        assert "Traceback" not in self.done.stdout + self.done.stderr
        assert sorted(self.ranks) == [0, 1]
        assert self.ranks[0]["pid"] != self.ranks[1]["pid"]
        assert self.left == []

    def records(self, kind: str) -> list[Record]:
        """What the journal holds of a kind."""
        return [record for record in read(self.folder) if record["kind"] == kind]


@pytest.fixture(scope="module", autouse=True)
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Future[Hurt]]:
    """A run of which a rank is stopped, waited for beside the other tests."""
    with ThreadPoolExecutor() as pool:
        yield pool.submit(Hurt, tmp_path_factory.mktemp("stopped"), "none,SIGSTOP")


def test_a_killed_rank(tmp_path: Path) -> None:
    run = Hurt(tmp_path, "none,SIGKILL")
    run.check_over(1, "FAILED", "rank 1 was killed by SIGKILL (by hand, or by the system for want of memory)")


def test_a_killed_first_rank(tmp_path: Path, undisturbed: Curves) -> None:
    """While the other one hangs, which does not see it; then the run goes on on one device."""
    run = Hurt(tmp_path, "SIGKILL,SIGSTOP")
    run.check_over(1, "FAILED", "rank 0 was killed by SIGKILL (by hand, or by the system for want of memory)")
    done = primer("resume", str(run.folder), "accelerator=cpu", cwd=tmp_path, env=ENV)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [(start["step"], start["num_devices"]) for start in run.records("start")] == [(0, 2), (10, 1)]
    check_same_curves(points_of(read(run.folder)), undisturbed, within=1e-9)
    assert run.records("warning") == []  # though it rounds otherwise


def test_a_rank_that_is_asked_to_stop(tmp_path: Path) -> None:
    run = Hurt(tmp_path, "none,SIGTERM")
    run.check_over(128 + signal.SIGTERM, "KILLED", "stopped by SIGTERM")
    state, _, complaints = Checkpoints(run.folder / "checkpoints").newest_whole()
    assert state is not None
    assert not complaints
    assert state["global_step"] == max(
        step for key, step in points_of(read(run.folder)) if key == "train/loss"
    )


@pytest.mark.parametrize("at", ["end", "begin"])
def test_a_rank_that_is_asked_to_stop_outside_of_steps(
    tmp_path: Path, at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a signal ends it at once; the others stop, too, and none says that anything went wrong."""
    monkeypatch.chdir(with_hurt_net(tmp_path))
    asked = (*QUICK, "net=hurt", "net.faults=[none,SIGTERM]", f"net.at={at}")
    run = ByRanks(tmp_path / "run", 2, *asked, config_dir=tmp_path / "conf")
    assert run.work() == [128 + signal.SIGTERM] * 2, run.log()
    assert [record["message"] for record in read(run.folder) if record["kind"] == "error"] == []


def test_an_exception_on_one_rank(tmp_path: Path) -> None:
    run = Hurt(tmp_path, "none,raise")
    run.check_over(1, "FAILED", "rank 1: ArithmeticError: of one rank")
    assert "hurt_net.py" in (run.folder / "worker.log").read_text()


def test_a_stopped_rank(stopped: Future[Hurt]) -> None:
    """Stopped, as one is whose machine hangs: it is seen by its silence."""
    run = stopped.result()
    run.check_over(1, "FAILED", f"rank 1 does not answer for 20 s (process {run.ranks[1]['pid']} on ")
