"""Which MLflow store a run goes to."""

from __future__ import annotations

import os
import re
from pathlib import Path

SQLITE = "sqlite:///"


def tracking_uri(configured: str | None) -> str:
    """The configured store, else $MLFLOW_TRACKING_URI, else mlflow.db in the working directory.

    >>> tracking_uri("http://127.0.0.1:5000")
    'http://127.0.0.1:5000'
    """
    uri = configured or os.environ.get("MLFLOW_TRACKING_URI") or f"{SQLITE}mlflow.db"
    return f"{SQLITE}{sqlite_path(uri)}" if uri.startswith(SQLITE) else uri


def without_password(text: str) -> str:
    """The text without the user and password that an address in it may carry.

    >>> without_password("no answer from http://me:secret@host:5000/api")
    'no answer from http://host:5000/api'
    >>> without_password("http://me:p@ss@host")
    'http://host'
    """
    return re.sub(r"//[^/\s]+@", "//", text)


def sqlite_path(uri: str) -> Path:
    """The file of a SQLite URI, absolute: three slashes and a relative path, or four and an absolute one."""
    return Path(uri.removeprefix(SQLITE)).absolute()
