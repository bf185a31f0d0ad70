"""The backend that `hydra/launcher` names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from primer.sweep.backend import Backend
from primer.sweep.cluster import ClusterBackend
from primer.sweep.local import LocalBackend
from primer.sweep.on_ray import RayCluster
from primer.sweep.on_slurm import SlurmCluster


def backend_of(launcher: str, settings: dict[str, Any], folder: Path) -> Backend:
    """What trains the jobs of the sweep in `folder`; `settings` are the keys of `hydra.launcher`."""
    if launcher == "local":
        return LocalBackend(settings)
    cluster = RayCluster(settings) if launcher == "ray" else SlurmCluster(settings)
    return ClusterBackend(cluster, settings, folder)
