"""`primer doctor` on the machine: versions, devices, disks."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from doctored import checked

from primer.doctor import machine


@pytest.mark.parametrize(
    ("distribution", "version", "advice"),
    [
        ("torch", "2.9.1+cpu", "CVE-2026-24747"),
        ("lightning", "2.6.2", "malicious"),
        ("lightning", "2.6.3", "malicious"),
    ],
)
def test_bad_versions(
    distribution: str, version: str, advice: str, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert checked(machine.versions).is_healthy
    meta = here / f"{distribution}-{version}.dist-info" / "METADATA"
    meta.parent.mkdir()
    meta.write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
    monkeypatch.syspath_prepend(here)
    found = checked(machine.versions)
    assert not found.is_healthy
    assert f"{distribution} {version}" in found.text
    assert advice in (found.advice or "")


def test_a_missing_distribution(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "DISTRIBUTIONS", ("torch", "torch-nowhere"))
    found = checked(machine.versions)
    assert not found.is_healthy
    assert found.text.endswith("torch-nowhere missing")
    assert found.advice == "pip install torch-nowhere"


def test_a_torch_that_does_not_import(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(here))
    (here / "torch.py").write_text("raise ImportError('libcudart.so.12: cannot open')")
    found = checked(machine.devices)
    assert not found.is_healthy
    assert re.search(r"\d+ CPUs.*ImportError: libcudart.so.12: cannot open", found.text)
    (here / "torch.py").write_text("import time; time.sleep(5)")
    monkeypatch.setattr(machine, "IMPORT_S", 0.2)
    assert "it takes more than 0.2 s" in checked(machine.devices).text
    (here / "torch.py").write_text("import os; os.kill(os.getpid(), 11)")
    monkeypatch.setattr(machine, "IMPORT_S", 60.0)
    assert "its process ended with -11" in checked(machine.devices).text


@pytest.mark.parametrize(
    ("total", "free", "is_healthy"),
    [
        (10e9, 1.1e9, True),
        (10e9, 0.9e9, False),  # a tenth of it
        (200e9, 4.1e9, True),
        (200e9, 3.9e9, False),  # under 2 %
        (10e12, 11e9, True),
        (10e12, 9e9, False),
    ],
)
def test_room(
    total: float, free: float, is_healthy: bool, monkeypatch: pytest.MonkeyPatch, here: Path
) -> None:
    monkeypatch.setenv("TMPDIR", str(here / "not" / "there"))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(total=total, free=free))
    found = checked(machine.disk)
    assert found.is_healthy == is_healthy
    numbers = f"{free / 1e9:.1f} of {total / 1e9:.1f} GB free"
    assert found.text == f"outputs, temporary files, database: {numbers}"
    assert (found.advice or "").count(f" at {here}") == (0 if is_healthy else 3)


def test_the_room_of_this_machine() -> None:
    assert re.search(r"outputs.*: [\d.]+ of [\d.]+ GB free", checked(machine.disk).text)
