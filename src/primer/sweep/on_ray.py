"""Tasks on a Ray cluster."""

from __future__ import annotations

import logging
import os
import socket
from typing import Any

from primer.errors import UsageError, first_line
from primer.sweep.cluster import Task
from primer.sweep.task import run_task


class RayCluster:
    """A cluster that is there, or one of this machine alone that ends with the sweep."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self._settings = settings

    def open(self) -> None:
        """Connect to the cluster of `address`, of $RAY_ADDRESS or of this machine, else start one."""
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            import ray
        except ImportError:
            raise UsageError("hydra/launcher=ray: needs Ray: pip install 'torch-primer[ray]'") from None
        address = self._settings["address"] or os.environ.get("RAY_ADDRESS")
        try:
            _check(address)
            ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
        except (OSError, ValueError, RuntimeError) as error:
            where = f"hydra.launcher.address={address or 'null'}"
            raise UsageError(f"{where}: {first_line(error)}") from None
        self._ray = ray
        decorated = ray.remote(
            num_cpus=self._settings["cpus_per_job"],
            num_gpus=self._settings["gpus_per_job"],
            max_retries=0,  # a job is retried by its sweep, which sees why
            max_calls=1,  # a fresh process each
        )
        self._remote = decorated(run_task)

    def submit(self, name: str, *arguments: Any) -> Task:
        """Ray runs it where there is room."""
        return _RayTask(self._ray, self._remote.options(name=name).remote(*arguments))

    def close(self) -> None:
        """Disconnect; a cluster that was started here ends."""
        self._ray.shutdown()


def _check(address: str | None) -> None:
    """Raise OSError where nobody listens: Ray itself takes minutes to say so."""
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if port.isdigit():
        socket.create_connection((host, int(port)), timeout=10).close()


class _RayTask:
    def __init__(self, ray: Any, reference: Any) -> None:
        self._ray, self._reference = ray, reference

    def is_done(self) -> bool:
        return bool(self._ray.wait([self._reference], timeout=0)[0])

    def cancel(self) -> None:
        self._ray.cancel(self._reference, force=True)

    def error(self) -> str | None:
        try:
            wrong: str | None = self._ray.get(self._reference)
        except Exception as error:  # whatever Ray says, or the task raised
            return f"its task on Ray ended: {first_line(error) or type(error).__name__}"
        return wrong
