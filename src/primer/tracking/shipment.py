"""What of a run's journal is in an MLflow store, and how the rest gets there.

The mark of what has arrived stands in the store, as a tag of the run that is set with the points it counts.
So a journal can be shipped at any time, by anybody, any number of times, into a store that lost it, too:
MLflow keeps a point that it already has once, and a run is known by the id in its journal's first record.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from primer.files import CURVES, PICTURE, check_plain
from primer.tracking.journal import NAME as JOURNAL
from primer.tracking.journal import Follower, Record, is_end_of_line, last_attempt, last_record, read, sync
from primer.tracking.tags import PARENT, SHIPPED, SWEEP, params_in, tags_in
from primer.tracking.thinning import extremes, stride_of, thinned

if TYPE_CHECKING:
    from primer.tracking.store import Store

ARTIFACTS = (
    "multirun.yaml",
    "sweep.csv",
    "sweep.md",
    "report.html",
    "config.yaml",
    "environment.json",
    "uncommitted.patch",
    CURVES,
    PICTURE,
    "traceback.txt",
    "verification.md",
)
RECEIPT = "mlflow.json"
LONG = "train/loss"  # the curve that has a point a step


def id_of(folder: Path) -> str | None:
    """The id of a folder's run in MLflow, if it has arrived there."""
    try:
        return str(json.loads((folder / RECEIPT).read_text())["run_id"])
    except (OSError, ValueError, KeyError):  # not there, or torn: the next shipment writes it again
        return None


class LateStore:
    """The store at a uri, opened when it is first needed; its module takes 1.5 s to import."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.opened: Store | None = None
        self.sweeps: dict[str, str] = {}  # the ids of their runs in there, by the ids in their journals

    def open(self) -> Store:
        """The store."""
        if self.opened is None:
            from primer.tracking.store import Store

            self.opened = Store(self.uri)
        return self.opened


class Shipment:
    """Ships one run folder to the store at `uri`, which shipments may share.

    Nothing is created or reopened there before the worker has said that its parts fit and training starts,
    or a sweep that it has jobs.
    """

    def __init__(
        self,
        folder: Path,
        uri: str,
        store: LateStore | None = None,
        *,
        wake: Callable[[], None] = lambda: None,
    ) -> None:
        self.run_id: str | None = None
        self.has_arrived = False
        self.was_deleted = False  # in the store, by somebody: it stays so
        self.end: Record | None = None  # for a journal that had no room for it
        self.folder = folder
        self._wake = wake
        self._late = store or LateStore(uri)
        self._follower = Follower(folder)
        self._waiting: list[Record] = []
        self._id = self.experiment_id = ""
        self._is_new = False  # nothing of it was there, and nothing that failed may have arrived
        self._last_step = 0
        self._has_jobs = False
        self._stride: int | None = None
        self._attempt = 0  # of those that began while this ships

    def again(self) -> None:
        """Another attempt of the run has begun: its journal has no end any more."""
        self._attempt += 1
        self.end, self.has_arrived = None, self.was_deleted

    def finish(self, end: Record) -> None:
        """The journal has its end, or had no room for it: ship that, and soon."""
        self.end = end
        self._wake()

    @property
    def is_complete(self) -> bool:
        """Whether all there will be is there to be shipped, and was not."""
        return self.end is not None and not self.has_arrived

    def advance(self) -> bool:
        """Ship what is new; whether anything was. What fails is tried again by the next call."""
        attempt = self._attempt
        self._waiting += self._follower.new()
        sync(self.folder)  # the store never knows more than the disk
        if self.end and self.end not in self._waiting:
            self._waiting.append(self.end)
        kinds = {record["kind"] for record in last_attempt(self._waiting)}
        if "data" in kinds:
            import primer.tracking.store  # noqa: F401 - 1.5 s, while the worker imports torch
        # a sweep's jobs are in its ledger from its first attempt on
        self._has_jobs |= any(record["kind"] == "job" for record in self._waiting)
        is_begun = not kinds & {"run", "resume"} or kinds & {"start", "end"}
        if not self._waiting or not (is_begun or self._has_jobs):
            return False
        if self.run_id is None:
            self._find_or_create()
        if not self._waiting:
            return False
        try:
            self._ship(self._waiting)
        except Exception:
            self._is_new = False  # some of it may have arrived
            raise
        self.has_arrived = self._waiting[-1]["kind"] == "end" and attempt == self._attempt
        self._waiting = []
        return True

    def add(self, files: list[Path]) -> bool:
        """Add files to the artifacts of a run that is there; whether it is."""
        if self.run_id is None or self.was_deleted:
            return False
        self._late.open().log_artifacts(self.run_id, files)
        return True

    def _find_or_create(self) -> None:
        """Make the run known, or find it: by its id, and go on after what has arrived."""
        store, header = self._late.open(), self._waiting[0]
        self._id = header["id"]
        self.experiment_id = store.experiment(header["experiment"] or "primer")
        found = store.find_runs(self.experiment_id, header["id"])
        if found and found[0].info.lifecycle_stage == "deleted":
            self.was_deleted = self.has_arrived = True
            self._waiting = []
            return
        if found:
            run_id = str(found[0].info.run_id)
        else:
            run_id = store.create_run(self.experiment_id, header, self._sweep_tags(header))
        self._is_new = not found
        shipped = found[0].data.tags.get(SHIPPED) if found else None
        if shipped and is_end_of_line(self.folder, int(shipped)):
            self._follower = Follower(self.folder, offset=int(shipped))
            self._waiting = list(self._follower.new())
            self.has_arrived = not self._waiting and (last_record(self.folder) or {})["kind"] == "end"
        with suppress(OSError):  # of the folder's disk, not the store's: the next shipment writes it again
            (self.folder / RECEIPT).write_text(json.dumps({"run_id": run_id}))
        self.run_id = run_id

    def _sweep_tags(self, header: Record) -> dict[str, str]:
        """What ties a sweep's job to the sweep's own run, which is shipped before it."""
        if "job" not in header:
            return {}
        run_id = self._late.sweeps.get(header["job"]["sweep"]) or self._find_or_ship_sweep(header["job"])
        if run_id is None:
            return {}
        self._late.sweeps[header["job"]["sweep"]] = run_id
        return {SWEEP: run_id, PARENT: run_id}

    def _find_or_ship_sweep(self, job: Record) -> str | None:
        found = self._late.open().find_runs(self.experiment_id, job["sweep"])
        folder = Path(job["folder"])
        if found or folder not in self.folder.parents or not (folder / JOURNAL).exists():
            return str(found[0].info.run_id) if found else None
        check_plain(folder)
        sweep = Shipment(folder, self._late.uri, self._late)
        sweep.advance()
        return sweep.run_id

    def _ship(self, records: list[Record]) -> None:
        """Bring records to the store, in as few calls as it has; the mark of what has arrived comes last."""
        assert self.run_id
        store = self._late.open()
        points = [record for record in records if record["kind"] == "points"]
        if points:
            self._last_step = points[-1]["steps"][-1]
        params, tags, end = dict[str, Any](), dict[str, str](), None
        for record in records:
            if record["kind"] == "resume":
                if end:
                    self._end(end)
                store.log_params(self.run_id, params, is_new=self._is_new)
                self._is_new, params, end = False, {}, None
                store.reopen(self.run_id)
            params |= params_in(record)
            tags |= tags_in(record)
            if record["kind"] == "data":
                store.log_dataset(self.run_id, record, is_new=self._is_new)
            elif record["kind"] == "end":
                end = record
        store.log_params(self.run_id, params, is_new=self._is_new)
        mark = {SHIPPED: str(self._follower.offset)}
        store.log(self.run_id, self._kept(points), tags if end else tags | mark)
        if end:
            self._end(end)
            store.log(self.run_id, [], mark)

    def _kept(self, points: list[Record]) -> list[Record]:
        """The points that MLflow gets."""
        if self._stride is None:
            self._stride = stride_of(Follower(self.folder).new())
        if self._stride == 1:
            return points
        long = [record for record in points if record["key"] == LONG]
        return [record for record in points if record["key"] != LONG] + thinned(long, self._stride)

    def _end(self, record: Record) -> None:
        assert self.run_id
        store = self._late.open()
        if self._stride not in (None, 1):
            store.log(self.run_id, extremes(read(self.folder), LONG), {})
        artifacts = [self.folder / name for name in ARTIFACTS]
        if record["error"]:
            artifacts.append(self.folder / "worker.log")
        store.log_artifacts(self.run_id, [path for path in artifacts if path.exists()])
        model = self.folder / "model"
        if (model / "MLmodel").exists():
            store.log_model(self.run_id, self.experiment_id, model, self._last_step, is_new=self._is_new)
        store.delete_doubles(self.experiment_id, self._id)
        store.end(self.run_id, record["status"], record["time"])
