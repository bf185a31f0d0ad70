"""However a run ends, its journal and MLflow say so, and no process of it is left."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from going import AS_MUCH_AS, Going

from primer import sweep, train
from primer.errors import ConfigError, SweepError
from primer.sync import settle
from primer.tracking.facts import host
from primer.tracking.journal import Journal, read
from primer.tracking.store import Store
from primer.tracking.tags import HOST
from primer.training.checkpoint import Checkpoints


def stop(going: Going, *numbers: int, at: str = "points") -> Going:
    """Send signals to the controller once the journal holds a record of a kind."""
    going.until(lambda: going.records(at))
    for number in numbers:
        going.run.send_signal(number)
    return going.over()


def hit_worker(going: Going, number: int) -> Going:
    """Send a signal to the worker alone."""
    going.until(lambda: len(going.steps()) > 10)
    os.kill(going.worker(), number)
    return going.over()


def lose_controller(going: Going, at: Callable[[Going], Any]) -> Going:
    """Kill the controller; the worker is to end by itself."""
    going.until(lambda: at(going))
    going.run.kill()
    going.over()
    going.until(lambda: not going.processes())
    going.left = []
    going.sync()
    return going


def stop_in(going: Going, marker: str, number: int) -> Going:
    """Send a signal once a file is there."""
    going.until(lambda: any(going.cwd.glob(marker)))
    going.run.send_signal(number)
    return going.over()


def hang_up(going: Going) -> Going:
    """Close the terminal of a run that does not care."""
    going.until(lambda: going.records("points"))
    for process in (going.run.pid, going.worker()):
        os.kill(process, signal.SIGHUP)
    return going.over()


INT, TERM, HUP, USR1, KILL = (signal.Signals[f"SIG{name}"] for name in ("INT", "TERM", "HUP", "USR1", "KILL"))
SCENARIOS: dict[str, tuple[tuple[str, ...], Callable[[Going], Going]]] = {
    "saving": (
        ("max_steps=8", "tracking.log_model=true"),
        lambda run: stop_in(run, "outputs/*/*/.model", TERM),
    ),
    "INT": ((), lambda run: stop(run, INT)),
    "TERM": ((), lambda run: stop(run, TERM)),
    "twice": (("net.nap=4", "val_every_n_steps=1000"), lambda run: stop(run, INT, TERM)),
    "worker killed": ((), lambda run: hit_worker(run, KILL)),
    "worker stopped": ((), lambda run: hit_worker(run, TERM)),
    "controller killed": ((), lambda run: lose_controller(run, lambda going: len(going.steps()) > 10)),
    "controller killed at once": (("max_steps=200",), lambda run: lose_controller(run, Going.worker)),
    "exception": (("net.breaks=30",), Going.over),
    "memory": (("net.eats=30",), Going.over),
    "validating": (
        ("net.val_nap=0.5", "val_every_n_steps=10", "net.nap=0"),
        lambda run: stop_in(run, "validating", USR1),
    ),
    "starting": ((), lambda run: stop(run, HUP, at="run")),
    "nohup": (("max_steps=60",), hang_up),
}
FIRST = {"memory": AS_MUCH_AS, "nohup": "trap '' HUP"}


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[Going]]]:
    """All runs, three at a time."""
    root = tmp_path_factory.mktemp("endings")
    store = f"sqlite:///{root / 'mlflow.db'}"
    Store(store)
    going: list[Going] = []

    def see(name: str) -> Going:
        overrides, to_its_end = SCENARIOS[name]
        run = Going(root / name.replace(" ", "_"), store, *overrides, first=FIRST.get(name, "true"))
        going.append(run)
        return to_its_end(run)

    with ThreadPoolExecutor(3) as pool:
        yield {name: pool.submit(see, name) for name in SCENARIOS}
        pool.shutdown(cancel_futures=True)
    for run in going:
        run.output()


def killed(run: Going, exit_code: int | None, word: str) -> None:
    """It is KILLED, everywhere, and nothing of it is left."""
    assert run.exit_code == exit_code, run.printed + run.complaint
    end = run.records("end")[-1]
    assert (end["status"], run.stored().info.status) == ("KILLED", "KILLED")
    assert word in end["error"]
    assert run.stored().data.tags["primer.error"] == end["error"]
    assert run.left == []


def is_saved_where_it_stopped(run: Going) -> bool:
    """Whether the newest checkpoint is whole and of the last step that was recorded."""
    state, _, complaints = Checkpoints(run.folder / "checkpoints").newest_whole()
    return state is not None and state["global_step"] == run.steps()[-1] and not complaints


@pytest.mark.parametrize("number", [INT, TERM])
def test_a_signal_stops_after_the_step_with_a_checkpoint(
    ended: dict[str, Future[Going]], number: signal.Signals
) -> None:
    run = ended[number.name.removeprefix("SIG")].result()
    killed(run, 128 + number, f"stopped by {number.name}")
    assert is_saved_where_it_stopped(run)
    assert "KILLED" in run.printed
    assert "resume outputs" in run.printed


def test_a_second_signal_kills_and_the_first_one_counts(ended: dict[str, Future[Going]]) -> None:
    run = ended["twice"].result()
    killed(run, 130, "stopped by SIGINT")
    assert not list(run.folder.glob("checkpoints/step-*"))  # the step of four seconds was not waited for


def test_a_worker_that_is_killed(ended: dict[str, Future[Going]]) -> None:
    run = ended["worker killed"].result()
    killed(run, 137, "stopped by SIGKILL (by hand, or by the system for want of memory)")
    assert len(run.steps()) > 10


def test_a_worker_that_is_asked_to_stop(ended: dict[str, Future[Going]]) -> None:
    run = ended["worker stopped"].result()
    killed(run, 143, "stopped by SIGTERM")
    assert is_saved_where_it_stopped(run)


def test_a_worker_whose_controller_was_killed_saves_and_ends(ended: dict[str, Future[Going]]) -> None:
    run = ended["controller killed"].result()
    killed(run, -9, "its process or its machine died")
    assert is_saved_where_it_stopped(run)


def test_a_controller_that_is_killed_before_its_worker_has_begun(ended: dict[str, Future[Going]]) -> None:
    run = ended["controller killed at once"].result()
    killed(run, -9, "its process or its machine died")
    assert not run.records("start")  # the worker noticed, and did not train for nobody


def test_an_exception_of_a_net(ended: dict[str, Future[Going]]) -> None:
    run = ended["exception"].result()
    assert run.exit_code == 1
    assert "FAILED" in run.printed
    assert "\nArithmeticError: forward 30\n" in run.printed
    assert "Traceback" not in run.printed + run.complaint
    assert run.records("end")[-1]["status"] == run.stored().info.status == "FAILED"
    assert run.stored().data.tags["primer.error"] == "ArithmeticError: forward 30"
    assert {"traceback.txt", "worker.log", "config.yaml", "curves.png"} <= set(run.artifacts())
    assert "odd_nets.py" in (run.folder / "traceback.txt").read_text()
    assert run.steps() == list(range(1, 30))
    assert run.left == []


def test_too_little_memory_is_told_with_a_hint(ended: dict[str, Future[Going]]) -> None:
    run = ended["memory"].result()
    assert run.exit_code == 1, run.printed + run.complaint
    error = run.records("end")[-1]["error"]
    assert "memory" in error
    assert error.endswith("; try a smaller batch_size")
    assert run.stored().info.status == "FAILED"
    assert run.stored().data.tags["primer.error"] == error
    assert run.left == []


def test_a_signal_in_a_validation_waits_for_it(ended: dict[str, Future[Going]]) -> None:
    run = ended["validating"].result()
    killed(run, 138, "stopped by SIGUSR1")
    assert is_saved_where_it_stopped(run)
    assert run.steps()[-1] == 10
    assert [r["steps"] for r in run.records("points") if r["key"] == "val/loss"] == [[10]]


def test_a_signal_before_training(ended: dict[str, Future[Going]]) -> None:
    run = ended["starting"].result()
    killed(run, 129, "stopped by SIGHUP")
    assert not run.steps()


def test_a_signal_while_the_model_is_saved(ended: dict[str, Future[Going]]) -> None:
    run = ended["saving"].result()
    killed(run, 143, "stopped by SIGTERM")
    assert not run.records("warning")
    assert is_saved_where_it_stopped(run)


def test_what_nohup_started_does_not_hear_a_terminal_close(ended: dict[str, Future[Going]]) -> None:
    run = ended["nohup"].result()
    assert run.exit_code == 0, run.printed + run.complaint
    assert run.stored().info.status == "FINISHED"
    assert run.steps() == list(range(1, 61))
    assert run.left == []


def test_a_run_that_ends_while_it_is_looked_at_keeps_its_end(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal, (tmp_path / "journal").open("rb") as asking:
        journal.write("run", tags={HOST: host()})
        fcntl.flock(asking, fcntl.LOCK_SH)  # nobody holds it, and who would must wait
        with ThreadPoolExecutor() as pool:
            settled = pool.submit(settle, [tmp_path])
            time.sleep(0.4)
            journal.write("end", status="FINISHED", error=None)
            fcntl.flock(asking, fcntl.LOCK_UN)
            assert settled.result() == []
    assert [record.get("status") for record in read(tmp_path)] == [None, "FINISHED"]


def test_what_never_began_takes_nothing_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    mine, key = tmp_path / "mine" / "results" / "a", tmp_path / "outputs" / ".key"
    mine.mkdir(parents=True)
    (mine.parent / ".key").write_text("of mine")
    with pytest.raises(SweepError, match="abc"):
        sweep("hydra.sweep.dir=mine/results/a", "optimizer.lr=0.1,abc")
    assert list(mine.iterdir()) == []
    assert (mine.parent / ".key").exists()
    assert not key.parent.exists()
    key.parent.mkdir()
    key.write_bytes(b"k" * 32)  # of runs that were begun elsewhere, by another process
    with pytest.raises(ConfigError, match="no validation row"):
        train("data=iris", "data.val_fraction=0.001")
    assert key.read_bytes() == b"k" * 32
    assert [path.name for path in key.parent.iterdir()] == [".key"]
    key.unlink()
    with pytest.raises(ConfigError, match="no validation row"):
        train("data=iris", "data.val_fraction=0.001")
    assert not key.parent.exists()


def test_what_an_encoding_has_no_letter_for_is_spelled_out() -> None:
    program = "from primer.output import endure; endure(); print('na\\u00efve')"
    variables = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        [sys.executable, "-c", program], env=variables, capture_output=True, text=True, check=True
    )
    assert done.stdout == "na\\xefve\n"
