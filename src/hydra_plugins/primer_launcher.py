"""Hydra finds plugins in this namespace only; what this one does is in `primer.config.multirun`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class PrimerLauncher(Launcher):
    """Hands all jobs of a batch to primer's sweep, under any of Hydra's sweepers."""

    def __init__(self, **_: Any) -> None:
        """Its keys are read and checked with the whole config, by `primer.config.multirun`."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Hydra's call before the first batch; `task_function` is a `primer.config.multirun.Task`."""
        self._task: Any = task_function

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run a batch of jobs and return what each came to."""
        returns: Sequence[JobReturn] = self._task.launch(job_overrides, initial_job_idx)
        return returns
