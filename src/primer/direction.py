"""Which metric a run is told by, and which way a metric is better."""

import math
import re
from collections.abc import Container, Mapping

FALLING = ("loss", "mae", "rmse")
Watched = tuple[str, float | None]  # a metric, and its value in a run


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


def watched(metrics: Mapping[str, float], monitor: str) -> Watched:
    """The metric that stands for a run, with its best value: `monitor`, else the training loss.

    >>> watched({"final/val/loss": 0.5, "best/val/loss": 0.4}, "val/loss"), watched({}, "val/loss")
    (('val/loss', 0.4), ('val/loss', None))
    >>> watched({"train/loss": 2.0, "final/train/loss": 2.0}, "val/loss")
    ('train/loss', 2.0)
    """
    key = watched_key(metrics, monitor)
    return (monitor, None) if key is None else (re.sub("^(best|final)/", "", key), metrics[key])


def watched_key(keys: Container[str], monitor: str) -> str | None:
    """The key of that value: a number of a run that has come to its end, else the last one recorded."""
    known = (f"best/{monitor}", f"final/{monitor}", "final/train/loss", monitor)
    return next((key for key in known if key in keys), None)
