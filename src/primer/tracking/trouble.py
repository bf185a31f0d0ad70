"""What is wrong with an MLflow store, in a few words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from primer.errors import PrimerError, RunError
from primer.redact import redacted_text

# What an MLflow client says of a store, and what it means.
REASONS = {
    "Connection refused": "refuses connections",
    "Read timed out|timed out": "does not answer in time",
    r"too many (\d+) error": r"answers \1",
    "failed with error code 40[13]": "refuses to let us in",
    "not in a valid JSON": "answers what MLflow would not",
    "Connection (aborted|broken)|reset by peer": "breaks off",
    "database is locked": "is locked by another process",
    "Name or service not known|Failed to resolve": "is an address that nobody knows",
}
FULL = ("database or disk is full", "No space left on device", "File too large", "disk I/O error")


def reason_of(error: Exception) -> str:
    """What is wrong with a store, without secrets.

    >>> reason_of(OSError("[Errno 111] Connection refused"))
    'refuses connections'
    """
    text = redacted_text(str(error)).strip()
    for pattern, reason in REASONS.items():
        found = re.search(pattern, text)
        if found:
            return found.expand(reason)
    return f"raises {type(error).__name__}: {text.partition(chr(10))[0][:200]}"


@contextmanager
def asking(uri: str) -> Iterator[None]:
    """Turn what a store raises into a RunError of one line."""
    try:
        yield
    except PrimerError:
        raise
    except Exception as error:
        raise RunError(f"{redacted_text(uri)} {reason_of(error)}") from error
