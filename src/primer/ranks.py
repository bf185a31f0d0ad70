"""The processes that train one run together, before any imports torch: who each is, and who started it.

Their numbers are ranks, 0 to WORLD_SIZE - 1. Lightning starts them (rank 0 is the worker, which repeats its
own command for the others), or torchrun or srun did: then each of those is a `primer train` of its own, and
all but the first join the run of the first. Variables have torchrun's names in a worker, whoever started it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# What launchers tell a process of its place; a run that starts its own ranks inherits none of it.
PLACE = (
    *("RANK", "LOCAL_RANK", "GROUP_RANK", "NODE_RANK", "ROLE_RANK", "ROLE_NAME"),
    *("WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_WORLD_SIZE", "ROLE_WORLD_SIZE"),
    *("MASTER_ADDR", "MASTER_PORT"),
)
# What tells a worker what must not stand on a disk, and whom to outlive by no second.
SECRETS, PARENT = "PRIMER_SECRETS", "PRIMER_PARENT"
DDP_CPU_RANKS = 2  # chosen: where no number is given; GPUs are counted


@dataclass(frozen=True)
class Place:
    """The place that torchrun or srun gave this process among others; `key` is the same for all of them."""

    launcher: str
    key: str
    rank: int
    local_rank: int
    node: int
    world_size: int
    num_local: int  # processes on this node

    def variables(self, address: str, port: int) -> dict[str, str]:
        """What a worker is told, in torchrun's names."""
        return {
            "RANK": str(self.rank),
            "LOCAL_RANK": str(self.local_rank),
            "GROUP_RANK": str(self.node),
            "WORLD_SIZE": str(self.world_size),
            "LOCAL_WORLD_SIZE": str(self.num_local),
            "MASTER_ADDR": address,
            "MASTER_PORT": str(port),
        }


def place_of(environment: Mapping[str, str] = os.environ) -> Place | None:
    """The place of this process, where torchrun or srun started it as one of several.

    >>> srun = {"SLURM_JOB_ID": "7", "SLURM_PROCID": "1", "SLURM_LOCALID": "1", "SLURM_NTASKS": "2"}
    >>> place_of(srun).rank, place_of(srun | {"SLURM_NTASKS": "1"}), place_of({})
    (1, None, None)
    """
    if "TORCHELASTIC_RUN_ID" in environment:
        return _of_torchrun(environment)
    # in the script of sbatch itself, which is no task of srun's, the number of tasks is known, too
    is_task = "SLURM_STEP_ID" in environment or environment.get("ENVIRONMENT") != "BATCH"
    if "SLURM_PROCID" in environment and is_task:
        return _of_srun(environment)
    return None


def _of_torchrun(environment: Mapping[str, str]) -> Place:
    names = ("TORCHELASTIC_RUN_ID", "MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_RESTART_COUNT")
    return Place(
        "torchrun",
        "-".join(environment.get(name, "") for name in names),
        rank=int(environment["RANK"]),
        local_rank=int(environment["LOCAL_RANK"]),
        node=int(environment.get("GROUP_RANK", 0)),
        world_size=int(environment["WORLD_SIZE"]),
        num_local=int(environment.get("LOCAL_WORLD_SIZE", 1)),
    )


def _of_srun(environment: Mapping[str, str]) -> Place | None:
    num_tasks = int(environment.get("SLURM_STEP_NUM_TASKS") or environment.get("SLURM_NTASKS") or 1)
    num_nodes = int(environment.get("SLURM_STEP_NUM_NODES") or environment.get("SLURM_NNODES") or 1)
    if num_tasks == 1:
        return None
    job = [environment.get(name, "") for name in ("SLURM_JOB_ID", "SLURM_STEP_ID", "SLURM_RESTART_COUNT")]
    return Place(
        "srun",
        "-".join(job),
        rank=int(environment["SLURM_PROCID"]),
        local_rank=int(environment.get("SLURM_LOCALID") or 0),
        node=int(environment.get("SLURM_NODEID") or 0),
        world_size=num_tasks,
        num_local=num_tasks // num_nodes,
    )


def unplaced(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment without what a launcher told this process of its own place.

    >>> unplaced({"LOCAL_RANK": "1", "TORCHELASTIC_RUN_ID": "x", "HOME": "/root"})
    {'HOME': '/root'}
    """
    return {
        name: value
        for name, value in environment.items()
        if name not in PLACE and not name.startswith("TORCHELASTIC_")
    }


def rank_of_worker() -> int:
    """The rank of this worker process: 0 where it is the only one."""
    return int(os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0")))


def is_placed() -> bool:
    """Whether torchrun or srun started this worker's ranks, through a `primer train` each."""
    return "RANK" in os.environ


def is_shared(config: Mapping[str, Any]) -> bool:
    """Whether a run is trained by several processes, if its devices are as many."""
    return bool(config["accelerator"].get("strategy", "single") != "single")


def num_ranks(config: Mapping[str, Any]) -> int | None:
    """How many processes train a run; None: one for each GPU of the node that it is trained on."""
    accelerator = config["accelerator"]
    if not is_shared(config):
        return 1
    devices = accelerator["devices"]
    if devices is None and accelerator["accelerator"] == "cpu":
        devices = DDP_CPU_RANKS
    return None if devices is None else int(devices) * int(accelerator["num_nodes"])
