"""What a run was: its params, metrics and curves, from its folder or from an MLflow store."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from primer.config.wording import printable
from primer.direction import Watched, watched
from primer.errors import UsageError
from primer.summary import relative
from primer.tracking.curves import histories_of, last_values
from primer.tracking.facts import host
from primer.tracking.journal import NAME as JOURNAL
from primer.tracking.journal import read
from primer.tracking.shipment import id_of
from primer.tracking.tags import CONFIG_HASH, ERROR, FOLDER, FUSED, HOST, PRUNED, SWEEP, params_in, tags_in
from primer.tracking.text import text_of

if TYPE_CHECKING:
    from primer.tracking.reading import StoredRun
    from primer.tracking.store import Store

ENDS = ("final/", "best/", "test/")  # metrics of one point
OUTCOMES = ("FINISHED", "PRUNED", "FAILED", "KILLED", "RUNNING")


@dataclass(frozen=True)
class Curve:
    """A metric of a run: `steps`, `values` and `times` (s since 1970), each of shape (points,)."""

    steps: np.ndarray
    values: np.ndarray
    times: np.ndarray

    @classmethod
    def of(cls, steps: list[int], values: list[float], times_ms: list[int]) -> Curve:
        """In the order of the steps; of a step that was recorded twice the later value."""
        known, places = np.unique(np.array(steps, dtype=np.int64)[::-1], return_index=True)
        last = len(steps) - 1 - places
        return cls(known, np.array(values, np.float64)[last], np.array(times_ms, np.float64)[last] / 1000)

    def is_equal(self, other: Curve) -> bool:
        """Whether both have the same steps and, to the last bit, the same values."""
        return np.array_equal(self.steps, other.steps) and np.array_equal(
            self.values, other.values, equal_nan=True
        )


@dataclass(frozen=True)
class TrackedRun:
    """A run, however it is kept. `status` is one of OUTCOMES; `data` what its journal says of its data."""

    run_id: str | None
    name: str
    status: str
    started_at: float  # s since 1970
    duration_s: float
    params: dict[str, str]
    tags: dict[str, str]
    metrics: dict[str, float]
    data: dict[str, Any] | None
    folder: Path | None
    read_curves: Callable[[], dict[str, Curve]] = field(repr=False)

    @cached_property
    def curves(self) -> dict[str, Curve]:
        """Its metrics over steps; those of one point at its end are among `metrics`."""
        return self.read_curves()

    @property
    def place(self) -> str:
        """What it is called by in a command."""
        return str(relative(self.folder) if self.folder else self.run_id)

    @property
    def digest(self) -> str | None:
        """That of its data; None where it has read none."""
        return self.data["digest"] if self.data else None

    @property
    def own_duration_s(self) -> float:
        """How long it took; not a number where it trained as one with others, which took the time of all."""
        return math.nan if FUSED in self.tags else self.duration_s

    @property
    def monitor(self) -> str:
        """The metric that it watched."""
        return self.params.get("monitor", "val/loss")

    @property
    def watched(self) -> Watched:
        """The metric that it is told by, with its best value."""
        return watched(self.metrics, self.monitor)

    @property
    def identity(self) -> str:
        """Equal for two runs that asked for the same computation."""
        return self.tags.get(CONFIG_HASH) or json.dumps(self.params, sort_keys=True)

    def samples_at(self, steps: np.ndarray) -> np.ndarray:
        """How many samples it had trained on after each of the steps; an epoch's last batch is short."""
        text = self.params.get("batch_size", "1")
        batch = int(text) if text.isdigit() else 1  # of somebody else's run nobody knows: as steps
        num_rows = self.data["num_rows"].get("train") if self.data else None
        if not num_rows:
            return steps * batch
        num_steps = math.ceil(num_rows / batch)  # of an epoch
        rest = np.minimum(num_rows, steps % num_steps * batch)
        return np.asarray(steps // num_steps * num_rows + rest)


def run_in(folder: Path) -> TrackedRun:
    """The run of a folder, from its journal; raises UsageError where that is damaged."""
    records = read(folder)
    if not records or records[0]["kind"] != "run":
        raise UsageError(f"{folder}: its {JOURNAL} does not begin with a run")
    data = next((record for record in reversed(records) if record["kind"] == "data"), None)
    tags: dict[str, str] = dict(records[0]["tags"])
    params: dict[str, str] = {}
    for record in records:
        tags |= tags_in(record)
        params |= {key: text_of(value) for key, value in params_in(record).items()}
    end = records[-1] if records[-1]["kind"] == "end" else {"status": "RUNNING", "error": None}
    if not end["error"]:
        tags.pop(ERROR, None)  # that of an attempt before
    if "job" in records[0]:
        tags[SWEEP] = id_of(folder.parent) or str(folder.parent)
    histories = histories_of(records).items()
    curves = {key: Curve.of(*points) for key, points in histories if not key.startswith(ENDS)}
    return TrackedRun(
        run_id=id_of(folder),
        name=printable(records[0]["name"]),
        status=_outcome(str(end["status"]), tags),
        started_at=records[0]["time"] / 1000,
        duration_s=sum(record["duration_s"] for record in records if record["kind"] == "end"),
        params=params,
        tags=tags,
        metrics=last_values(records),
        data=data,
        folder=folder,
        read_curves=lambda: curves,
    )


def run_of(entity: StoredRun, store: Store) -> TrackedRun:
    """A run of an MLflow store; from its folder where that is here.

    Of a run that was resumed MLflow has the first params, and a duration with the time between attempts.
    """
    tags, run_id = dict(entity.data.tags), str(entity.info.run_id)
    folder = Path(tags.get(FOLDER, ""))
    if tags.get(HOST) == host() and (folder / JOURNAL).exists() and id_of(folder) == run_id:
        return run_in(folder)
    datasets = entity.inputs.dataset_inputs if entity.inputs else []
    start, end = entity.info.start_time, entity.info.end_time

    def curves() -> dict[str, Curve]:
        from primer.tracking.reading import histories

        keys = [key for key in entity.data.metrics if not key.startswith(ENDS)]
        return {key: Curve.of(*points) for key, points in histories(store, run_id, keys).items()}

    return TrackedRun(
        run_id=run_id,
        name=printable(str(entity.info.run_name)),
        status=_outcome(str(entity.info.status), tags),
        started_at=start / 1000,
        duration_s=(end - start) / 1000 if end else 0.0,
        params=dict(entity.data.params),
        tags=tags,
        metrics=dict(entity.data.metrics),
        data=_data(datasets[0].dataset) if datasets else None,
        folder=None,
        read_curves=curves,
    )


def _outcome(status: str, tags: dict[str, str]) -> str:
    """A run that a search stopped as hopeless has FINISHED in MLflow's words."""
    return "PRUNED" if status == "FINISHED" and PRUNED in tags else status


def _data(dataset: Any) -> dict[str, Any]:
    """What the journal says of the data, from what MLflow knows; without columns where that is not ours."""
    found: dict[str, Any] = {"name": str(dataset.name), "digest": str(dataset.digest), "num_rows": {}}
    try:
        schema, profile = json.loads(dataset.schema or "{}"), json.loads(dataset.profile or "{}")
        columns = {
            "features": [str(column["name"]) for column in schema["features"]],
            "target": str(schema["target"]),
            "num_rows": {str(split): int(count) for split, count in profile["num_rows"].items()},
        }
    except (ValueError, KeyError, TypeError, AttributeError):  # a dataset of somebody else's
        return found
    return found | columns
