"""`primer verify devices`: one training on several numbers of devices, compared sample by sample.

Each number of devices is a run of the user's own config in a temporary folder, tracked nowhere. What is
compared: the rows that every step computed, as its ranks noted them; the losses; the weights at the end.
"""

from __future__ import annotations

import io
import json
import signal
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from primer.config import compose
from primer.errors import RunError, Stopped, UsageError
from primer.files import read_verified, step_files
from primer.gpus import visible_gpus
from primer.joining import check_devices
from primer.run import run
from primer.stopping import STOPPING, StopSignal
from primer.tracking.journal import points_of, read
from primer.verify.devices_compared import (
    DevicesVerification,
    Tolerance,
    Training,
    compared,
    devices_in_words,
)

if TYPE_CHECKING:
    from torch import Tensor

LOSSES = ("train/loss", "val/loss")
# chosen; measured in 20 steps on the bundled data, 1, 2 and 4 processes: up to 7e-16 (64), 5e-7 (32),
# 1e-3 of losses and 1.4e-2 of weights (mixed: RMSprop makes a step of any gradient's rounding)
TOLERANCES = {
    "64": Tolerance(1e-12, 1e-12),
    "32": Tolerance(1e-5, 1e-5),
    "bf16-mixed": Tolerance(1e-2, 5e-2),
    "16-mixed": Tolerance(1e-2, 5e-2),
}


def verify_devices(
    *overrides: str,
    devices: Sequence[int] = (1, 2, 4),
    num_steps: int = 20,
    config_dir: str | Path | None = None,
) -> DevicesVerification:
    """Train on each number of `devices`, as `primer verify devices OVERRIDES` does, and compare.

    On GPUs where the config asks for them and some are visible, else in processes on the CPU. A net that
    draws random numbers in training (dropout) draws others on each rank, and is told different.
    Raises ConfigError or DataError for a wrong question, RunError when the first training fails.

    >>> verify_devices("data=iris", "accelerator.precision=64", devices=(1, 2)).verdict  # doctest: +SKIP
    'the same on 1 and 2 devices'
    """
    if min(devices, default=0) < 1 or len(set(devices)) < max(2, len(devices)):
        asked = ",".join(map(str, devices))
        raise UsageError(f"devices={asked}: expected at least two different numbers, such as 1,2,4")
    asked_for = compose(overrides, config_dir=config_dir)["accelerator"]
    kind = "gpu" if asked_for["accelerator"] in ("auto", "gpu") and visible_gpus() else "cpu"
    own = [_overrides(asked_for, kind, number, num_steps) for number in devices]
    configs = [_untracked(compose([*overrides, *more], config_dir=config_dir)) for more in own]
    for config in configs:  # before the first is trained
        check_devices(config, debug=False, is_alone=False)
    trainings: list[Training | str] = []
    with StopSignal(), TemporaryDirectory(prefix="primer-verify-", ignore_cleanup_errors=True) as root:
        for config in configs:
            trainings.append(_trained(config, Path(root) / "runs"))
            if isinstance(trainings[0], str):
                raise RunError(f"on {devices_in_words(devices[:1])}: {trainings[0]}")
    precision = asked_for["precision"]
    found = compared(dict(zip(devices, trainings, strict=True)), TOLERANCES[precision])
    return DevicesVerification(found, kind, precision, TOLERANCES[precision])


def _overrides(asked_for: dict[str, Any], kind: str, num_devices: int, num_steps: int) -> list[str]:
    """What to add to the user's own, so that so many devices of a kind train the first steps."""
    several = "fsdp" if asked_for.get("strategy") == "fsdp" else "ddp"
    option = kind if num_devices == 1 else several if kind == "gpu" else f"{several}_cpu"
    return [
        f"accelerator={option}",
        f"accelerator.devices={num_devices}",
        "accelerator.num_nodes=1",
        f"accelerator.precision={asked_for['precision']}",
        f"max_steps={num_steps}",
        "max_epochs=null",
        "log_every_n_steps=1",
    ]


def _untracked(config: dict[str, Any]) -> dict[str, Any]:
    """A config whose run is tracked nowhere: not by an override, since keys of tracking may be typed."""
    switches = config["switches"] | {"tracking": "off"}
    return config | {"tracking": {}, "switches": switches, "record_samples": True}


def _trained(config: dict[str, Any], root: Path) -> Training | str:
    """Train a config in a folder below `root`; what is compared of it, or how it failed."""
    num_devices, option = config["accelerator"]["devices"], config["switches"]["accelerator"]
    print(f"training on {devices_in_words([num_devices])} (accelerator={option})", flush=True)
    result = run(config, root=root, is_quiet=True)
    if result.status == "KILLED" and result.exit_code - 128 in STOPPING:
        raise Stopped(signal.Signals(result.exit_code - 128))
    if result.status != "FINISHED":
        return f"{result.status}: {result.error}"
    points = points_of(read(result.folder))
    return Training(
        {(key, step): value for (key, step), value in points.items() if key in LOSSES},
        _samples(result.folder / "samples", num_devices),
        _weights(result.folder / "checkpoints"),
    )


def _samples(folder: Path, num_ranks: int) -> list[list[int]]:
    """The rows of each step, those of all ranks one after the other."""
    ranks = [json.loads((folder / f"{rank}.json").read_text()) for rank in range(num_ranks)]
    return [[row for rows in of_ranks for row in rows] for of_ranks in zip(*ranks, strict=True)]


def _weights(folder: Path) -> dict[str, Tensor]:
    import torch  # a second that no other command's controller pays

    content = io.BytesIO(read_verified(step_files(folder)[0]))
    weights: dict[str, Tensor] = torch.load(content, map_location="cpu", weights_only=True)["state_dict"]
    return weights
