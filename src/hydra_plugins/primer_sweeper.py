"""Hydra finds plugins in this namespace only; what this one does is in `primer.sweep.searching`."""

from __future__ import annotations

from typing import Any

from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class OptunaSweeper(Sweeper):
    """Has primer search with Optuna; jobs are asked for one by one, so no slot waits for a batch."""

    def __init__(self, **_: Any) -> None:
        """Its keys are read and checked with the whole config, by `primer.config.multirun`."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Hydra's call before the sweep; `task_function` is a `primer.config.multirun.Task`."""
        self._task: Any = task_function

    def sweep(self, arguments: list[str]) -> None:
        """Search with these overrides, some of which are spaces."""
        self._task.search(arguments)
