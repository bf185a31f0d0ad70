"""Which way a metric is better."""

import math

FALLING = ("loss", "mae", "rmse")


def is_falling(metric: str) -> bool:
    """Whether less is better.

    >>> is_falling("val/loss"), is_falling("val/accuracy")
    (True, False)
    """
    return metric.rpartition("/")[2] in FALLING


def rank(metric: str, value: float | None) -> tuple[bool, float]:
    """What sorts values of a metric, the best first, those that are none last.

    >>> sorted([0.1, None, 0.3], key=lambda value: rank("val/accuracy", value))
    [0.3, 0.1, None]
    """
    if value is None or math.isnan(value):
        return True, 0.0
    return False, value if is_falling(metric) else -value
