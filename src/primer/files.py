"""Files that are whole or not there, whatever dies; and checkpoints by the step they were taken after."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

from primer.errors import RunError, UsageError

ROOT = "outputs"  # in the working directory: all run folders
KEY = ".key"  # in there, nobody else's to read: what marks the journals that were begun here
CURVES, PICTURE = "curves.parquet", "curves.png"  # of a run's metrics
SWEEP_FILE = "multirun.yaml"  # Hydra's word for what a sweep was asked for
FORK = "fork.ckpt"  # a copy of another run's checkpoint, which a new run begins with
STEP_FILE = re.compile(r"step-(\d+)\.ckpt")


def check_plain(folder: Path) -> None:
    """Raise UsageError for a link, a pipe or a device in a run's folder, as one that was received may hold.

    What is written or shipped through it would be another file. `checkpoints` may be on another disk.
    """
    for path in (*folder.iterdir(), *(folder / "model").rglob("*")):
        is_elsewhere = path.is_symlink() and not (path.name == "checkpoints" and path.is_dir())
        if is_elsewhere or not (path.is_file() or path.is_dir()):
            what = "a link" if path.is_symlink() else "no file"
            raise UsageError(f"{path}: is {what}; expected what a run left there")


def write_atomically(path: Path, content: bytes) -> None:
    """Put `content` at `path` so that, whatever dies, the file is the old one or the new one, whole."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise RunError(f"{path}: {len(content):,} bytes can't be written: {error.strerror}") from error
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write_named(path: Path, content: bytes) -> None:
    """Write a file that somebody named: where a link leads, and as it comes into a device or a pipe."""
    path = path.resolve()
    if not path.exists() or path.is_file():
        write_atomically(path, content)
        return
    try:
        path.write_bytes(content)
    except OSError as error:
        raise RunError(f"{path}: can't be written: {error.strerror}") from error


def write_verified(path: Path, content: bytes) -> None:
    """Write a file with its SHA-256 beside it, and read it back.

    >>> path = getfixture("tmp_path") / "a.ckpt"
    >>> write_verified(path, b"weights")
    >>> read_verified(path)
    b'weights'
    """
    write_atomically(path, content)
    write_atomically(_beside(path), f"{hashlib.sha256(content).hexdigest()}  {path.name}\n".encode())
    read_verified(path)


def read_verified(path: Path) -> bytes:
    """The file's content; raises RunError where it is not what was written."""
    try:
        content, known = path.read_bytes(), _beside(path).read_bytes()
    except OSError as error:
        raise RunError(f"{path}: can't be read: {error.strerror} ({error.filename})") from error
    if known.partition(b" ")[0] != hashlib.sha256(content).hexdigest().encode():
        raise RunError(f"{path}: damaged; its SHA-256 is not the one written beside it")
    return content


def bring_fork(checkpoint: Path, folder: Path) -> None:
    """Let the run of a new folder begin with another one's checkpoint."""
    (folder / "checkpoints").mkdir()
    write_verified(folder / "checkpoints" / FORK, read_verified(checkpoint))


def remove_verified(path: Path) -> None:
    """Remove a file and its SHA-256."""
    path.unlink(missing_ok=True)
    _beside(path).unlink(missing_ok=True)


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def step_files(folder: Path) -> list[Path]:
    """The checkpoints `step-N.ckpt` of a folder, whole or not, the newest first."""
    found = [path for path in folder.glob("step-*") if STEP_FILE.fullmatch(path.name)]
    return sorted(found, key=step_of, reverse=True)


def step_of(path: Path) -> int:
    """The step that a checkpoint was taken after.

    >>> step_of(Path("step-12.ckpt"))
    12
    """
    found = STEP_FILE.fullmatch(path.name)
    assert found
    return int(found[1])
