"""A search at work: its study proposes a job when a slot is free, and hears of each as it ends."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from primer.config import Composer
from primer.direction import is_falling
from primer.ending import Ending
from primer.errors import ConfigError
from primer.result import RunResult
from primer.sweep import ledger
from primer.sweep.job import result_in
from primer.sweep.plan import Job, plan
from primer.sweep.search import Search
from primer.sweep.stop import JobStop
from primer.sweep.sweep import value_of
from primer.tracking.journal import Record

if TYPE_CHECKING:
    from primer.config.multirun import Multirun
    from primer.config.space import Choice, Range


class Searching:
    """The jobs of one search; those to run `again` have failed, and the study heard of it.

    Raises ConfigError where its space, or a corner of it, is wrong.
    """

    def __init__(
        self, asked: Multirun, folder: Path, words: Sequence[str], again: Sequence[Job] = ()
    ) -> None:
        from primer.config.space import read_space

        settings = asked.sweeper_settings
        typed = {word.partition("=")[0] for word in words}
        params = [f"{key}={text}" for key, text in settings["params"].items() if key not in typed]
        self._asked, self._folder, self._again = asked, folder, again
        space, self._fixed = read_space([*params, *words], asked.config_dir)
        if not space:
            raise ConfigError(
                "hydra/sweeper=optuna: nothing to search; expected KEY=interval(LOW,HIGH) or such"
            )
        self._keys = list(space)
        self._composer = Composer(asked.config_dir)
        corners = self._composer.compose_all([*self._fixed, *corner] for corner in _corners(space))
        self.config, self.num_jobs = corners[0], int(settings["n_trials"])
        self.digest = _digest(space, self._fixed)
        self._known = {job.number: job for job in ledger.jobs_in(folder)}
        self._study = Search(
            folder,
            space,
            num_trials=self.num_jobs,
            direction=settings["direction"]
            or ("minimize" if is_falling(self.config["monitor"]) else "maximize"),
            seed=settings["seed"],
            sampler=settings["sampler"],
            pruner=settings["pruner"],
        )

    def jobs(self) -> Iterator[Job]:
        """First those to run `again`, and what an earlier controller left, then what the study proposes."""
        yield from self._again
        again = {job.number for job in self._again}
        for number, overrides in self._study.unfinished():
            job = self._known.get(number)
            if job and (state := ledger.state_of(job))["status"] in ("FINISHED", "FAILED"):
                if number not in again:  # that controller died before it heard of it
                    self._tell(number, result_in(job, state))
                continue
            yield job or self._planned(number, overrides)
        while (proposed := self._study.ask()) is not None:
            yield self._planned(*proposed)

    def _planned(self, number: int, overrides: list[str]) -> Job:
        (job,) = plan(
            [[*self._fixed, *overrides]],
            first=number,
            folder=self._folder,
            subdir=self._asked.subdir,
            switched=self._keys,
            composer=self._composer,
        )
        ledger.add(self._folder, [job])
        return job

    def hear(self, job: Job, records: Iterable[Record], stop: JobStop) -> None:
        """Stop a job whose watched metric is hopeless."""
        for record in records:
            if record["kind"] != "points" or record["key"] != job.config["monitor"]:
                continue
            for step, value in zip(record["steps"], record["values"], strict=True):
                if self._study.is_hopeless(job.number, step, value) and stop.alone is None:
                    stop.alone = Ending("FINISHED", 0, is_pruned=True)

    def end(self, job: Job, result: RunResult) -> None:
        """Let the study know what a job came to; one that was stopped with the sweep goes on later."""
        if result.status != "KILLED":
            self._tell(job.number, result)

    def _tell(self, number: int, result: RunResult) -> None:
        self._study.tell(number, value_of(result), is_pruned=result.is_pruned)

    @property
    def num_left(self) -> int:
        """How many jobs there are still to run."""
        return len(self._again) + self.num_jobs - self._study.num_told

    def close(self) -> None:
        """Let go of the study's file."""
        self._study.close()


def _corners(space: dict[str, Range | Choice]) -> list[list[str]]:
    """Overrides that try each end of each range and each choice once, beside the first of the others."""
    from primer.config.space import Choice

    values = {
        key: list(search.values) if isinstance(search, Choice) else [repr(search.low), repr(search.high)]
        for key, search in space.items()
    }
    first = {key: texts[0] for key, texts in values.items()}
    corners = [first] + [first | {key: text} for key, texts in values.items() for text in texts[1:]]
    return [[f"{key}={text}" for key, text in corner.items()] for corner in corners]


def _digest(space: dict[str, Range | Choice], fixed: Sequence[str]) -> str:
    words: Any = [sorted((key, str(search)) for key, search in space.items()), sorted(fixed)]
    return hashlib.sha256(json.dumps(words).encode()).hexdigest()[:16]
