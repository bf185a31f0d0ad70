"""Facts about where a run happened: the code's commit, the packages, the machine."""

from __future__ import annotations

import getpass
import os
import platform
import subprocess
import sys
from importlib import metadata
from typing import Any


def source_facts() -> dict[str, str]:
    """Tags that MLflow's page shows for who started a run, and with what."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container whose user has no name
        user = "unknown"
    return {"mlflow.user": user, "mlflow.source.name": "primer", "mlflow.source.type": "LOCAL"}


def git_facts() -> dict[str, str]:
    """Tags for the commit of the working directory and whether it has changes; none outside git."""
    commit = _git("rev-parse", "HEAD")
    if commit is None:
        return {}
    changes = _git("status", "--porcelain", "--untracked-files=no")
    dirty = "true" if changes else "false"
    return {"mlflow.source.git.commit": commit, "primer.git.dirty": dirty}


def _git(*arguments: str) -> str | None:
    try:
        # a network filesystem can make git slow; a run does not wait for it
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def environment() -> dict[str, Any]:
    """Python, platform and the version of every installed package."""
    packages = {dist.metadata["Name"]: dist.version for dist in metadata.distributions()}
    return {
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "machine": platform.machine(),
        "num_cpus": os.cpu_count(),
        "packages": dict(sorted(packages.items(), key=lambda item: str(item[0]).lower())),
    }
