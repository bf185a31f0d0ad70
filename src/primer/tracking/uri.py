"""Which MLflow store a run goes to."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

SQLITE = "sqlite:///"


def tracking_uri(configured: str | None) -> str:
    """The configured store, else $MLFLOW_TRACKING_URI, else mlflow.db in the working directory.

    >>> tracking_uri("http://127.0.0.1:5000")
    'http://127.0.0.1:5000'
    """
    uri = configured or os.environ.get("MLFLOW_TRACKING_URI") or f"{SQLITE}mlflow.db"
    return f"{SQLITE}{sqlite_path(uri)}" if uri.startswith(SQLITE) else uri


def uri_of(config: dict[str, Any]) -> str:
    """The store that a run with this config goes to."""
    return tracking_uri(config["tracking"].get("uri"))


def sqlite_path(uri: str) -> Path:
    """The file of a SQLite URI, absolute: three slashes and a relative path, or four and an absolute one."""
    return Path(uri.removeprefix(SQLITE)).absolute()
