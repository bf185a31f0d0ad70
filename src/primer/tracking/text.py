"""Values as MLflow keeps them."""

from __future__ import annotations

from typing import Any


def text_of(value: Any) -> str:
    """A param's value as text.

    >>> text_of(True), text_of(0.1), text_of([1, 2])
    ('true', '0.1', '[1, 2]')
    """
    return str(value).lower() if isinstance(value, bool) else str(value)
