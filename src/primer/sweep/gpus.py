"""The GPUs of this machine, without importing torch."""

from __future__ import annotations

import os
import subprocess


def visible_gpus() -> list[int]:
    """The numbers of the GPUs that this process may use: of $CUDA_VISIBLE_DEVICES, else of nvidia-smi."""
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if listed is not None:
        return [int(number) for number in listed.split(",") if number.strip().isdigit()]
    try:
        done = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return list(range(sum(line.startswith("GPU ") for line in done.stdout.splitlines())))
