"""Real runs of the real command, for the tests."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml


def primer(
    *arguments: str, cwd: Path, env: dict[str, str] | None = None, timeout: float = 240
) -> subprocess.CompletedProcess[str]:
    """Run `primer ARGUMENTS` in `cwd` and return what it printed and how it ended."""
    command = [sys.executable, "-m", "primer", *arguments]
    environment = os.environ | (env or {})
    return subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=timeout, check=False
    )


def begun(*arguments: str, cwd: Path, first: str = "true") -> subprocess.Popen[str]:
    """`primer train ARGUMENTS` in a session of its own, while it goes on, after a shell command `first`."""
    command = [sys.executable, "-m", "primer", "train", *arguments]
    return subprocess.Popen(
        ["sh", "-c", f'{first}; exec "$@"', "sh", *command],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def run_folders(cwd: Path) -> list[Path]:
    """The run folders below a working directory, in the order they were made."""
    return sorted(path.parent for path in cwd.glob("outputs/*/*/config.yaml"))


class Trained:
    """A finished run of the command line, and what it left."""

    def __init__(self, cwd: Path, *arguments: str) -> None:
        self.cwd = cwd
        before = set(run_folders(cwd))
        self.done = primer("train", *arguments, cwd=cwd)
        assert self.done.returncode == 0, self.done.stdout + self.done.stderr
        (self.folder,) = set(run_folders(cwd)) - before
        self.config: dict[str, Any] = yaml.safe_load((self.folder / "config.yaml").read_text())

    def curve(self, key: str = "train/loss") -> list[float]:
        """The recorded values of a metric."""
        import pandas as pd

        curves = pd.read_parquet(self.folder / "curves.parquet")
        return [float(value) for value in curves[curves["key"] == key]["value"]]

    def weights(self) -> dict[str, Any]:
        """The final weights."""
        from primer.training.checkpoint import Checkpoints

        checkpoint, _, _ = Checkpoints(self.folder / "checkpoints").newest_whole()
        assert checkpoint
        weights: dict[str, Any] = checkpoint["state_dict"]
        return weights


class Worked:
    """A run trained in this process by the worker's own entry: the same bits, five seconds sooner."""

    def __init__(self, folder: Path, *overrides: str, config_dir: Path | None = None) -> None:
        from primer import worker
        from primer.config import compose

        folder.mkdir(parents=True)
        config = compose([*overrides, "tracking=off"], config_dir=config_dir)
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        assert worker.main(folder / "config.yaml") == 0
        self.folder = folder

    def curve(self, key: str = "train/loss") -> list[float]:
        """The recorded values of a metric."""
        from primer.tracking.journal import read

        points = [record for record in read(self.folder) if record["kind"] == "points"]
        return [value for record in points if record["key"] == key for value in record["values"]]
