"""Curves out of a journal: every point as a Parquet file, and a picture of the losses."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from primer.files import CURVES, PICTURE, write_atomically
from primer.tracking.journal import Record

Curve = tuple[list[int], list[float]]
History = tuple[list[int], list[float], list[int]]  # and times, in ms since 1970
FALLS_FAR = 20  # chosen, times: a loss that falls so far is seen on a log scale only


def warm_up() -> None:
    """Import what writing takes, 0.8 s of it."""
    import matplotlib.backends.backend_agg  # noqa: F401
    import pyarrow.parquet  # noqa: F401


def histories_of(records: Iterable[Record]) -> dict[str, History]:
    """Steps, values and times of each metric, in the order recorded."""
    found: dict[str, History] = {}
    for record in records:
        if record["kind"] == "points":
            history = found.setdefault(record["key"], ([], [], []))
            for kept, name in zip(history, ("steps", "values", "times"), strict=True):
                kept += record[name]
    return found


def curves_of(records: Iterable[Record]) -> dict[str, Curve]:
    """Steps and values of each metric."""
    return {key: (steps, values) for key, (steps, values, _) in histories_of(records).items()}


def falls_far(values: Sequence[float]) -> bool:
    """Whether a curve is to be drawn on a log scale."""
    return 0 < FALLS_FAR * min(values) < max(values)


def last_values(records: list[Record]) -> dict[str, float]:
    """The last value of each metric."""
    return {key: values[-1] for key, (_, values) in curves_of(records).items()}


def write(records: list[Record], folder: Path, *, has_picture: bool = True) -> None:
    """Write `curves.parquet` and, when there is a loss to show, `curves.png`, into a run's folder."""
    _write_table(records, folder / CURVES)
    losses = {key: curve for key, curve in curves_of(records).items() if key in ("train/loss", "val/loss")}
    if losses and has_picture:
        _draw(losses, folder / PICTURE)


def _write_table(records: list[Record], path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns: dict[str, list[Any]] = {"key": [], "step": [], "time": [], "value": []}
    for record in records:
        if record["kind"] == "points":
            columns["key"] += [record["key"]] * len(record["steps"])
            columns["step"] += record["steps"]
            columns["time"] += record["times"]
            columns["value"] += record["values"]
    types = [pa.string(), pa.int64(), pa.timestamp("ms", tz="UTC"), pa.float64()]
    arrays = [pa.array(values, kind) for values, kind in zip(columns.values(), types, strict=True)]
    pq.write_table(pa.table(dict(zip(columns, arrays, strict=True))), content := io.BytesIO())
    _replace(path, content)


def _draw(losses: dict[str, Curve], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")  # no pyplot: no global state, no window
    axes = figure.add_subplot()
    for key, (steps, values) in losses.items():
        is_noisy = key == "train/loss" and len(steps) > 50
        axes.plot(steps, values, label=key, linewidth=0.8 if is_noisy else 1.8, zorder=1 if is_noisy else 2)
    if falls_far([value for _, curve in losses.values() for value in curve]):
        axes.set_yscale("log")
    axes.set_xlabel("optimizer step")
    axes.set_ylabel("loss")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(content := io.BytesIO(), format="png", dpi=120)
    _replace(path, content)


def _replace(path: Path, content: io.BytesIO) -> None:
    """Where there is no room for it, nothing is there: no part of it, and none of an earlier attempt."""
    path.unlink(missing_ok=True)
    write_atomically(path, content.getvalue())
