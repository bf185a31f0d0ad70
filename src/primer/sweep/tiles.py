"""Which jobs of a sweep train as one: those that differ in nothing but what can be stacked."""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from primer.config.identity import settings_of
from primer.ranks import is_shared
from primer.sweep.plan import Job, key_of

# Optimizers of torch whose update of a weight depends on that weight's own gradients alone.
ELEMENTWISE = [
    f"torch.optim.{name}"
    for name in ("Adadelta", "Adagrad", "Adam", "AdamW", "Adamax", "ASGD", "NAdam", "RAdam", "RMSprop", "SGD")
]
FUSED_PRECISIONS = ("32", "64")
SHARE_OF_MEMORY = 0.5  # chosen: for rows, of which a run keeps 0.8 times the size of their file (measured)
MAX_FUSED = 64  # measured: more members are no faster a member, and share one process


@dataclass(frozen=True)
class Tile:
    """Jobs that one worker trains; `alone` says why it is one, where that is not plain."""

    jobs: tuple[Job, ...]
    alone: str | None = None


def tiles_of(jobs: Sequence[Job], *, num_slots: int, max_fused: int = MAX_FUSED) -> list[Tile]:
    """Jobs in the order of their numbers; those that can train as one together, in as many cuts as slots.

    Those whose optimizer and scheduler are set alike stay together: they share an optimizer.
    """
    groups: dict[str, list[Job]] = {}
    tiles: list[Tile] = []
    for job in jobs:
        if reason := why_alone(job.config):
            tiles.append(Tile((job,), reason))
        else:
            groups.setdefault(_key(job.config), []).append(job)
    for group in groups.values():
        group.sort(key=lambda job: settings_of(job.config))
        largest = min(max_fused, _fitting(group[0].config, num_slots))
        if largest == 1 and len(group) > 1:
            tiles += [Tile((job,), f"hydra.launcher.max_fused={max_fused}") for job in group]
            continue
        num_tiles = max(min(num_slots, len(group) // 2), math.ceil(len(group) / largest), 1)
        bounds = [len(group) * number // num_tiles for number in range(num_tiles + 1)]
        tiles += [Tile(tuple(group[start:stop])) for start, stop in pairwise(bounds)]
    return sorted(tiles, key=lambda tile: tile.jobs[0].number)


def why_alone(config: dict[str, Any]) -> str | None:
    """What of a config keeps its run from training as one with others, as far as a config can tell."""
    target, precision = config["optimizer"]["_target_"], str(config["accelerator"]["precision"])
    if target not in ELEMENTWISE:
        return f"optimizer={config['switches']['optimizer']} is not known to be elementwise"
    if is_shared(config):
        return f"accelerator={config['switches']['accelerator']} is several processes"
    if precision not in FUSED_PRECISIONS:
        return f"accelerator.precision={precision}"
    if config["on_nonfinite"] == "skip":
        return "on_nonfinite=skip"
    if config.get("compile"):
        return "compile=true"
    return None


def _key(config: dict[str, Any]) -> str:
    """What jobs that train as one have in common: all but seeds, and numbers of optimizer and scheduler."""
    seedless = {name: value for name, value in config.items() if name not in ("name", "typed", "seed")}
    for part in ("optimizer", "scheduler"):
        seedless[part] = config[part]["_target_"]
    seedless["data"] = {name: value for name, value in config["data"].items() if name != "seed"}
    return json.dumps(seedless, sort_keys=True)


def _fitting(config: dict[str, Any], num_slots: int) -> int:
    """How many runs of a table one of `num_slots` processes has the memory for: each has rows of its own."""
    try:
        size = Path(config["data"]["path"]).stat().st_size
    except (KeyError, TypeError, OSError):  # bundled, drawn, or not there, which the worker says
        return MAX_FUSED
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return max(1, int(memory * SHARE_OF_MEMORY / num_slots / max(1, size)))


def told(tiles: Sequence[Tile], keys: Sequence[str]) -> list[str]:
    """The plan in lines: how many runs train as one, told apart by the `keys` swept, and why others do not.

    >>> told([], keys=["seed"])
    []
    """
    groups: dict[str, list[int]] = {}
    for tile in tiles:
        if len(tile.jobs) > 1:
            groups.setdefault(_shape(tile.jobs[0].config, keys), []).append(len(tile.jobs))
    lines = []
    for shape, sizes in groups.items():
        parts = f", in {len(sizes)} processes" if len(sizes) > 1 else ""
        lines.append(f"{sum(sizes)} runs train as one{parts}{': ' if shape else ''}{shape}")
    own = dict.fromkeys(name for tile in tiles if len(tile.jobs) > 1 for name in _own(tile.jobs[0].config))
    if own:
        lines.append(f"if what {' and '.join(own)} computes can be stacked, which is asked before they train")
    reasons = Counter(tile.alone or "no other run has its shape" for tile in tiles if len(tile.jobs) == 1)
    return lines + [f"{num} alone: {reason}" for reason, num in reasons.items()]


def _own(config: dict[str, Any]) -> list[str]:
    """The options that are not primer's own or torch's, of which nobody knows what they do."""
    parts = {name: config[name].get("_target_", "") for name in ("net", "activation", "criterion")}
    return [
        f"{name}={config['switches'][name]}"
        for name, target in parts.items()
        if not target.startswith(("primer.", "torch."))
    ]


def _shape(config: dict[str, Any], keys: Sequence[str]) -> str:
    """What of the keys swept makes the shape of a run: not its seed, not a number of its optimizer."""
    keyed = ((key_of(text), text) for text in config["typed"]["overrides"])
    numbers = ("optimizer.", "scheduler.")
    return " ".join(
        text for key, text in keyed if key in keys and key != "seed" and not key.startswith(numbers)
    )
