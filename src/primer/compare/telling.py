"""A comparison in words: the verdict in a sentence, a setting in a row."""

from __future__ import annotations

import math
from collections.abc import Sequence

from primer.compare.groups import Group
from primer.compare.verdict import DIFFERS, SAME, TOO_FEW, UNSEEN, Verdict

MAX_NAMED = 3
COLUMNS = ("setting", "n", "mean", "sd", "95% interval", "best", "seconds", "runs")


def sentence_of(groups: Sequence[Group], verdicts: Sequence[Verdict], *, has_baseline: bool) -> str:
    """What came of a comparison: of one setting, of two, of all with a baseline, or of the best of many.

    Settings of which runs failed are named: the rest of theirs may look better than they are.
    """
    if not verdicts:
        words = _of_one(groups[0])
    elif len(verdicts) == 1:
        words = verdicts[0].sentence()
    else:
        words = _of_baseline(verdicts) if has_baseline else _of_best(groups[0].label, verdicts)
    return "; ".join([words, *_lost(groups)])


def _of_one(group: Group) -> str:
    if not group.runs:
        return f"one setting, {group.label}: no run has a {group.metric}"
    runs = "one run" if group.n == 1 else f"the mean of {group.n} seeds"
    return f"one setting, {group.label}: {group.metric} {group.mean:.4g} in {runs}"


def _lost(groups: Sequence[Group]) -> list[str]:
    """Of which settings runs do not count, having failed or come to no number."""
    lost = []
    for group in groups:
        total = sum(group.counts.values())
        if len(group.runs) < total:
            count = f"only {len(group.runs)} of {total} count" if group.runs else f"none of {total} counts"
            lost.append(f"of {group.label} {count}")
    more = [f"nor do all of {len(lost) - MAX_NAMED} other settings"] if len(lost) > MAX_NAMED else []
    return [*lost[:MAX_NAMED], *more]


def _of_baseline(verdicts: Sequence[Verdict]) -> str:
    """How each setting stands to the named one."""
    base = verdicts[0].baseline
    better = [one.other for one in verdicts if one.kind == DIFFERS and one.better == one.other]
    worse = [one.other for one in verdicts if one.kind == DIFFERS and one.better == base]
    words = [f"better than {base}: {', '.join(better) or 'none'}"]
    words += [f"worse: {', '.join(worse)}"] if worse else []
    return "; ".join([*words, *_level(verdicts, base)])


def _of_best(best: str, verdicts: Sequence[Verdict]) -> str:
    """How the setting of the best mean stands to the others; one may be better in pairs all the same."""
    mine = [verdict for verdict in verdicts if best in (verdict.baseline, verdict.other)]
    if all(verdict.kind == SAME for verdict in verdicts):
        return f"all {len(mine) + 1} are the same: bitwise equal curves in every pair of runs"
    beaten = [verdict for verdict in mine if verdict.kind == DIFFERS and verdict.better == best]
    by = [_other(one, best) for one in mine if one.kind == DIFFERS and one.better != best]
    if len(beaten) == len(mine):
        words = [f"{best} is better than all {len(beaten)} others"]
    elif beaten:
        words = [
            f"{best} has the best mean, and is seen to be better than {len(beaten)} of {len(mine)} others"
        ]
    else:
        words = [f"{best} has the best mean, but is not seen to be better than any other"]
    if by:
        words.append(f"in pairs of one seed {', '.join(by)} is better than it")
    if mine[0] in beaten:
        words.append(f"than {_other(mine[0], best)}, the next, {mine[0].by_how_much()}")
    return "; ".join([*words, *_level(mine, best)])


def _level(verdicts: Sequence[Verdict], label: str) -> list[str]:
    """Of which settings nothing else can be said."""
    words = [f"the same as {_other(one, label)}" for one in verdicts if one.kind == SAME]
    unseen = [_other(one, label) for one in verdicts if one.kind == UNSEEN]
    few = sum(one.kind == TOO_FEW for one in verdicts)
    if unseen:
        others = " and others" if len(unseen) > MAX_NAMED else ""
        words.append(f"no difference seen to {', '.join(unseen[:MAX_NAMED])}{others}")
    return [*words, *([f"too few runs to tell of {few}"] if few else [])]


def _other(verdict: Verdict, label: str) -> str:
    return verdict.other if verdict.baseline == label else verdict.baseline


def row_of(group: Group) -> list[str]:
    """A setting's cells, for COLUMNS; empty where there is no number."""
    low, high = group.interval
    return [
        group.label,
        str(group.n),
        number(group.mean),
        number(group.sd),
        "" if math.isnan(low) else f"{low:.4g} to {high:.4g}",
        number(group.best.metrics[group.metric]) if group.best else "",
        seconds(group.duration_s),
        told(group.counts),
    ]


def number(value: float) -> str:
    """With four digits; nothing where it is none."""
    return "" if math.isnan(value) else f"{value:.4g}"


def seconds(value: float) -> str:
    """With one decimal; nothing where it is none."""
    return "" if math.isnan(value) else f"{value:.1f}"


def told(counts: dict[str, int]) -> str:
    """How runs ended.

    >>> told({"FINISHED": 9, "FAILED": 1})
    '9 FINISHED, 1 FAILED'
    """
    return ", ".join(f"{count} {status}" for status, count in counts.items())
