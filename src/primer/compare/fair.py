"""What can't be compared, and what should be known of those that can."""

from __future__ import annotations

from collections.abc import Sequence

from primer.compare.runs import TrackedRun
from primer.compare.settings import differing, value_of
from primer.errors import UsageError
from primer.folder import read_environment

ALLOWED = ("data", "metric", "unfinished")
MAX_NAMED = 3
SPLIT = ("data.seed", "data.val_fraction", "data.test_fraction", "data.stratify")  # which rows are evaluated
UNIT = "data.standardize"  # what a loss is in


def check(runs: Sequence[TrackedRun], metric: str, allow: Sequence[str]) -> dict[str, str]:
    """What is wrong with a comparison, a line for each kind; raises UsageError for what is not allowed.

    `allow` holds "data" (trained on other data), "metric" (the metric is another quantity), "unfinished"
    (some runs are not finished: they are left out).
    """
    found = {"data": _data(runs), "metric": _metric(runs, metric), "unfinished": _unfinished(runs)}
    problems = {kind: line for kind, line in found.items() if line}
    for kind, line in problems.items():
        if kind not in allow:
            remedy = "leaves these out" if kind == "unfinished" else "compares them all the same"
            raise UsageError(f"can't be compared: {line}; --allow {kind} {remedy}")
    return problems


def _data(runs: Sequence[TrackedRun]) -> str | None:
    digests = {run.digest: run for run in runs if run.digest}
    if len(digests) < 2:
        return None
    some = [f"{value_of(run, 'data')} {digest} ({run.name})" for digest, run in digests.items()]
    return f"data: they trained on {len(digests)} data sets: {_few(some)}"


def _metric(runs: Sequence[TrackedRun], metric: str) -> str | None:
    """Whether it is of other rows, in another unit, or by another criterion."""
    is_loss = metric.endswith("loss")
    split = [key for key in differing(runs) if key in SPLIT or (is_loss and key == UNIT)]
    if split:
        return f"{', '.join(split)}: {metric} is of other rows, or in another unit"
    if not is_loss:
        return None
    keys = sorted({key for run in runs for key in run.params if key.partition(".")[0] == "criterion"})
    found = {
        " ".join(dict.fromkeys(value_of(run, key) for key in keys)): run
        for run in runs
        if run.digest or "criterion" in run.params  # a run that never read its data does not know it
    }
    if len(found) < 2:
        return None
    some = [f"{words} ({run.name})" for words, run in found.items()]
    return f"criterion: {metric} is {len(found)} different quantities: {_few(some)}"


def _unfinished(runs: Sequence[TrackedRun]) -> str | None:
    found = [f"{run.name} {run.status}" for run in runs if run.status != "FINISHED"]
    if not found:
        return None
    verb = "is" if len(found) == 1 else "are"
    return f"status: {len(found)} of {len(runs)} runs {verb} not finished: {_few(found)}"


def _few(words: Sequence[str]) -> str:
    more = len(words) - MAX_NAMED
    return ", ".join(words[:MAX_NAMED]) + (f" and {more} more" if more > 0 else "")


def code_differences(runs: Sequence[TrackedRun]) -> list[str]:
    """Where runs were made with other code: packages, Python, primer's commit, a line each."""
    found: dict[str, dict[str, None]] = {}
    for run in runs:
        for name, version in _versions(run).items():
            found.setdefault(name, {})[version] = None
    return [
        f"{name}: {' and '.join(versions)}" for name, versions in sorted(found.items()) if len(versions) > 1
    ]


def _versions(run: TrackedRun) -> dict[str, str]:
    versions = {
        key.removeprefix("mlflow.source."): run.tags[key][:10]
        for key in ("mlflow.source.git.commit", "primer.git.patch")
        if key in run.tags
    }
    facts = read_environment(run.folder) if run.folder else {}
    if facts:
        versions |= {"python": str(facts.get("python"))} | dict(facts.get("packages", {}))
    return versions
