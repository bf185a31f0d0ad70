"""`primer reproduce RUN`: run a tracked run again, and say whether the same numbers come out."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field

from primer.errors import UsageError
from primer.finding import find_folder, is_folder
from primer.model_run import ModelRun, model_from_folder, model_from_store
from primer.result import RunResult
from primer.run import run as run_config
from primer.tracking.facts import COMMIT, changed_since, drift
from primer.tracking.journal import points_of, read
from primer.tracking.tags import COMMAND, REPRODUCES
from primer.tracking.trouble import asking
from primer.tracking.uri import tracking_uri

TOLERANCE = 1e-6  # chosen: some roundings of float32 over a run; other hardware may need more
FUSED_TOLERANCE = 1e-3  # chosen: what rounding grows to in some thousand steps

Points = dict[tuple[str, int], float]


@dataclass(frozen=True)
class Reproduction:
    """What came of running a run again.

    `verdict` is "bitwise equal", "within tolerance" or "different"; `changed` is what is not as it was, a
    line each; `largest` is the largest relative difference of a point, `first` names the first that differs.
    """

    result: RunResult
    verdict: str
    num_points: int
    largest: float = 0.0
    first: str | None = None
    changed: list[str] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """0 where the numbers came out again, else 1."""
        return int(self.verdict == "different")


def reproduce(run: str, *, trust: Sequence[str] = (), tolerance: float = TOLERANCE) -> Reproduction:
    """Run a run again, as `primer reproduce RUN` does, and compare every point.

    A run folder, or `last`, is one's own. A run id names what a tracking store holds: its config may only
    build primer's, torch's and torchmetrics' parts, and those of the packages in `trust`. Raises UsageError
    for a run that is not there, and ConfigError for a config that may not be built.

    >>> reproduce("last").verdict  # doctest: +SKIP
    'bitwise equal'
    """
    if run == "last" or is_folder(run):
        model = model_from_folder(find_folder(run))
    else:
        with asking(tracking_uri(None)):
            model = model_from_store(run, trust=trust)
    if not model.points:
        raise UsageError(f"{run}: has no points to compare with")
    changed = what_changed(model)
    if model.num_fused:
        tolerance = max(tolerance, FUSED_TOLERANCE)
        changed.append(f"trained: as one with {model.num_fused - 1} others -> alone, which rounds otherwise")
    result = run_config(
        model.config,
        tags={REPRODUCES: model.run_id or str(run), COMMAND: shlex.join(["primer", "reproduce", str(run)])},
        prepare=model.bring_checkpoint,
    )
    records = read(result.folder)
    again = points_of(records)
    before = without_old_ends(model.points, again)
    first, largest, num_points = compare(before, again, of_largest=model.num_fused is not None)
    digest = next((r["digest"] for r in records if r["kind"] == "data"), None)
    if model.digest and digest != model.digest:
        changed.append(f"data: digest {model.digest} -> {digest}")
    is_whole = result.status == "FINISHED" and num_points > 0
    verdict = "different" if not is_whole or largest > tolerance else "within tolerance"
    if is_whole and first is None:
        verdict = "bitwise equal"
    return Reproduction(result, verdict, num_points, largest, first, changed)


def compare(before: Points, after: Points, *, of_largest: bool = False) -> tuple[str | None, float, int]:
    """The first point that differs, the largest relative difference, and how many points were compared.

    A point that was there before and is not now differs; a run that was stopped early is compared as far as
    it went. With `of_largest`, differences are relative to the largest value of the metric.

    >>> compare({("loss", 1): 1.0, ("loss", 2): 2.0}, {("loss", 1): 1.0, ("loss", 2): 2.5})
    ('loss at step 2: 2.0 before, 2.5 now', 0.2, 2)
    """
    first, largest = None, 0.0
    scales: dict[str, float] = {}
    for (key, _), value in before.items() if of_largest else ():
        scales[key] = max(scales.get(key, 0.0), abs(value))
    for key, step in sorted(before, key=lambda point: (point[1], point[0])):
        old, new = before[key, step], after.get((key, step))
        if new is None or not (old == new or (math.isnan(old) and math.isnan(new))):
            now = "is missing now" if new is None else f"{new} now"
            first = first or f"{key} at step {step}: {old} before, {now}"
            largest = max(largest, math.inf if new is None else _relative(old, new, scales.get(key, 0.0)))
    return first, largest, len(before)


def without_old_ends(before: Points, after: Points) -> Points:
    """The points without those of an end that a longer training left behind."""
    ends = _ends(before) - _ends(after)
    return {
        (key, step): value
        for (key, step), value in before.items()
        if step not in ends or (key, step) in after
    }


def _ends(points: Points) -> set[int]:
    return {step for key, step in points if key.startswith("final/")}


def _relative(old: float, new: float, scale: float) -> float:
    if not (math.isfinite(old) and math.isfinite(new)):
        return math.inf
    return abs(old - new) / max(abs(old), abs(new), scale)


def what_changed(model: ModelRun) -> list[str]:
    """What of code, packages and machine is not as it was, a line each."""
    changes = drift(model.tags, model.environment)
    lines = [f"{name}: {text}" for name, text in changes.items()]
    if changes.keys() & {"commit", "uncommitted"}:
        lines += [f"git difference: {file}" for file in changed_since(model.tags.get(COMMIT, ""))]
    return lines
