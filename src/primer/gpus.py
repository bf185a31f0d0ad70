"""The GPUs of this machine, and how jobs share them, without importing torch."""

from __future__ import annotations

import itertools
import os
import subprocess

from primer.errors import UsageError


def visible_gpus() -> list[str]:
    """The GPUs that this process may use: of $CUDA_VISIBLE_DEVICES, else of nvidia-smi."""
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if listed is not None:  # numbers or UUIDs; CUDA sees none from the first wrong one on
        words = [word.strip() for word in listed.split(",")]
        return list(
            itertools.takewhile(lambda word: word.isdigit() or word.startswith(("GPU-", "MIG-")), words)
        )
    try:
        done = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return [
        str(number) for number in range(sum(line.startswith("GPU ") for line in done.stdout.splitlines()))
    ]


def shared_out(gpus: list[str], per_job: float) -> list[str]:
    """What each of the jobs that run at once sees, as $CUDA_VISIBLE_DEVICES: some GPUs, or a share of one.

    Raises UsageError where that does not work out.

    >>> shared_out(["0", "1", "2", "3"], 2), shared_out(["0", "1"], 0.5), shared_out([], 1)
    (['0,1', '2,3'], ['0', '1', '0', '1'], [])
    """
    asked = f"hydra.launcher.gpus_per_job={per_job:g}"
    num = round(per_job if per_job >= 1 else 1 / per_job)
    if abs(num - (per_job if per_job >= 1 else 1 / per_job)) > 0.05:  # 0.33 is a third
        raise UsageError(f"{asked}: expected a whole number, or a share of one GPU such as 0.5 or 0.25")
    if per_job < 1:
        return gpus * num
    if len(gpus) < num and num > 1:
        raise UsageError(f"{asked}: found {', '.join(gpus) or 'no GPU'}")
    return [",".join(gpus[first : first + num]) for first in range(0, len(gpus) - num + 1, num)]
