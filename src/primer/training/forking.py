"""A fork begins a new run where another one's checkpoint left it, under a config that may differ."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from primer.errors import ConfigError
from primer.files import FORK
from primer.training.checkpoint import Checkpoints, VerifiedCheckpointIO
from primer.training.checkpointer import position_of
from primer.training.module import TrainingModule
from primer.training.randomness import random_states
from primer.training.timetable import Timetable


def write_first_checkpoint(folder: Path, module: TrainingModule, timetable: Timetable) -> None:
    """Make of `fork.ckpt`, if it is there, the checkpoint that the new run goes on from.

    It keeps weights and step; the optimizer's state where the new optimizer is of the same kind. Learning
    rates, the order of the rows and the generators are the new config's; the best so far begins anew.
    """
    checkpoints = Checkpoints(folder)
    if not (folder / FORK).exists() or checkpoints.newest_whole()[1]:
        return
    io = VerifiedCheckpointIO()
    state = io.load_checkpoint(folder / FORK, map_location="cpu")
    step = int(state["global_step"])
    try:
        module.load_state_dict(state["state_dict"])
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1].strip()
        raise ConfigError(f"net: the checkpoint's weights do not fit: {reason}") from None
    optimizer, schedulers = _after(module, step)
    _keep_moments(optimizer, state["optimizer_states"][0])
    state |= {
        "optimizer_states": [optimizer],
        "lr_schedulers": schedulers,
        "callbacks": {},
        "primer": position_of(timetable, step, is_over=False, states=random_states())["primer"],
    }
    io.save_checkpoint(state, checkpoints.path(step))


def _after(module: TrainingModule, step: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The states of a new optimizer, and scheduler if it has one, after so many steps without a gradient."""
    made = module.configure_optimizers()
    scheduler = made.get("lr_scheduler")
    if scheduler is None:
        return made["optimizer"].state_dict(), []
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*lr_scheduler.step.* before .optimizer.step")
        for _ in range(step):
            scheduler.step()
    return made["optimizer"].state_dict(), [scheduler.state_dict()]


def _keep_moments(new: dict[str, Any], old: dict[str, Any]) -> None:
    kinds = [{frozenset(group) for group in state["param_groups"]} for state in (new, old)]
    if kinds[0] == kinds[1]:
        new["state"] = old["state"]
