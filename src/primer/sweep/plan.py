"""The plan of a sweep: every job's config, checked before the first one starts, its number and its folder."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from primer.config import Composer, config_hash, run_name
from primer.config.changes import differences, told_value
from primer.errors import ConfigError
from primer.redact import keep_secret, secrets_of

MAX_TOLD = 3  # differences that an error names


@dataclass(frozen=True)
class Job:
    """One run of a sweep: its number, its frozen config, and the folder it has to itself."""

    number: int
    folder: Path
    config: dict[str, Any]

    @property
    def identity(self) -> str:
        """What it computes: equal for two jobs that differ in where and how they are kept alone."""
        return config_hash(self.config)


def plan(
    overrides: Sequence[Sequence[str]],
    *,
    first: int,
    folder: Path,
    subdir: Callable[[int, dict[str, Any]], str],
    switched: Iterable[str],
    composer: Composer,
) -> list[Job]:
    """The jobs that these overrides ask for, numbered from `first`; each named by the keys `switched`.

    Raises SweepError with all that is wrong with any of them, and ConfigError where a folder is not below the
    sweep's, or in another job's.
    """
    jobs, taken, around = [], set[Path](), set[Path]()
    keys = set(switched)
    for number, config in enumerate(composer.compose_all(overrides), start=first):
        keep_secret(secrets_of(config).values())
        typed = [text for text in config["typed"]["overrides"] if key_of(text) in keys]
        config["name"] = run_name(typed or config["typed"]["overrides"], config)
        name = subdir(number, config)
        place = Path(os.path.normpath(folder / name))
        if place in taken:  # a subdir that leaves out what differs
            place = place.with_name(f"{place.name}-{number}")
        if folder not in place.parents or place in taken | around or taken & {*place.parents}:
            raise ConfigError(
                f"hydra.sweep.subdir={name}: expected a folder below the sweep's, and in no other job's"
            )
        taken.add(place)
        around |= {*place.parents}
        jobs.append(Job(number, place, config))
    return jobs


def key_of(override: str) -> str:
    """What an override sets.

    >>> key_of("+net.width=4")
    'net.width'
    """
    return override.lstrip("+~").partition("=")[0]


def definition_of(jobs: Iterable[Job]) -> str:
    """16 hex digits that are equal for two sweeps of the same jobs in the same order."""
    return hashlib.sha256(json.dumps([job.identity for job in jobs]).encode()).hexdigest()[:16]


def check_same(jobs: Iterable[Job], configs: Iterable[dict[str, Any]]) -> None:
    """Raise ConfigError, with the difference, where jobs of an earlier plan would be others by now."""
    changed: dict[str, tuple[object, object]] = {}
    for job, config in zip(jobs, configs, strict=True):
        changed |= differences(job.config, config)
    if changed:
        words = [f"{key} {told_value(old)} -> {told_value(new)}" for key, (old, new) in changed.items()]
        more = f" and {len(words) - MAX_TOLD} more" if len(words) > MAX_TOLD else ""
        raise ConfigError(
            f"{', '.join(words[:MAX_TOLD])}{more}: the sweep's jobs were others when it was begun; expected "
            "the options as they were, or a new sweep: primer train -m"
        )
