"""`primer.compare(...)` and `primer.runs(...)`; what they need is imported when they are called."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from primer.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd

    from primer.compare.comparison import Comparison


def compare(
    *runs: str | Path,
    sweep: str | None = None,
    where: str | None = None,
    experiment: str | None = None,
    by: str | Sequence[str] = (),
    metric: str | None = None,
    baseline: str | None = None,
    allow: Sequence[str] = (),
) -> Comparison:
    """Compare runs, as `primer compare` does: what did the switch do?

    `runs` and `sweep` are folders, ids in MLflow or "last"; `where` is a filter of MLflow's store instead
    (`"activation = 'relu'"`); with nothing asked it is the newest sweep. `by` names the keys to group by,
    all that differ by default; `metric` the number to compare, the best of the watched one by default;
    `baseline` the setting to compare with, as `KEY=VALUE`; `allow` what may differ: "data", "metric",
    "unfinished". Raises UsageError for what is not comparable.

    >>> found = compare(sweep="last")  # doctest: +SKIP
    >>> print(found.sentence)  # doctest: +SKIP
    tanh is better than relu by 0.127 best/val/loss (95% interval 0.0561 to 0.199; 3 pairs, each of one seed)
    """
    from primer.compare.asked import asked_runs, sweep_called
    from primer.compare.comparison import compare_runs

    by = [by] if isinstance(by, str) else by
    if not runs and where is None and experiment is None:
        sweep = sweep_called(sweep or "last")
    found = asked_runs([str(run) for run in runs], sweep=sweep, where=where, experiment=experiment)
    options = {"--sweep": sweep, "--filter": where, "--experiment": experiment, "--metric": metric}
    options |= {"--by": ",".join(by), "--baseline": baseline}
    words = [*runs, *(word for name, value in options.items() if value for word in (name, value))]
    asked = shlex.join(["primer", "compare", *map(str, words)])
    return compare_runs(found, by=by, metric=metric, baseline=baseline, allow=allow, asked=asked)


def runs(
    sweep: str | None = None, *, where: str | None = None, experiment: str | None = None, limit: int = 20
) -> pd.DataFrame:
    """The runs of this directory, or a sweep's jobs, or what a filter of MLflow lets pass; newest first.

    One row a run: name, status, age in seconds, the keys that differ, the watched metric, id and folder.
    Raises UsageError for a sweep that is not there, or a filter that can't be read.

    >>> runs(limit=2)[["name", "status"]]  # doctest: +SKIP
             name    status
    0     tanh s2  FINISHED
    1  digits s0   FINISHED
    """
    from primer.compare.listing import listed, run_table

    if limit < 1:
        raise UsageError(f"limit={limit}: expected a whole number, at least 1")
    return run_table(listed(sweep, where=where, experiment=experiment, limit=limit))
