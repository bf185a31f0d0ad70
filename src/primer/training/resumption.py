"""Where a run goes on: its newest whole checkpoint, and what of it is written down already.

A fork begins a new run where another one's checkpoint left it, under a config that may differ.
"""

from __future__ import annotations

import dataclasses
import signal
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from primer.errors import ConfigError, Stopped
from primer.files import FORK
from primer.tracking.journal import Journal, last_attempt, points_of, read
from primer.training.checkpoint import Checkpoints, VerifiedCheckpointIO
from primer.training.checkpointer import position_of
from primer.training.module import TrainingModule
from primer.training.randomness import random_states
from primer.training.recorder import Recorded
from primer.training.timetable import Timetable


@dataclass(frozen=True)
class Resumption:
    """A run's beginning: `step` 0 and no `checkpoint`, or what an earlier attempt left.

    `recorded` holds the points that it will come to again; `num_threads` is the earlier attempt's, since how
    a sum is shared out changes its rounding; `was_fused`: so it was, in last digits, by training with others.
    """

    step: int
    checkpoint: Path | None
    timetable: Timetable
    recorded: Recorded
    num_threads: int | None
    was_fused: bool = False
    num_devices: int | None = None  # that the earlier attempt had

    @property
    def is_over(self) -> bool:
        """Whether there is nothing left to train."""
        return self.step == self.timetable.num_steps


def resumption(
    folder: Path,
    journal: Journal,
    timetable: Timetable,
    *,
    fixed_length: str | None,
    at_most: int | None = None,
) -> Resumption:
    """Where the run of a folder goes on, after `at_most` steps; a damaged checkpoint costs a warning.

    `fixed_length` names what can't be given another number of steps, if anything is. Raises ConfigError
    where the timetable would change what was computed already.
    """
    state, path, damaged = Checkpoints(folder / "checkpoints").newest_whole(at_most)
    for file, complaint in damaged.items():
        instead = path.name if path else "the start"
        journal.write("warning", message=f"{complaint}; going on from {instead}")
        file.rename(file.with_name(f"damaged-{file.name}"))  # so that it is not counted as the newest
    step = int(state["global_step"]) if state else 0
    if state:
        timetable = _kept(timetable, step, state["primer"], fixed_length)
    records = read(folder)
    recorded = {(key, at): value for (key, at), value in points_of(records).items() if at >= step}
    reached = max((at for _, at in recorded), default=step)
    if timetable.num_steps < reached:
        raise ConfigError(f"max_steps, max_epochs: {reached} steps are done already; expected no fewer")
    starts = [record for record in records if record["kind"] == "start"]
    num_threads = starts[-1]["num_threads"] if starts else None
    was_fused = any("num_fused" in record for record in starts)
    num_devices = starts[-1].get("num_devices", 1) if starts else None
    return Resumption(step, path, timetable, recorded, num_threads, was_fused, num_devices)


def joined(folder: Path, timetable: Timetable, is_over: Callable[[], bool]) -> Resumption:
    """Where another rank than the first goes on: as the first one's journal says that it does.

    Waits for that, where launchers started both at once; raises Stopped when the first `is_over` before.
    """
    while not (starts := [record for record in last_attempt(read(folder)) if record["kind"] == "start"]):
        if is_over():
            raise Stopped(signal.SIGTERM)
        time.sleep(0.1)
    start = starts[-1]
    checkpoint = folder / "checkpoints" / start["checkpoint"] if start["checkpoint"] else None
    timetable = dataclasses.replace(timetable, num_steps=start["num_steps"])
    return Resumption(start["step"], checkpoint, timetable, {}, start["num_threads"])


def _kept(timetable: Timetable, step: int, own: dict[str, Any], fixed_length: str | None) -> Timetable:
    if own["stopped_early"]:
        return dataclasses.replace(timetable, num_steps=step)
    if fixed_length and timetable.num_steps != own["num_steps"]:
        raise ConfigError(
            f"{fixed_length}: its learning rates follow from the number of steps ({own['num_steps']}); "
            "another one would change what was computed already"
        )
    return timetable


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
    earlier = state["optimizer_states"][0]
    new, old = ({frozenset(group) for group in own["param_groups"]} for own in (optimizer, earlier))
    if new == old:
        optimizer["state"] = earlier["state"]
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
