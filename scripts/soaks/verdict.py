"""What a soak left: whether each run is as its undisturbed twin, in its folder and in MLflow."""

from __future__ import annotations

import math
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from soaks.actions import EXPERIMENT, has_finished
from soaks.house import House

from primer.finding import jobs_of, run_folders
from primer.folder import is_sweep
from primer.sweep import ledger
from primer.tracking.journal import Record, first_record, points_of, read
from primer.tracking.shipment import LONG
from primer.tracking.tags import CONFIG_HASH, DRIFT, FOLDER
from primer.tracking.thinning import EXTREMES, extremes, stride_of, thinned

CLOSE = 1e-4  # relative, for one that trained in other company: chosen
SCORES = ("accuracy", "f1")  # which jump where a row changes its class
R2 = "r2"  # 1 less what rounds
NUM_TOLD = 3
Point = tuple[str, int, int, float]  # metric, step, milliseconds, value


class Stored(NamedTuple):
    """A run in MLflow's database."""

    status: str
    tags: dict[str, str]
    points: Counter[Point]


class Verdict:
    """Faults that were found, and figures."""

    def __init__(self, house: House) -> None:
        self._house = house
        self.faults: list[str] = []
        self.figures: Counter[str] = Counter()
        self._twins: dict[str, Path] = {}
        for folder in run_folders(house.twins / "outputs"):
            if not is_sweep(folder):
                key = _name_of(folder)
                assert key not in self._twins, f"two twins of {folder}"
                self._twins[key] = folder
        self._sweeps = {_definition(f): f for f in run_folders(house.twins / "outputs") if is_sweep(f)}

    def reach(self) -> None:
        """Look at all that there is."""
        stored = _stored_in(self._house.server.database) + _stored_in(self._house.cwd / "mlflow.db")
        by_folder: dict[str, list[Stored]] = {}
        for run in stored:
            by_folder.setdefault(run.tags.get(FOLDER, "?"), []).append(run)
            self.figures[f"{run.status} in MLflow"] += 1
        for folder in run_folders(self._house.disk):
            if first_record(folder) is None:
                self.figures["folders in which nothing was begun"] += 1
                continue
            runs = by_folder.pop(str(folder), [])
            self._note(folder, self._of_store(folder, runs))
            self._note(folder, self._of_sweep(folder) if is_sweep(folder) else self._of_run(folder))
        self.faults += [f"{folder}: is in MLflow only" for folder in by_folder]

    def _note(self, folder: Path, wrong: Iterable[str]) -> None:
        self.faults += [f"{folder}: {each}" for each in wrong]

    def _of_store(self, folder: Path, runs: list[Stored]) -> Iterator[str]:
        if len(runs) != 1:
            yield f"has {len(runs)} runs in MLflow"
            return
        (run,) = runs
        if run.status != "FINISHED":
            yield f"is {run.status} in MLflow"
        records = read(folder)
        expected = Counter(_sent(records))
        lost, more = expected - run.points, run.points - expected
        num_ends = sum(record["kind"] == "end" for record in records)
        if stride_of(records) > 1 and more.total() <= EXTREMES * (num_ends - 1):
            more -= Counter(set(_points(records)))  # extremes as an attempt that failed had them
        self.figures["points in MLflow"] += run.points.total()
        for words, points in (("lost", lost), ("too many", more)):
            if points:
                yield f"{points.total()} points {words} in MLflow: {list(points)[:NUM_TOLD]}"
        others, told = len(set(_companies(records))) > 1, f"{DRIFT}trained"
        is_told = any(told in record["tags"] for record in records if record["kind"] == "resume")
        if (told in run.tags) != is_told or (others and not is_told):
            yield f"trained in companies of {_companies(records)}, and its tags say {told in run.tags}"

    def _of_sweep(self, folder: Path) -> Iterator[str]:
        self.figures["sweeps"] += 1
        twin = self._sweeps.get(_definition(folder))
        if not has_finished(folder):
            yield "the sweep has no end, or not FINISHED"
        if twin is None:
            yield "no such sweep was asked for"
            return
        names = [sorted(_name_of(job) for job in jobs_of(sweep)) for sweep in (folder, twin)]
        numbers = [job.number for job in ledger.jobs_in(folder)]
        if names[0] != names[1] or numbers != list(range(len(names[1]))):
            yield f"has {len(names[0])} jobs ({numbers} in its ledger), its twin {len(names[1])}"

    def _of_run(self, folder: Path) -> Iterator[str]:
        self.figures["runs"] += 1
        records, twin = read(folder), self._twins.get(_name_of(folder))
        ends = [record["status"] for record in records if record["kind"] == "end"]
        self.figures["attempts that trained"] += len(_companies(records))
        if ends.count("FINISHED") != 1 or records[-1]["kind"] != "end":
            yield f"ends {ends}, then {records[-1]['kind']}"
        points = Counter(_points(records))
        steps = Counter((key, step) for key, step, _, _ in points.elements())
        if steps and max(steps.values()) > 1:
            yield f"{sum(n > 1 for n in steps.values())} points doubled: {steps.most_common(NUM_TOLD)}"
        try:
            table = pd.read_parquet(folder / "curves.parquet")
        except (OSError, ValueError) as error:
            yield f"curves.parquet can't be read: {error}"
        else:
            times = table["time"].astype("datetime64[ms, UTC]").astype("int64")
            if Counter(zip(table["key"], table["step"], times, table["value"], strict=True)) != points:
                yield "curves.parquet is not as the journal"
        if twin is None:
            yield "has no twin"
        else:
            yield from self._unlike(records, read(twin))

    def _unlike(self, records: list[Record], twin: list[Record]) -> Iterator[str]:
        mine, theirs = points_of(records), points_of(twin)
        is_same_company = set(_companies(records)) == set(_companies(twin))
        if mine.keys() != theirs.keys():
            lost, more = (sorted(a.keys() - b.keys()) for a, b in ((theirs, mine), (mine, theirs)))
            yield f"not its twin's steps: {len(lost)} lost {lost[:3]}, {len(more)} too many {more[:3]}"
            return
        self.figures["points compared"] += len(mine)
        differ = [point for point in mine if mine[point] != theirs[point]]
        self.figures["bitwise as their twins"] += not differ
        if is_same_company and differ:
            yield f"{len(differ)} points unlike its twin's: {_told(differ, mine, theirs)}"
        if not is_same_company:
            self.figures["in other company than their twins"] += 1
            far = [
                point
                for point in differ
                if not point[0].endswith(SCORES) and not _are_close(point[0], mine[point], theirs[point])
            ]
            if far:
                yield f"{len(far)} points far from its twin's: {_told(far, mine, theirs)}"


def _are_close(key: str, mine: float, theirs: float) -> bool:
    if key.endswith(R2):
        mine, theirs = 1 - mine, 1 - theirs
    return math.isclose(mine, theirs, rel_tol=CLOSE, abs_tol=CLOSE * 1e-4)


def _told(
    points: list[tuple[str, int]], mine: dict[tuple[str, int], float], theirs: dict[tuple[str, int], float]
) -> str:
    return ", ".join(
        f"{key} at {step}: {mine[key, step]!r} != {theirs[key, step]!r}" for key, step in points[:NUM_TOLD]
    )


def _name_of(folder: Path) -> str:
    """What a run computes."""
    return str((first_record(folder) or {}).get("tags", {}).get(CONFIG_HASH, "nothing"))


def _definition(folder: Path) -> str:
    found = ledger.definition_in(folder)
    return found[1] if found else ""


def _companies(records: list[Record]) -> list[int]:
    """With how many a run trained as one, in each of its attempts."""
    return [record.get("num_fused", 1) for record in records if record["kind"] == "start"]


def _points(records: list[Record]) -> Iterator[Point]:
    for record in records:
        if record["kind"] == "points":
            for step, at, value in zip(record["steps"], record["times"], record["values"], strict=True):
                yield record["key"], step, at, value


def _sent(records: list[Record]) -> set[Point]:
    """The points that MLflow is to have."""
    stride, points = stride_of(records), [record for record in records if record["kind"] == "points"]
    if stride == 1:
        return set(_points(points))
    long = [record for record in points if record["key"] == LONG]
    kept = [*thinned(long, stride), *extremes(records, LONG)]
    others = [record for record in points if record["key"] != LONG]
    return set(_points([{"kind": "points"} | record for record in (*others, *kept)]))


def _stored_in(database: Path) -> list[Stored]:
    """The soak's runs in a database; none where there is none."""
    if not database.exists():
        return []
    runs = (
        "SELECT run_uuid, status FROM runs JOIN experiments USING (experiment_id) "
        "WHERE experiments.name = ? AND runs.lifecycle_stage = 'active'"
    )
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=60)) as opened:
        found = {run: Stored(status, {}, Counter()) for run, status in opened.execute(runs, (EXPERIMENT,))}
        for run, key, value in opened.execute("SELECT run_uuid, key, value FROM tags"):
            if run in found:
                found[run].tags[key] = value
        for run, *point in opened.execute("SELECT run_uuid, key, step, timestamp, value FROM metrics"):
            if run in found:
                found[run].points[tuple(point)] += 1
    return list(found.values())
