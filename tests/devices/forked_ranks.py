"""Ranks forked from a process that has torch already: two seconds for what takes twelve by the command line.

They meet by gloo, as the ranks of a run do; `ByRanks` has them train one, each told its place as a worker is.
"""

from __future__ import annotations

import math
import os
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from faulty_server import free_port
from resuming import SERVER, newest, prolong
from runs import primer
from torch import Tensor, distributed

from primer import worker
from primer.config import compose
from primer.ranks import Place
from primer.tracking.journal import Journal, points_of, read
from primer.vigil import prepare_vigil

if TYPE_CHECKING:
    from mlflow.entities import Run

# Where the processes of the command line find the nets of this folder.
ENV = {
    "PYTHONPATH": os.pathsep.join(filter(None, [str(Path(__file__).parent), os.environ.get("PYTHONPATH")]))
}
# What each would import for its data, a second of it.
SERVER.set_forkserver_preload(
    ["primer.fitting", "primer.data.bundled", "sklearn.datasets", "sklearn.compose"]
)
WAIT_S = 60  # for a rank that would wait for longer
Curves = dict[tuple[str, int], float]


def stored_runs(cwd: Path, printed: str) -> list[Run]:
    """The runs that MLflow has of a working directory, once a busy machine has sent all of them."""
    from mlflow import MlflowClient  # takes 3 s, which each forked rank would need, too

    if "primer sync sends it" in printed:
        assert primer("sync", cwd=cwd).returncode == 0
    runs: list[Run] = MlflowClient(f"sqlite:///{cwd}/mlflow.db").search_runs(["1"])
    return runs


def in_group(size: int, work: Callable[..., Any], *args: Any, context: Any = SERVER) -> list[Any]:
    """What `work(rank, size, *args)` returns on each rank of a gloo group; `context` starts them."""
    with tempfile.TemporaryDirectory() as folder, ProcessPoolExecutor(size, context) as pool:
        store = f"file://{folder}/store"
        futures = [pool.submit(_in_group, work, rank, size, store, *args) for rank in range(size)]
        return [future.result() for future in futures]


def _in_group(work: Callable[..., Any], rank: int, size: int, store: str, *args: Any) -> Any:
    within = timedelta(seconds=WAIT_S)
    distributed.init_process_group("gloo", store, rank=rank, world_size=size, timeout=within)
    try:
        return work(rank, size, *args)
    finally:
        distributed.destroy_process_group()


class ByRanks:
    """A run that `num` ranks train, or one process alone."""

    def __init__(self, folder: Path, num: int, *overrides: str, config_dir: Path | None = None) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        devices = ("accelerator=ddp_cpu", f"devices={num}") if num > 1 else ("accelerator=cpu",)
        config = compose([*overrides, *devices, "tracking=off"], config_dir=config_dir)
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        self._num = num

    def work(self, variables: dict[str, str] | None = None) -> list[int | None]:
        """Train it, from its newest checkpoint if it has one; the exit code of each rank."""
        num, port = self._num, free_port()
        with Journal(self.folder) as journal:
            journal.write("resume" if read(self.folder) else "run", id="0", time=0)
        prepare_vigil(self.folder, is_shared=num > 1)
        places = [Place("torchrun", "", rank, rank, 0, num, num) for rank in range(num)]
        told = [place.variables("127.0.0.1", port) if num > 1 else {} for place in places]
        args = [(self.folder, own | (variables or {})) for own in told]
        processes = [SERVER.Process(target=_work, args=own) for own in args]
        for process in processes:
            process.start()
        for process in processes:
            process.join(WAIT_S)
            process.kill()
            process.join()
        return [process.exitcode for process in processes]

    def change(self, num: int) -> None:
        """Have so many ranks go on with it, as `primer resume RUN devices=N` does."""
        self._num = num
        prolong(self.folder, f"devices={num}")

    def log(self) -> str:
        """What the ranks printed."""
        return (self.folder / "worker.log").read_text()

    def curves(self) -> Curves:
        """The value of each (metric, step)."""
        return points_of(read(self.folder))

    def checkpoint(self) -> dict[str, Any]:
        """The newest checkpoint."""
        return newest(self.folder)

    def weights(self) -> dict[str, Tensor]:
        """The weights of the newest checkpoint."""
        weights: dict[str, Tensor] = self.checkpoint()["state_dict"]
        return weights

    def started(self) -> dict[str, Any]:
        """What the journal says of the run's beginning."""
        return [record for record in read(self.folder) if record["kind"] == "start"][-1]


def trained(folder: Path, num: int, *overrides: str, config_dir: Path | None = None) -> ByRanks:
    """A run that so many ranks trained to its end."""
    run = ByRanks(folder, num, *overrides, config_dir=config_dir)
    assert run.work() == [0] * num, run.log()
    return run


def _work(folder: Path, variables: dict[str, str]) -> None:
    os.environ |= variables
    with (folder / "worker.log").open("ab") as log:
        os.dup2(log.fileno(), 2)
    sys.exit(worker.main(folder / "config.yaml"))


def check_same_curves(one: Curves, other: Curves, *, within: float) -> None:
    """The same points, and each the same number, up to a relative difference."""
    assert one.keys() == other.keys()
    unlike = {
        key: (one[key], other[key]) for key in one if not math.isclose(one[key], other[key], rel_tol=within)
    }
    assert not unlike


def check_same_weights(one: dict[str, Tensor], other: dict[str, Tensor], *, within: float) -> None:
    """The same weights, up to a difference relative to the largest of each tensor."""
    assert one.keys() == other.keys()
    for name, weight in one.items():
        assert weight.dtype == other[name].dtype
        assert (weight - other[name]).abs().max() <= within * other[name].abs().max(), name
