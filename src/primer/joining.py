"""How the processes of torchrun or srun become the ranks of one run: the first leads, the others join it.

The first composes, makes the run's folder and says in a file below `outputs/` where it is; the others wait
for that, and become workers of the same frozen config. None of them parses a config or opens the database.
Where the run is no shared one, each process is told that it is on its own.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from primer.attempt import environment
from primer.config.wording import shown
from primer.errors import ConfigError, RunError, UsageError
from primer.files import ROOT, write_atomically
from primer.folder import is_running
from primer.gpus import visible_gpus
from primer.leaks import REDACTED
from primer.ranks import SECRETS, Place, is_shared, num_ranks, place_of
from primer.tracking.facts import host

JOIN_WITHIN_S = 300.0  # chosen: from a process's start on the first node to that on the last
STALE_AFTER_S = 600.0  # chosen: older words are another start's
AMD = Path("/dev/kfd")  # where torch may see devices that nvidia-smi does not know


@contextmanager
def leading(secrets: Callable[[Path], dict[str, Any]]) -> Iterator[None]:
    """Around a command that may be one of several of torchrun's or srun's: another rank ends in here.

    What goes wrong before there is a run is said by the first alone. `secrets` are those of a run's folder,
    which keeps none; asked for only where it lacks some.
    """
    place, begun_at, exit_code = place_of(), time.time(), 0
    if place and place.rank:
        join(place, secrets)
    try:
        yield
    except UsageError as error:
        exit_code = error.exit_code
        raise
    finally:
        if place and not place.rank and (exit_code or not _has_spoken(place, begun_at)):
            _announce(place, exit_code=exit_code)


def lead(config: dict[str, Any], folder: Path) -> dict[str, str]:
    """Tell the other ranks of the run's folder, if it is theirs, too; what the first one's worker is told."""
    place = place_of()
    if place is None:
        return {}
    if not is_shared(config):
        _announce(place, alone=True)
        return {}
    is_one_node = place.num_local == place.world_size
    address = "127.0.0.1" if is_one_node else socket.gethostname()
    with socket.socket() as free:
        free.bind(("", 0))
        port = free.getsockname()[1]
    _announce(place, folder=str(folder), address=address, port=port, host=host())
    return place.variables(address, port)


def join(place: Place, secrets: Callable[[Path], dict[str, Any]]) -> None:
    """Become a worker of the run that the first rank leads; returns where each is on its own."""
    deadline = time.monotonic() + JOIN_WITHIN_S
    while (word := _word(place)) is None:
        if time.monotonic() > deadline:
            raise RunError(
                f"rank {place.rank} of {place.world_size}, started by {place.launcher}: no word of rank 0 "
                f"below {Path.cwd() / ROOT}; expected a folder that all nodes share"
            )
        time.sleep(0.1)
    if "exit_code" in word:
        sys.exit(word["exit_code"])
    if "alone" in word:
        return
    folder = Path(word["folder"])
    lacks_some = REDACTED in (folder / "config.yaml").read_text()
    told = {SECRETS: json.dumps(secrets(folder))} if lacks_some else {}
    log = os.open(folder / "worker.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    for stream in (1, 2):
        os.dup2(log, stream)
    command = [sys.executable, "-P", "-m", "primer.worker", str(folder / "config.yaml")]
    os.execve(sys.executable, command, environment() | told | place.variables(word["address"], word["port"]))


def check_devices(config: dict[str, Any], *, debug: bool, is_alone: bool) -> None:
    """Raise ConfigError where the devices that a config asks for are not there; `is_alone`: no job's."""
    option, node = config["switches"]["accelerator"], config["accelerator"]
    if debug and is_shared(config):
        raise ConfigError(f"--debug: trains in one process; accelerator={option} takes several")
    place = place_of() if is_alone and is_shared(config) else None
    num_nodes, devices = node.get("num_nodes", 1), node["devices"]
    if place:
        _check_place(place, devices, num_nodes)
    elif num_nodes > 1:
        raise ConfigError(
            f"accelerator.num_nodes={num_nodes}: expected srun or torchrun to start the processes"
        )
    if node["accelerator"] == "mps" and sys.platform != "darwin":
        raise ConfigError(f"accelerator={option}: expected a Mac with Apple silicon; found {sys.platform}")
    if node["accelerator"] == "gpu" and not AMD.exists():
        gpus = visible_gpus()
        if not gpus:
            twin = {"ddp": "ddp_cpu", "fsdp": "fsdp_cpu"}.get(option, "cpu")
            raise ConfigError(
                f"accelerator={option}: no CUDA device is visible; expected one, or accelerator={twin}"
            )
        if devices is not None and devices > len(gpus):
            raise ConfigError(
                f"accelerator.devices={devices}: found {len(gpus)} visible CUDA device"
                f"{'s' if len(gpus) > 1 else ''}; expected at most as many, or null for all"
            )


def _check_place(place: Place, devices: int | None, num_nodes: int) -> None:
    found = {"devices": place.num_local, "num_nodes": place.world_size // place.num_local}
    for name, asked in (("devices", devices), ("num_nodes", num_nodes)):
        if asked is not None and asked != found[name]:
            what = "processes on this node" if name == "devices" else "nodes"
            raise ConfigError(
                f"accelerator.{name}={shown(asked)}: {place.launcher} started {found[name]} {what}; "
                f"expected {found[name]}{' or null' if name == 'devices' else ''}"
            )


def _path(place: Place) -> Path:
    key = " ".join([place.key, *sys.argv])  # one step may have several commands
    if place.launcher == "torchrun" and place.num_local == place.world_size:
        key += f"-{os.getppid()}"  # two torchruns may have one name
    return Path.cwd() / ROOT / ".ranks" / hashlib.sha256(key.encode()).hexdigest()[:16]


def _announce(place: Place, **word: Any) -> None:
    path = _path(place)
    path.parent.mkdir(parents=True, exist_ok=True)
    for other in path.parent.iterdir():
        with suppress(OSError):
            if time.time() - other.stat().st_mtime > STALE_AFTER_S:
                other.unlink()
    write_atomically(path, json.dumps(word).encode())


def _has_spoken(place: Place, since: float) -> bool:
    """Whether the others were told of a run since that time."""
    path = _path(place)
    return path.exists() and path.stat().st_mtime >= since


def _word(place: Place) -> dict[str, Any] | None:
    """What the first rank said, if it said it lately, and its run is alive."""
    path = _path(place)
    try:
        if time.time() - path.stat().st_mtime > STALE_AFTER_S:
            return None
        word: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    if "folder" in word and not is_running(Path(word["folder"]), word["host"]):
        return None
    return word


def num_devices_of(config: dict[str, Any]) -> int:
    """How many GPUs of this machine, or else processes, a run takes."""
    return num_ranks(config) or max(1, len(visible_gpus()))
