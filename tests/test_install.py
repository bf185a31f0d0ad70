"""From nothing to a run: the wheel in a fresh venv, and the set-up script that may fail."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SMALL_PROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[project]
name = "small"
version = "1"
[project.optional-dependencies]
dev = [{dependency!r}]
[tool.hatch.build.targets.wheel]
include = ["scripts"]
"""


def run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [str(word) for word in command], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )


def test_the_wheel_trains_from_an_empty_folder(tmp_path: Path) -> None:
    build = ("-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path, ROOT)
    built = run(sys.executable, *build, cwd=tmp_path)
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    python = tmp_path / "venv" / "bin" / "python"
    run(sys.executable, "-m", "venv", tmp_path / "venv", cwd=tmp_path)
    installed = run(python, "-m", "pip", "install", "-q", "-c", ROOT / "constraints.txt", wheel, cwd=tmp_path)
    assert installed.returncode == 0, installed.stderr
    empty = tmp_path / "empty"
    empty.mkdir()
    trained = run(python.with_name("primer"), "train", "data=iris", "max_epochs=2", cwd=empty)
    assert trained.returncode == 0, trained.stdout + trained.stderr
    assert "FINISHED" in trained.stdout
    assert (empty / "mlflow.db").exists()
    where = run(python, "-c", "import primer; print(primer.__file__)", cwd=empty).stdout
    assert str(tmp_path) in where


@pytest.fixture
def small_checkout(tmp_path: Path) -> Path:
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts" / "setup", tmp_path / "scripts")
    (tmp_path / "constraints.txt").write_text("")
    return tmp_path


def test_a_failed_set_up_is_not_believed_by_the_next_call(small_checkout: Path) -> None:
    project = small_checkout / "pyproject.toml"
    project.write_text(SMALL_PROJECT.format(dependency="no-such-package-of-primers==99"))
    for _ in range(2):
        failed = run(small_checkout / "scripts" / "setup", cwd=small_checkout)
        assert failed.returncode == 1
        assert "no-such-package-of-primers" in failed.stderr
        assert "setup failed" in failed.stderr
    project.write_text(SMALL_PROJECT.format(dependency="iniconfig"))
    made = run(small_checkout / "scripts" / "setup", cwd=Path("/"))
    assert made.returncode == 0, made.stderr
    venv = Path(made.stdout.strip())
    assert venv == small_checkout / ".venv"
    assert run(venv / "bin" / "python", "-c", "import iniconfig", cwd=Path("/")).returncode == 0
    again = run(small_checkout / "scripts" / "setup", cwd=Path("/"))
    assert (again.stdout, again.stderr) == (made.stdout, "")


def test_a_python_that_is_too_old_is_told_so(small_checkout: Path, tmp_path: Path) -> None:
    (small_checkout / "pyproject.toml").write_text(SMALL_PROJECT.format(dependency="iniconfig"))
    old = tmp_path / "old-python"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo "Python 3.9.1" && exit 0\nexit 1\n')
    old.chmod(0o755)
    environment = os.environ | {"PYTHON": str(old)}
    done = subprocess.run(
        [small_checkout / "scripts" / "setup"], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "needs Python >= 3.11; found Python 3.9.1" in done.stderr
    assert not (small_checkout / ".venv").exists()
