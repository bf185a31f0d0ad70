"""Which way a metric is better."""

FALLING = ("loss", "mae", "rmse")


def is_falling(metric: str) -> bool:
    """Whether less is better.

    >>> is_falling("val/loss"), is_falling("val/accuracy")
    (True, False)
    """
    return metric.rpartition("/")[2] in FALLING
