"""Which points of a long curve MLflow gets of a run that trained with others; `curves.parquet` has all.

Thousands of runs that train in seconds make more rows than any database takes in that time, and MLflow's page
draws a few hundred points of a curve. Which points are kept follows from the journal alone, so that shipping
again sends the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from primer.tracking.journal import Record

EXTREMES = 3  # points of a curve that are kept wherever they are: the least, the largest, the last


def thinned(points: Iterable[Record], stride: int) -> list[Record]:
    """Of records of points those whose step is a multiple of `stride`.

    >>> thinned([{"key": "train/loss", "steps": [1, 2, 3], "times": [5, 6, 7], "values": [4, 3, 2]}], 2)
    [{'key': 'train/loss', 'steps': [2], 'times': [6], 'values': [3]}]
    """
    kept = []
    for record in points:
        places = [index for index, step in enumerate(record["steps"]) if step % stride == 0]
        chosen = {name: [record[name][index] for index in places] for name in ("steps", "times", "values")}
        kept.append(record | chosen)
    return kept


def extremes(records: Iterable[Record], key: str) -> list[Record]:
    """The least, the largest and the last point of a curve, each a record."""
    points = [
        (value, step, time)
        for record in records
        if record["kind"] == "points" and record["key"] == key
        for step, time, value in zip(record["steps"], record["times"], record["values"], strict=True)
        if math.isfinite(value)
    ]
    if not points:
        return []
    found = {min(points), max(points), max(points, key=lambda point: point[1])}
    return [{"key": key, "steps": [step], "times": [time], "values": [value]} for value, step, time in found]


def stride_of(records: Iterable[Record]) -> int:
    """Every how many steps a point of a run is kept, as its journal's first records say; 1: all are."""
    header: Record = {}
    for record in records:
        if record["kind"] == "run":
            header = record
        if record["kind"] == "start" and "num_fused" in record and header.get("points"):
            num_steps, num_points = int(record["num_steps"]), int(header["points"])
            return max(1, math.ceil(num_steps / (num_points - EXTREMES)))
    return 1
