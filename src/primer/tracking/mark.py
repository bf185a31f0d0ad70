"""A mark in a run's journal that only this project's `outputs` can have made.

The journal says which store the run is shipped to. One that was received says so, too, and whoever wrote it
would be sent what this user's credentials open.
"""

from __future__ import annotations

import hmac
import os
import secrets
import time
from contextlib import suppress
from pathlib import Path

from primer.files import KEY, ROOT

NUM_BYTES = 32
_made: set[Path] = set()  # keys, by this process


def mark_of(run_id: str, uri: str | None) -> str | None:
    """The mark of a run that is shipped to `uri`; None where no key can be kept.

    >>> getfixture("monkeypatch").chdir(getfixture("tmp_path"))
    >>> mark_of("a", "http://host") == mark_of("a", "http://host") != mark_of("a", "http://other")
    True
    """
    path = _path()
    with suppress(OSError):  # it is there, or can't be
        path.parent.mkdir(exist_ok=True)
        with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
            file.write(secrets.token_bytes(NUM_BYTES))
        _made.add(path)
    return _mark(run_id, uri)


def forget_key() -> None:
    """Remove the key if it was made by this process and nothing else is beside it: no run was begun."""
    path = _path()
    if path in _made and [other.name for other in path.parent.iterdir()] == [KEY]:
        path.unlink()
        _made.discard(path)


def is_marked(run_id: str, uri: str | None, mark: object) -> bool:
    """Whether that mark was made here; writes nothing."""
    own = _mark(run_id, uri)
    return own is not None and isinstance(mark, str) and hmac.compare_digest(own.encode(), mark.encode())


def _mark(run_id: str, uri: str | None) -> str | None:
    for _ in range(100):
        try:
            key = _path().read_bytes()
        except OSError:
            return None
        if len(key) == NUM_BYTES:
            return hmac.digest(key, f"{run_id} {uri}".encode(), "sha256").hex()
        time.sleep(0.01)  # another process is about to write it
    return None


def _path() -> Path:
    return Path.cwd() / ROOT / KEY
