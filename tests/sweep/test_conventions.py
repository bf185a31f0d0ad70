"""What users of Hydra count on: their callbacks are called, and their sweeper learns what jobs came to."""

from __future__ import annotations

import ast
import time
from pathlib import Path

import pytest
import yaml
from mlflow import MlflowClient
from runs import primer
from sweeping import QUICK, Begin, environment, sweep_folders, sweep_in, with_faulty_net

from primer.tracking.curves import last_values
from primer.tracking.journal import read

CALLBACK = "+hydra.callbacks.mine._target_=writing_callback.WritingCallback"
SWEEPER = ("hydra/sweeper=climbing", "hydra.launcher.workers=1")


@pytest.fixture
def cwd(tmp_path: Path) -> Path:
    """A working directory whose conf has the sweeper."""
    with_faulty_net(tmp_path)
    place = tmp_path / "conf" / "hydra" / "sweeper"
    place.mkdir(parents=True)
    option = {"_target_": "hydra_plugins.climbing.Climbing"}
    (place / "climbing.yaml").write_text("# @package hydra.sweeper\n" + yaml.safe_dump(option))
    return tmp_path


def test_any_sweeper_is_told_what_its_jobs_came_to(cwd: Path) -> None:
    done = sweep_in(cwd, *SWEEPER, CALLBACK)
    assert done.returncode == 0, done.stdout + done.stderr
    (folder,) = sweep_folders(cwd)
    first, second = ast.literal_eval((cwd / "climbed").read_text())
    best = min(first, key=first.get)
    assert list(first) == [0.001, 0.01]
    assert list(second) == [2 * best, 4 * best]
    values = [*first.values(), *second.values()]
    assert values == [last_values(read(folder / str(number)))["best/val/loss"] for number in range(4)]
    starts = [
        line
        for number, (lr, value) in enumerate({**first, **second}.items())
        for line in (f"job_start {number} {lr} {folder / str(number)}", f"job_end {number} {value}")
    ]
    expected = [f"multirun_start {folder}", *starts, "multirun_end"]
    assert (cwd / "told").read_text().splitlines() == expected
    runs = MlflowClient(f"sqlite:///{cwd}/mlflow.db").search_runs(["1"])
    assert [run.info.status for run in runs] == ["FINISHED"] * 5


def test_a_callback_is_told_of_a_job_that_failed(cwd: Path) -> None:
    done = sweep_in(cwd, "net.fault=raise,none", "hydra.launcher.workers=1", CALLBACK)
    assert done.returncode == 1
    ends = [line for line in (cwd / "told").read_text().splitlines() if line.startswith("job_end")]
    assert ends[0].startswith("job_end 0 RunError: FAILED: ")
    assert "ArithmeticError: one" in ends[0]
    float(ends[1].removeprefix("job_end 1 "))


def test_a_killed_sweep_of_any_sweeper_goes_on_to_its_end(begin: Begin, cwd: Path) -> None:
    process = begin(cwd, "train", "-m", *QUICK, *SWEEPER, "net.fault=slow")
    while not list(cwd.glob("outputs/*/*/2/journal")):  # the second round has begun
        assert process.poll() is None
        time.sleep(0.05)
    begin.kill(process)
    option = cwd / "conf" / "net" / "faulty.yaml"
    before = option.read_text()
    option.write_text(before + "extra: 1\n")
    refused = primer("resume", "last", cwd=cwd, env=environment())
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "net.extra nothing -> 1: the sweep's jobs were others" in refused.stderr
    option.write_text(before)
    done = primer("resume", "last", cwd=cwd, env=environment())
    assert done.returncode == 0, done.stdout + done.stderr
    (folder,) = sweep_folders(cwd)
    first, second = ast.literal_eval((cwd / "climbed").read_text())
    best = min(first, key=first.get)
    assert list(second) == [2 * best, 4 * best]
    assert "(4 FINISHED)" in done.stdout
    for number in range(4):
        records = read(folder / str(number))
        assert [record["status"] for record in records if record["kind"] == "end"][-1:] == ["FINISHED"]
        assert sum(record["kind"] == "resume" for record in records) <= (number == 2)
