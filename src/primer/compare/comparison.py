"""Runs grouped by what was switched, with a verdict."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from primer.compare import fair
from primer.compare.curves import bands, curve_of
from primer.compare.groups import Group, groups_of, without_repeats
from primer.compare.runs import ENDS, TrackedRun
from primer.compare.settings import check_keys, differing, value_of
from primer.compare.telling import sentence_of, told
from primer.compare.verdict import Verdict, judge
from primer.direction import watched_key
from primer.errors import RunError, UsageError
from primer.files import write_named

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

ALL_PAIRS = 5  # chosen: of more settings each is compared with the best one, or the baseline


@dataclass(frozen=True)
class Comparison:
    """Runs, grouped by the keys `by`, compared by `metric`.

    `groups` are ordered best first; `verdicts` are of each pair of them, or of each with the baseline, or
    with the best where there are more than five; `notes` say what to know before believing it; `differing`
    are the keys of which the runs have several values, seeds apart.
    """

    metric: str
    by: tuple[str, ...]
    groups: tuple[Group, ...]
    verdicts: tuple[Verdict, ...]
    differing: tuple[str, ...]
    notes: tuple[str, ...]
    runs: tuple[TrackedRun, ...]
    asked: str  # the command that makes it again
    baseline: str | None = None  # as KEY=VALUE, if one was named

    @property
    def sentence(self) -> str:
        """The verdict in a sentence."""
        return sentence_of(self.groups, self.verdicts, has_baseline=self.baseline is not None)

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row a setting: n, mean, sd, 95% interval, best, seconds, how the runs ended."""
        import pandas as pd

        rows = [
            group.values
            | {"n": group.n, "mean": group.mean, "sd": group.sd}
            | {"low": group.interval[0], "high": group.interval[1]}
            | {"best": group.best.metrics[self.metric] if group.best else math.nan}
            | {"duration_s": group.duration_s, "statuses": told(group.counts)}
            for group in self.groups
        ]
        return pd.DataFrame(rows, index=pd.Index([group.label for group in self.groups], name="setting"))

    @cached_property
    def verdict_table(self) -> pd.DataFrame:
        """One row a verdict: the fields of `Verdict`, and its sentence."""
        import pandas as pd

        rows = [
            vars(verdict)
            | {"low": verdict.interval[0], "high": verdict.interval[1], "n": verdict.n[0]}
            | {"num_other": verdict.n[1], "sentence": verdict.sentence()}
            for verdict in self.verdicts
        ]
        return pd.DataFrame(rows).drop(columns="interval", errors="ignore")

    @cached_property
    def run_table(self) -> pd.DataFrame:
        """One row a run: setting, seed, status, the metric, seconds, run id, folder, all that differs."""
        import pandas as pd

        rows: list[dict[str, object]] = [
            {"name": run.name, "seed": value_of(run, "seed"), "status": run.status}
            | {key: value_of(run, key) for key in dict.fromkeys((*self.by, *self.differing))}
            | {self.metric: run.metrics.get(self.metric, math.nan), "duration_s": run.own_duration_s}
            | {"run_id": run.run_id, "folder": str(run.folder or "")}
            for run in self.runs
        ]
        return pd.DataFrame(rows)

    def curves(self, metric: str | None = None, *, over: str = "steps", smooth: float = 0.0) -> pd.DataFrame:
        """Mean and band over the runs of each setting, in long form: setting, x, mean, low, high, n.

        `metric` is the compared one's curve unless said; `over` steps, samples or seconds.
        """
        import pandas as pd

        frames = [
            pd.DataFrame(
                {"setting": one.label, "x": one.x, "mean": one.mean, "low": one.low, "high": one.high}
            ).assign(n=one.n)
            for one in bands(self.groups, metric or curve_of(self.metric), over=over, smooth=smooth)
        ]
        columns = ["setting", "x", "mean", "low", "high", "n"]
        return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=columns)

    def plot(
        self, path: str | Path | None = None, *, over: str = "steps", smooth: float = 0.0, scale: str = "auto"
    ) -> Figure:
        """Draw it, into a PNG, SVG or PDF file if one is named; returns Matplotlib's figure.

        Raises RunError where it can't be written.
        """
        from primer.compare.plot import check_name, figure_of

        path = None if path is None else Path(path)
        if path:
            check_name(path)
        figure = figure_of(self, over=over, smooth=smooth, scale=scale)
        try:
            if path:
                figure.savefig(path, dpi=120)
        except OSError as error:
            raise RunError(f"{path}: can't be written: {error.strerror}") from None
        return figure

    def write_report(self, path: str | Path) -> None:
        """Write it as one page, readable offline; raises RunError where that can't be."""
        from primer.compare.report import page_of

        write_named(Path(path), page_of(self).encode())

    def to_dict(self) -> dict[str, Any]:
        """It as plain data, for JSON: a number that there is not is None."""
        return {
            "sentence": self.sentence,
            "metric": self.metric,
            "by": list(self.by),
            "differing": list(self.differing),
            "baseline": self.baseline,
            "notes": list(self.notes),
            "settings": _records(self.table.reset_index()),
            "verdicts": _records(self.verdict_table),
            "runs": _records(self.run_table),
        }

    def __repr__(self) -> str:
        return f"Comparison of {len(self.runs)} runs by {', '.join(self.by) or 'nothing'}: {self.sentence}"


def compare_runs(
    runs: Sequence[TrackedRun],
    *,
    by: Sequence[str] = (),
    metric: str | None = None,
    baseline: str | None = None,
    allow: Sequence[str] = (),
    asked: str = "primer compare",
) -> Comparison:
    """Compare runs that were found."""
    for kind in allow:
        if kind not in fair.ALLOWED:
            raise UsageError(f"--allow {kind}: expected {', '.join(fair.ALLOWED)}")
    kept = without_repeats(runs)
    check_keys(by, kept)
    keys = differing(kept)
    chosen = metric or _metric_of(kept)
    _check_metric(metric, chosen, kept)
    problems = fair.check(kept, chosen, allow)
    groups = groups_of(kept, tuple(by) or keys, chosen)
    num_repeats = len(runs) - len(kept)
    notes = [f"{num_repeats} of {len(runs)} runs repeat others, and are left out"] if num_repeats else []
    notes += [*problems.values(), *(f"other code: {line}" for line in fair.code_differences(kept))]
    notes += _notes_on(groups, [key for key in keys if by and key not in by], chosen)
    watched = {run.monitor for run in kept}
    if not metric and len(watched) > 1:
        notes.append(
            f"they watched {' and '.join(sorted(watched))}: compared by {chosen}, unless --metric is given"
        )
    return Comparison(
        metric=chosen,
        by=tuple(by) or tuple(keys),
        groups=tuple(groups),
        verdicts=tuple(_verdicts(groups, baseline)),
        differing=tuple(keys),
        notes=tuple(notes),
        runs=tuple(kept),
        asked=" ".join([asked, *(f"--allow {kind}" for kind in problems)]),
        baseline=baseline,
    )


def _notes_on(groups: Sequence[Group], rest: Sequence[str], metric: str) -> Iterator[str]:
    """What a mean of a setting is made of; `rest` are the keys that differ and make no setting."""
    if rest:
        yield f"averaged over what else differs: {', '.join(rest)}"
    known = [group for group in groups if group.runs]
    mixed = [key for key in rest if len({frozenset(group.values_of(key)) for group in known}) > 1]
    if mixed:
        yield f"not the same in all settings, so what is seen may be its doing: {', '.join(mixed)}"
    lost = [group.label for group in groups if len(group.runs) < group.counts.get("FINISHED", 0)]
    if lost:
        yield f"finished runs without a finite {metric} are left out: of {', '.join(lost)}"


def _metric_of(runs: Sequence[TrackedRun]) -> str:
    """The best of what the runs watched, else the last training loss."""
    known = {key for run in runs for key in run.metrics if key.startswith(ENDS)}
    monitors = {run.monitor for run in runs}
    return (len(monitors) == 1 and watched_key(known, *monitors)) or "final/train/loss"


def _check_metric(asked: str | None, metric: str, runs: Sequence[TrackedRun]) -> None:
    known = sorted({key for run in runs for key in run.metrics})
    if metric not in known:
        has = f"they have {', '.join(known)}" if known else "they have none"
        what = (
            f"--metric {asked}: no run has it"
            if asked is not None
            else f"no run has come to its end with a {metric}"
        )
        raise UsageError(f"{what}; {has}")


def _verdicts(groups: Sequence[Group], baseline: str | None) -> list[Verdict]:
    # a setting of one seed can't be judged; whoever is best was found by looking at all
    num = math.comb(sum(group.n > 1 for group in groups), 2)
    if baseline is not None:
        first = _baseline(groups, baseline)
        pairs = [(first, group) for group in groups if group is not first]
        num = sum(group.n > 1 for _, group in pairs)
    elif len(groups) > ALL_PAIRS:
        pairs = [(groups[0], group) for group in groups[1:]]
    else:
        pairs = list(itertools.combinations(groups, 2))
    return [judge(one, other, max(1, num)) for one, other in pairs]


def _baseline(groups: Sequence[Group], words: str) -> Group:
    wanted = dict(part.partition("=")[::2] for part in re.split(r",(?=[\w.]+=)", words))
    found = [
        group
        for group in groups
        if group.label == words or all(group.values.get(key) == value for key, value in wanted.items())
    ]
    if len(found) != 1:
        settings = (",".join(f"{key}={value}" for key, value in group.values.items()) for group in groups[:8])
        count = "no setting" if not found else f"{len(found)} settings"
        raise UsageError(
            f"--baseline {words}: is {count}; expected {' or '.join(settings)}, or --by fewer keys"
        )
    return found[0]


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    rows = frame.to_dict("records")
    return [{str(key): _plain(value) for key, value in row.items()} for row in rows]


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value.item() if hasattr(value, "item") else value
