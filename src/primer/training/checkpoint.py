"""Checkpoints that are verified before they are used.

Lightning's own writer goes through the system's temporary folder, which is a plain copy onto another
filesystem: a kill there leaves 0 bytes (measured, Lightning 2.6.6). And a flipped bit loads silently.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import CheckpointIO

from primer.errors import RunError
from primer.files import read_verified, remove_verified, step_files, step_of, write_verified


class VerifiedCheckpointIO(CheckpointIO):
    """Write checkpoints atomically with their SHA-256 beside them; read none that does not match it."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        write_verified(path, buffer.getvalue())

    def load_checkpoint(
        self, path: str | Path, map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        content = io.BytesIO(read_verified(Path(path)))
        try:
            checkpoint = torch.load(content, map_location=map_location, weights_only=True)
        except Exception as error:  # of many kinds, for what is no archive, or holds more than weights
            raise RunError(f"{path}: is no checkpoint: {type(error).__name__}") from error
        if not isinstance(checkpoint, dict):
            raise RunError(f"{path}: is no checkpoint: it holds no dict")
        return checkpoint

    def remove_checkpoint(self, path: str | Path) -> None:
        remove_verified(Path(path))


class Checkpoints:
    """The checkpoints of a run, by the step they were taken after: `step-N.ckpt`.

    None is ever overwritten: a new one is written and verified before the last but one is removed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, step: int) -> Path:
        """Where the checkpoint after that step stands."""
        return self.folder / f"step-{step}.ckpt"

    def newest_whole(
        self, at_most: int | None = None
    ) -> tuple[dict[str, Any] | None, Path | None, dict[Path, str]]:
        """The newest checkpoint that is what was written, its path, and what is wrong with newer ones.

        Or the newest of those after no more than `at_most` steps.
        """
        damaged: dict[Path, str] = {}
        for path in step_files(self.folder):
            if at_most is not None and step_of(path) > at_most:
                continue
            try:
                found = VerifiedCheckpointIO().load_checkpoint(path, map_location="cpu")
                if "state_dict" in found:
                    return found, path, damaged
                damaged[path] = f"{path}: is no checkpoint: it has no state_dict"
            except RunError as error:
                damaged[path] = str(error)
        return None, None, damaged

    def prune(self) -> None:
        """Keep the newest two, and nothing that a killed writer left half done."""
        for path in step_files(self.folder)[2:]:
            remove_verified(path)
        for path in self.folder.glob(".*.ckpt*"):
            path.unlink(missing_ok=True)
