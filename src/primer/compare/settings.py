"""What differs between runs: the switches and numbers that were changed, seeds apart."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from primer.compare.runs import TrackedRun
from primer.errors import UsageError

NOT_SET = "-"  # for a key that a run does not have
GROUPS = ("activation", "optimizer", "net", "data", "criterion", "scheduler", "accelerator")
ROUNDING = {"accelerator.num_threads"}  # what a repeat may need, to round as the run it repeats did


def value_of(run: TrackedRun, key: str) -> str:
    """A run's param, as text."""
    return run.params.get(key, NOT_SET)


def seed_keys(runs: Sequence[TrackedRun]) -> set[str]:
    """`seed`, and the keys that follow it in every run, such as `data.seed`."""
    keys = {key for run in runs for key in run.params if key.rpartition(".")[2] == "seed"}
    same = {key for key in keys if all(value_of(run, key) == value_of(run, "seed") for run in runs)}
    return same | {"seed"}


def differing(runs: Sequence[TrackedRun]) -> list[str]:
    """The keys of which runs have several values: not seeds, nor what follows from another switch.

    `optimizer.betas` follows from `optimizer` where all runs of one optimizer have the same. What but rounds
    otherwise differs where nothing else does.
    """
    seeds = seed_keys(runs)
    keys = [key for key in _keys(runs) if key not in seeds and len({value_of(run, key) for run in runs}) > 1]
    keys = [key for key in keys if key not in ROUNDING] or keys
    return [key for key in keys if not _follows(key, keys, runs)]


def _keys(runs: Iterable[TrackedRun]) -> list[str]:
    """All params, what is compared most first."""
    keys = dict.fromkeys(key for run in runs for key in run.params)
    place = {key: index for index, key in enumerate(GROUPS)}
    return sorted(keys, key=lambda key: place.get(key, len(GROUPS)))


def _follows(key: str, keys: Sequence[str], runs: Sequence[TrackedRun]) -> bool:
    switch = key.partition(".")[0]
    if switch == key or switch not in keys:
        return False
    pairs = {(value_of(run, switch), value_of(run, key)) for run in runs}
    return len(pairs) == len({switched for switched, _ in pairs})


def check_keys(keys: Sequence[str], runs: Sequence[TrackedRun]) -> None:
    """Raise UsageError for a key to group by that no run has."""
    known = _keys(runs)
    for key in keys:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            hint = f"; did you mean {near[0]}?" if near else f"; these differ: {', '.join(differing(runs))}"
            raise UsageError(f"--by {key}: no run has that key{hint}")


def label_of(values: dict[str, str]) -> str:
    """What a setting is called: options by their names, numbers with their keys.

    >>> label_of({"activation": "custom_relu", "optimizer.lr": "0.1"})
    'custom_relu lr=0.1'
    """
    words = [value if key in GROUPS else f"{key.rpartition('.')[2]}={value}" for key, value in values.items()]
    return " ".join(words) or "all runs"


def number_of(text: str) -> float | None:
    """A param as a number, if it is one."""
    try:
        return float(text)
    except ValueError:
        return None


def numeric_keys(keys: Sequence[str], settings: Sequence[dict[str, str]]) -> list[str]:
    """Those of the keys of which every setting has a number, and three different ones together."""
    found = []
    for key in keys:
        numbers = {number_of(values[key]) for values in settings}
        if None not in numbers and len(numbers) >= 3:
            found.append(key)
    return found
