"""The words that messages share: a value cut to fit a line, the nearest right name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

MAX_CHARS = 40  # chosen: a message stays one line
MAX_NAMES = 12  # chosen


def shown(value: object) -> str:
    """Return `value` as a message shows it: quoted, at most about 40 characters.

    >>> shown("red"), shown(7.5)
    ("'red'", "'7.5'")
    >>> shown("x" * 100)
    "'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…'"
    """
    text = str(value)
    return repr(text if len(text) <= MAX_CHARS else text[: MAX_CHARS - 1] + "…")


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """Return "; did you mean ...?" for the nearest of `names`, or nothing when none is near.

    >>> did_you_mean("prize", ["area", "price"]), did_you_mean("prize", ["area"])
    ("; did you mean 'price'?", '')
    """
    by_lower = {known.lower(): known for known in names}  # so that Price finds price
    near = difflib.get_close_matches(name.lower(), by_lower, n=1)
    return f"; did you mean {shown(by_lower[near[0]])}?" if near else ""


def listed(names: Iterable[str]) -> str:
    """Return `names` in one line, cut after a dozen.

    >>> listed(["a", "b"]), listed(str(n) for n in range(14))
    ('a, b', '0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, ... (14 in all)')
    """
    every = list(names)
    head = ", ".join(shown(name)[1:-1] for name in every[:MAX_NAMES])
    return head if len(every) <= MAX_NAMES else f"{head}, ... ({len(every)} in all)"
