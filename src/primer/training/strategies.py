"""Lightning's strategies, set up for our ranks: who starts and watches them, who sums their gradients."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from typing import Any

from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.strategies.launchers.subprocess_script import _SubprocessScriptLauncher

from primer.ranks import is_placed

# Told of how many ranks there are, and which were started here.
Watching = Callable[[int, Sequence["subprocess.Popen[bytes]"]], None]


def environment() -> LightningEnvironment | TorchElasticEnvironment:
    """Who starts the ranks: told, not guessed. In a Slurm job Lightning would take over its signals."""
    return TorchElasticEnvironment() if is_placed() else LightningEnvironment()


class Launcher(_SubprocessScriptLauncher):
    """Starts the other ranks by the command of this one; that they live is seen to by `watching`.

    Lightning's own watch kills rank 0, too, before it could say which rank died.
    """

    def __init__(self, strategy: Any, watching: Watching) -> None:
        super().__init__(strategy.cluster_environment, strategy.num_processes, strategy.num_nodes)
        self._watching = watching

    def launch(self, function: Callable[..., Any], *args: Any, trainer: Any = None, **options: Any) -> Any:
        if not self.cluster_environment.creates_processes_externally:
            self._call_children_scripts()
        if trainer is None or trainer.state.fn == "fit":
            self._watching(self.num_processes * self.num_nodes, self.procs)
        return function(*args, **options)


class ReplicatedStrategy(DDPStrategy):
    """A copy of the net on each rank; `Replicas` sums the gradients, so that none is wrapped."""

    def __init__(self, watching: Watching) -> None:
        super().__init__()
        self._watching = watching

    def _configure_launcher(self) -> None:
        self._launcher = Launcher(self, self._watching)

    def configure_ddp(self) -> None:
        """Leave the module as it is; all ranks drew the same weights, or loaded them."""
