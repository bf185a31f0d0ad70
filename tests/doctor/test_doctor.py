"""`primer doctor` as a whole: it changes nothing, and no place is too broken for it."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from doctored import begun, ended, everything
from runs import Trained

from primer.doctor import Finding, doctor, machine, show
from primer.folder import create_folder
from primer.tracking.journal import NAME


def test_an_empty_folder_is_healthy_and_stays_empty(here: Path) -> None:
    code = """
import sys
from primer.doctor import doctor, show
show(doctor())
print("loaded:", *(name for name in ("torch", "mlflow") if name in sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    *lines, last = done.stdout.splitlines()
    names = ["versions", "devices", "store", "runs", "unshipped", "stale", "disk", "journals", "last error"]
    assert [line[3:14].strip() for line in lines if not line.startswith(" ")] == [*names, "environment"]
    assert [line[:2] for line in lines if line.startswith("!!") and " disk " not in line] == []
    assert last == "loaded:"
    assert "\x1b" not in done.stdout
    assert "not created yet" in lines[2]
    assert list(here.iterdir()) == []


def test_a_place_with_a_run_is_healthy_and_stays_as_it_is(
    default_run: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(default_run.cwd)
    before = everything(default_run.cwd)
    found = {finding.name: finding for finding in doctor()}
    assert everything(default_run.cwd) == before
    assert [finding for finding in found.values() if not finding.is_healthy and finding.name != "disk"] == []
    assert "schema is current, sound" in found["store"].text
    assert found["runs"].text == "1 finished"
    assert found["unshipped"].text == "1 of 1 journals are in MLflow, whole"


def test_no_place_is_too_broken(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "TORCH", "")
    (begun() / NAME).unlink()
    (ended() / NAME).write_bytes(b"")
    folder = create_folder("folder")
    (folder / NAME).mkdir()
    found = {finding.name: finding for finding in doctor()}
    assert "Is a directory" in found["journals"].text
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://me:hunter2@nowhere/mlflow")
    found = {finding.name: finding for finding in doctor()}
    assert "not looked at" in found["store"].text
    assert "hunter2" not in repr(found)
    lost = here / "lost"
    lost.mkdir()
    monkeypatch.chdir(lost)
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    lost.rmdir()
    assert "FileNotFoundError" in next(found.text for found in doctor() if found.name == "runs")
    monkeypatch.chdir(here)


BROKEN = Finding("store", False, "too broken " * 10, "mend it")


def test_advice_stands_below_what_is_broken(capsys: pytest.CaptureFixture[str]) -> None:
    show([Finding("runs", True, "[bold]none\udcff", "not shown")])
    assert capsys.readouterr().out == "ok runs        [bold]none\\udcff\n"
    show([Finding("runs", True, "none"), BROKEN])
    assert capsys.readouterr().out == (
        f"ok runs        none\n!! store       {'too broken ' * 9}too broken\n{'':15}mend it\n"
    )


def test_lines_are_wrapped_on_a_terminal() -> None:
    ours, theirs = pty.openpty()
    code = f"from primer.doctor import Finding, show; show([{BROKEN!r}])"
    environment = os.environ | {"COLUMNS": "60", "TERM": "xterm-256color"}
    subprocess.run([sys.executable, "-c", code], stdout=theirs, env=environment, check=True)
    os.close(theirs)
    written = os.read(ours, 65536).decode()
    os.close(ours)
    assert "\x1b[" in written
    lines = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", written).splitlines()
    assert max(len(line) for line in lines) <= 60
    assert lines[-1] == f"{'':15}mend it"
    assert len(lines) == 4
