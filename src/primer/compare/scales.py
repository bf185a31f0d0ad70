"""Which axes are logarithmic by themselves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from primer.errors import UsageError
from primer.tracking.curves import falls_far

SCALES = ("auto", "linear", "log")
LOG_KEYS = ("lr", "batch_size", "weight_decay", "eps", "hidden_dim")  # chosen over decades, or by doubling
WIDE = 8  # times, of any other number


def is_log(values: Iterable[np.ndarray], scale: str = "auto") -> bool:
    """Whether values of a metric are drawn on a log scale; never where one is not above 0."""
    if scale not in SCALES:
        raise UsageError(f"scale={scale}: expected one of {', '.join(SCALES)}")
    found = np.concatenate([np.asarray(some, dtype=float) for some in values] or [np.ones(1)])
    found = found[np.isfinite(found)]
    if scale == "linear" or not len(found) or found.min() <= 0:
        return False
    return scale == "log" or falls_far(found.tolist())


def is_log_key(key: str, numbers: Sequence[float]) -> bool:
    """Whether a setting is drawn on a log scale.

    >>> is_log_key("optimizer.lr", [0.1, 0.01]), is_log_key("data.fraction", [0.1, 0.2, 0.3])
    (True, False)
    """
    if min(numbers) <= 0:
        return False
    return key.rpartition(".")[2] in LOG_KEYS or max(numbers) > WIDE * min(numbers)
