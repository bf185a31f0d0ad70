"""A callback of Hydra's that writes down what it is told."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn
from hydra.experimental.callback import Callback
from omegaconf import DictConfig


class WritingCallback(Callback):
    """Adds a line to `told` for each call."""

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Before the first job."""
        _write(f"multirun_start {config.hydra.sweep.dir}")

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        """After the last job."""
        _write("multirun_end")

    def on_job_start(self, config: DictConfig, **_: Any) -> None:
        """Before a job."""
        _write(f"job_start {config.hydra.job.num} {config.optimizer.lr} {config.hydra.runtime.output_dir}")

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **_: Any) -> None:
        """After a job; its return value raises, where it failed."""
        try:
            value = job_return.return_value
        except Exception as error:
            value = f"{type(error).__name__}: {error}"
        _write(f"job_end {config.hydra.job.num} {value}")


def _write(line: str) -> None:
    with Path("told").open("a") as file:
        file.write(f"{line}\n")


class InTheWay(Callback):
    """Puts a file where the first job's folder is to be."""

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        (Path(config.hydra.sweep.dir) / "0").touch()


class Filling(Callback):
    """Leaves no room on the disk of `outputs`, from the beginning or the end of a job on, as $FILLS says."""

    def on_job_start(self, **_: Any) -> None:
        """Before a job's files are written by its worker."""
        self._fill("start")

    def on_job_end(self, **_: Any) -> None:
        """Before what the sweep came to is written."""
        self._fill("end")

    def _fill(self, now: str) -> None:
        if now == os.environ.get("FILLS"):
            with suppress(OSError), Path("outputs/fill").open("ab", buffering=0) as file:
                while True:
                    file.write(b"x" * 4096)
