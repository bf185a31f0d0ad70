"""Studies of three keys, for the tests of the search."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
from hydra.core.override_parser.overrides_parser import OverridesParser

from primer.config.space import Choice, Range
from primer.sweep.search import Search

SPACE: dict[str, Range | Choice] = {
    "optimizer.lr": Range(1e-4, 1.0, is_log=True),
    "net.hidden_dim": Range(16, 256, is_int=True, step=16),
    "activation": Choice(("relu", "'a b'", "gelu")),
}
RANDOM = {"_target_": "optuna.samplers.RandomSampler"}


@contextmanager
def opened(folder: Path, **given: Any) -> Iterator[Search]:
    options = {"space": SPACE, "num_trials": 8, "direction": "minimize", "seed": 0, **given}
    search = Search(folder, **options)
    try:
        yield search
    finally:
        search.close()


def ask(search: Search) -> tuple[int, list[str]]:
    asked = search.ask()
    assert asked is not None
    return asked


def values(overrides: list[str]) -> dict[str, Any]:
    parsed = [OverridesParser.create().parse_override(text) for text in overrides]
    return {override.key_or_group: override.value() for override in parsed}


def stored(folder: Path) -> list[optuna.trial.FrozenTrial]:
    """The trials as another tool of Optuna's reads them."""
    backend = optuna.storages.journal.JournalFileBackend(str(folder / "study.journal"))
    return optuna.load_study(study_name=None, storage=optuna.storages.JournalStorage(backend)).trials


def best_of(search: Search) -> tuple[int, float] | None:
    """Number and value of the best trial that ran to its end."""
    if not search._study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,)):
        return None
    best = search._study.best_trial
    assert best.value is not None
    return best.number, best.value
