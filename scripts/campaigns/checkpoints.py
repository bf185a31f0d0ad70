"""Kills inside the writing of a checkpoint, and checkpoints that are damaged afterwards."""

from __future__ import annotations

import os
import random
import shutil
import signal
import tempfile
import time
from pathlib import Path

from resuming import begin, work_in

from primer import worker
from primer.files import step_files
from primer.training.checkpoint import Checkpoints

LARGE = ("net=two_layer", "net.hidden_dim=200000", "checkpoint_every_n_steps=1", "max_steps=200")
SMALL = ("net=two_layer", "checkpoint_every_n_steps=20")


def main(root: Path, sample: int | None) -> bool:
    """Whether a whole checkpoint was there after every kill and every damage."""
    num_kills, num_damaged = sample or 20, sample or 200
    chooser = random.Random(0)
    with tempfile.TemporaryDirectory(dir="/dev/shm") as elsewhere:  # not where the temporary files are
        kills = [_killed_in_write(Path(elsewhere) / str(i), chooser) for i in range(num_kills)]
    num_partial = sum(is_partial for _, is_partial in kills)
    num_loaded = sum(is_loaded for is_loaded, _ in kills)
    print(
        f"checkpoints: {num_loaded} of {num_kills} load the one before a SIGKILL inside the write "
        f"({num_partial} left a part of a file)",
        flush=True,
    )
    folder = begin(root / "small", *SMALL)
    assert work_in(folder) == 0
    is_sound = num_loaded == num_kills
    for kind in ("truncations", "bit flips"):
        num_seen = sum(_is_seen(folder, root / "damaged", kind, chooser) for _ in range(num_damaged))
        print(f"checkpoints: {num_seen} of {num_damaged} {kind} seen, and the one before taken", flush=True)
        is_sound &= num_seen == num_damaged
    return is_sound


def _killed_in_write(folder: Path, chooser: random.Random) -> tuple[bool, bool]:
    """Whether the checkpoint before loads, and whether a part of a file is left."""
    begin(folder, *LARGE)
    checkpoints = folder / "checkpoints"
    pid = os.fork()
    if pid == 0:
        with (folder / "worker.log").open("ab") as log:
            os.dup2(log.fileno(), 2)
        os._exit(worker.main(folder / "config.yaml"))
    step = chooser.randint(3, 20)
    deadline = time.monotonic() + 120
    while not (found := list(checkpoints.glob(f".step-{step}.ckpt.*"))):
        assert time.monotonic() < deadline, (folder / "worker.log").read_text()
        assert os.waitpid(pid, os.WNOHANG) == (0, 0), (folder / "worker.log").read_text()
    time.sleep(chooser.random() * 0.005)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    is_partial = any(path.exists() for path in found)
    state, path, _ = Checkpoints(checkpoints).newest_whole()
    is_loaded = state is not None and state["global_step"] >= step - 1 and path is not None
    return is_loaded and path.name == f"step-{state['global_step']}.ckpt", is_partial


def _is_seen(folder: Path, copy: Path, kind: str, chooser: random.Random) -> bool:
    """Whether a damage of the newest checkpoint is seen, and the one before it taken."""
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(folder / "checkpoints", copy)
    newest, before = step_files(copy)
    content = bytearray(newest.read_bytes())
    if kind == "truncations":
        del content[chooser.randrange(len(content)) :]
    else:
        content[chooser.randrange(len(content))] ^= 1 << chooser.randrange(8)
    newest.write_bytes(content)
    state, path, damaged = Checkpoints(copy).newest_whole()
    return path == before and state is not None and list(damaged) == [newest]
