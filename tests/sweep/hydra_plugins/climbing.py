"""A sweeper like one that a user installs: it knows no more than Hydra's interfaces."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class Climbing(Sweeper):
    """Two rounds of two jobs: `optimizer.lr` of 0.001 and 0.01, then twice and four times the better one."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """As Hydra's own sweeper does it."""
        self._launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        """Write what each round came to into `climbed`."""
        rounds: list[dict[float, Any]] = []
        lrs = [0.001, 0.01]
        for number in range(2):
            batch = [[*arguments, f"optimizer.lr={lr}"] for lr in lrs]
            returns = self._launcher.launch(batch, initial_job_idx=2 * number)
            rounds.append({lr: each.return_value for lr, each in zip(lrs, returns, strict=True)})
            best = min(rounds[-1], key=lambda lr: rounds[-1][lr])
            lrs = [2 * best, 4 * best]
        Path("climbed").write_text(repr(rounds))
