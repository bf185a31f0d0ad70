"""A rank whose process is there no more is seen at once on its own machine, and nowhere else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from primer.vigil import FOLDER, Silence, is_alive, machine


@pytest.fixture
def ended() -> int:
    """The id of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def looked_at(folder: Path, **state: Any) -> Silence:
    """Rank 1, whose file says this, as it was read."""
    (folder / FOLDER).mkdir(exist_ok=True)
    (folder / FOLDER / "1").write_text(json.dumps({"state": "alive", "machine": machine()} | state))
    silence = Silence(folder, 1)
    assert not silence.look()
    return silence


def test_one_that_ended_here_without_a_word_is_gone(tmp_path: Path, ended: int) -> None:
    assert looked_at(tmp_path, pid=ended).is_gone()


def test_one_that_ended_and_was_not_asked_how_is_gone(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert not is_alive(process.pid)
    assert looked_at(tmp_path, pid=process.pid).is_gone()
    process.wait()


def test_one_of_another_machine_or_container_is_not_looked_for(tmp_path: Path, ended: int) -> None:
    assert not looked_at(tmp_path, pid=ended, machine="another boot").is_gone()
    assert not looked_at(tmp_path, pid=ended, machine="").is_gone()
    assert not Silence(tmp_path, 2).is_gone()  # which has not begun


def test_a_last_word_after_the_look_counts(tmp_path: Path, ended: int) -> None:
    silence = looked_at(tmp_path, pid=ended)
    (tmp_path / FOLDER / "1").write_text(json.dumps({"state": "over", "machine": machine(), "pid": ended}))
    assert not silence.is_gone()
