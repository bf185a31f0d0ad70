"""Checkpoints are whole or not there, and never loaded when damaged."""

from __future__ import annotations

import codecs
import functools
import io
import operator
import os
import pickle
import random
import runpy
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from primer.errors import RunError
from primer.files import write_verified
from primer.training.checkpoint import Checkpoints, VerifiedCheckpointIO

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
    own = VerifiedCheckpointIO()
    own.save_checkpoint({"state_dict": {"w": torch.arange(3)}, "epoch": 4}, tmp_path / "new" / "last.ckpt")
    found = own.load_checkpoint(tmp_path / "new" / "last.ckpt")
    assert found["epoch"] == 4
    assert torch.equal(found["state_dict"]["w"], torch.arange(3))
    own.remove_checkpoint(tmp_path / "new" / "last.ckpt")
    assert list((tmp_path / "new").iterdir()) == []


def test_no_flipped_bit_and_no_truncation_is_loaded(tmp_path: Path) -> None:
    own, path = VerifiedCheckpointIO(), tmp_path / "last.ckpt"
    own.save_checkpoint({"w": torch.randn(1000)}, path)
    whole = path.read_bytes()
    chooser = random.Random(0)
    for _ in range(200):
        damaged = bytearray(whole)
        damaged[chooser.randrange(len(whole))] ^= 1 << chooser.randrange(8)
        path.write_bytes(damaged)
        with pytest.raises(RunError, match="damaged"):
            own.load_checkpoint(path)
    for size in range(0, len(whole), 97):
        path.write_bytes(whole[:size])
        with pytest.raises(RunError, match="damaged"):
            own.load_checkpoint(path)


class Payload:
    """An object whose pickle calls what it is told."""

    def __init__(self, call: object = os.system, *arguments: object) -> None:
        self._reduced = call, arguments or ("touch hacked",)

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return self._reduced


def saved(value: object) -> bytes:
    """As torch.save writes it."""
    torch.save(value, buffer := io.BytesIO())
    return buffer.getvalue()


def zipped(**files: bytes) -> bytes:
    """An archive of these files."""
    with zipfile.ZipFile(buffer := io.BytesIO(), "w") as archive:
        for name, content in files.items():
            archive.writestr(name.replace("__", "/"), content)
    return buffer.getvalue()


CALLS: dict[str, tuple[object, ...]] = {
    "os.system": (os.system, "touch hacked"),
    "eval": (eval, "open('hacked', 'w')"),
    "exec": (exec, "open('hacked', 'w')"),
    "open": (open, "hacked", "w"),
    "popen": (subprocess.Popen, ["touch", "hacked"]),
    "check_output": (subprocess.check_output, ["touch", "hacked"]),
    "import": (__import__, "this"),
    "getattr": (getattr, Path("hacked"), "touch"),
    "remove": (os.remove, "step-1.ckpt"),
    "rmtree": (shutil.rmtree, "."),
    "partial": (functools.partial, os.system, "touch hacked"),
    "attrgetter": (operator.attrgetter("touch"), Path("hacked")),
    "methodcaller": (operator.methodcaller("touch"), Path("hacked")),
    "run_path": (runpy.run_path, "step-1.ckpt"),
    "loads": (pickle.loads, pickle.dumps(Payload())),
    "torch.load": (torch.load, "step-1.ckpt"),
    "from_file": (torch.from_file, "hacked", True, 1),
    "dump": (Path.write_text, Path("hacked"), "x"),
    "touch": (Path.touch, Path("hacked")),
    "codecs": (codecs.decode, "x", "rot13"),
}
MALICIOUS = {
    **{f"calls {name}": saved({"state_dict": {}, "x": Payload(*call)}) for name, call in CALLS.items()},
    "a plain pickle": pickle.dumps(Payload()),
    "an old pickle": pickle.dumps(Payload(), protocol=0),
    "nothing": b"",
    "junk": b"PK\x03\x04junk",
    "text": b"step 2 of 9\n",
    "an archive without data": zipped(archive__version=b"3"),
    "an archive that leaves its place": zipped(**{"..__..__hacked": b"x", "archive__data.pkl": b"x"}),
    "a pickle in an archive": zipped(**{"archive__data.pkl": pickle.dumps(Payload())}),
    "a list": saved([1, 2]),
    "a number": saved(3),
    "an array of objects": saved({"state_dict": np.array([Payload()], dtype=object)}),
    "no weights": saved({"epoch": 1}),
}


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    own, path = VerifiedCheckpointIO(), tmp_path / "last.ckpt"
    own.save_checkpoint({"payload": Payload()}, path)  # its SHA-256 is right: only weights_only stops it
    with pytest.raises(RunError, match=r"last.ckpt: is no checkpoint: UnpicklingError"):
        own.load_checkpoint(path)
    assert not (tmp_path / "hacked").exists()


@pytest.mark.parametrize("content", MALICIOUS)
def test_what_is_no_checkpoint_is_passed_over(
    content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its SHA-256 is right, as of one that somebody sent; the one before it is taken."""
    monkeypatch.chdir(tmp_path)
    checkpoints = Checkpoints(tmp_path)
    VerifiedCheckpointIO().save_checkpoint({"state_dict": {}}, checkpoints.path(1))
    write_verified(checkpoints.path(2), MALICIOUS[content])
    found, path, damaged = checkpoints.newest_whole()
    assert (found, path) == ({"state_dict": {}}, checkpoints.path(1))
    assert list(damaged) == [checkpoints.path(2)]
    assert len(damaged[checkpoints.path(2)].splitlines()) == 1
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
