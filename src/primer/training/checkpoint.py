"""Checkpoints that are whole or not there, and are verified before they are used.

Lightning's own writer goes through the system's temporary folder, which is a plain copy onto another
filesystem: a kill there leaves 0 bytes (measured, Lightning 2.6.6). And a flipped bit loads silently.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import CheckpointIO

from primer.errors import RunError

STEP_FILE = re.compile(r"step-(\d+)\.ckpt")


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


class VerifiedCheckpointIO(CheckpointIO):
    """Write checkpoints atomically with their SHA-256 beside them; read none that does not match it."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        content = buffer.getvalue()
        write_atomically(path, content)
        write_atomically(_beside(path), f"{hashlib.sha256(content).hexdigest()}  {path.name}\n".encode())
        _verified(path)

    def load_checkpoint(
        self, path: str | Path, map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        checkpoint: dict[str, Any] = torch.load(
            io.BytesIO(_verified(Path(path))), map_location=map_location, weights_only=True
        )
        return checkpoint

    def remove_checkpoint(self, path: str | Path) -> None:
        Path(path).unlink(missing_ok=True)
        _beside(Path(path)).unlink(missing_ok=True)


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def _verified(path: Path) -> bytes:
    """The file's content; raises RunError where it is not what was written."""
    try:
        content, known = path.read_bytes(), _beside(path).read_bytes()
    except OSError as error:
        raise RunError(f"{path}: can't be read: {error.strerror} ({error.filename})") from error
    if known.partition(b" ")[0] != hashlib.sha256(content).hexdigest().encode():
        raise RunError(f"{path}: damaged; its SHA-256 is not the one written beside it")
    return content


class Checkpoints:
    """The checkpoints of a run, by the step they were taken after: `step-N.ckpt`.

    None is ever overwritten: a new one is written and verified before the last but one is removed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, step: int) -> Path:
        """Where the checkpoint after that step stands."""
        return self.folder / f"step-{step}.ckpt"

    def newest_first(self) -> list[Path]:
        """All of them, whole or not."""
        steps = [int(found[1]) for path in self.folder.glob("step-*") if (found := _step_of(path))]
        return [self.path(step) for step in sorted(steps, reverse=True)]

    def newest_whole(self) -> tuple[dict[str, Any] | None, Path | None, list[str]]:
        """The newest checkpoint that is what was written, its path, and what is wrong with newer ones."""
        complaints: list[str] = []
        for path in self.newest_first():
            try:
                return VerifiedCheckpointIO().load_checkpoint(path, map_location="cpu"), path, complaints
            except RunError as error:
                complaints.append(str(error))
        return None, None, complaints

    def prune(self) -> None:
        """Keep the newest two, and nothing that a killed writer left half done."""
        for path in self.newest_first()[2:]:
            VerifiedCheckpointIO().remove_checkpoint(path)
        for path in self.folder.glob(".*.ckpt*"):
            path.unlink(missing_ok=True)


def _step_of(path: Path) -> re.Match[str] | None:
    return STEP_FILE.fullmatch(path.name)
