"""Checkpoints are whole or not there, and never loaded when damaged."""

from __future__ import annotations

import os
import pickle
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from primer.errors import RunError
from primer.training.checkpoint import VerifiedCheckpointIO

WRITE_FOREVER = """
import sys, torch
from pathlib import Path
from primer.training.checkpoint import VerifiedCheckpointIO
state = {"weights": torch.full((2_000_000,), float(sys.argv[2]))}
print("ready", flush=True)
while True:
    VerifiedCheckpointIO().save_checkpoint(state, Path(sys.argv[1]))
"""


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    io = VerifiedCheckpointIO()
    io.save_checkpoint({"state_dict": {"w": torch.arange(3)}, "epoch": 4}, tmp_path / "new" / "last.ckpt")
    found = io.load_checkpoint(tmp_path / "new" / "last.ckpt")
    assert found["epoch"] == 4
    assert torch.equal(found["state_dict"]["w"], torch.arange(3))
    io.remove_checkpoint(tmp_path / "new" / "last.ckpt")
    assert list((tmp_path / "new").iterdir()) == []


def test_no_flipped_bit_and_no_truncation_is_loaded(tmp_path: Path) -> None:
    io, path = VerifiedCheckpointIO(), tmp_path / "last.ckpt"
    io.save_checkpoint({"w": torch.randn(1000)}, path)
    whole = path.read_bytes()
    chooser = random.Random(0)
    for _ in range(200):
        damaged = bytearray(whole)
        damaged[chooser.randrange(len(whole))] ^= 1 << chooser.randrange(8)
        path.write_bytes(damaged)
        with pytest.raises(RunError, match="damaged"):
            io.load_checkpoint(path)
    for size in range(0, len(whole), 97):
        path.write_bytes(whole[:size])
        with pytest.raises(RunError, match="damaged"):
            io.load_checkpoint(path)


class Payload:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch hacked",)


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    io, path = VerifiedCheckpointIO(), tmp_path / "last.ckpt"
    io.save_checkpoint({"payload": Payload()}, path)  # its SHA-256 is right: only weights_only stops it
    with pytest.raises(pickle.UnpicklingError):
        io.load_checkpoint(path)
    assert not (tmp_path / "hacked").exists()


def test_a_kill_while_writing_leaves_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    for number in range(5):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITE_FOREVER, str(path), str(number)], stdout=subprocess.PIPE
        )
        assert writer.stdout is not None
        writer.stdout.readline()
        while not path.exists():
            pass
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
        weights = torch.load(path, weights_only=True)["weights"]
        assert weights.unique().numel() == 1
