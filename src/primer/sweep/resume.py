"""`primer resume SWEEP`: go on with the jobs that have no end of their own, in their own runs and folders."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from primer.config import Composer
from primer.config.changes import with_secrets
from primer.config.wording import shown
from primer.errors import ConfigError, UsageError
from primer.finding import check_original, check_place, find_folder
from primer.folder import held, is_sweep, place_tags
from primer.leaks import is_secret_override
from primer.result import RunResult
from primer.resume import resume_run
from primer.stopping import StopSignal
from primer.sweep import ledger
from primer.sweep.finish import results_of
from primer.sweep.launch import OPTUNA, Launch
from primer.sweep.plan import Job, check_same, key_of
from primer.sweep.result import SweepResult
from primer.tracking.journal import Journal, Record, first_record, last_record, reserve_room
from primer.tracking.shipment import id_of

LOCK_WITHIN_S = 15.0  # chosen: for a sweep whose controller was killed in this moment


def resume(
    run: str, *overrides: str, fork: bool = False, debug: bool = False, failed: bool = False
) -> RunResult | SweepResult:
    """Go on with a run or a sweep, as `primer resume RUN` does: see `resume_run` and `resume_sweep`.

    Raises UsageError where an option is for the other.

    >>> resume("last", "max_steps=2000").status  # doctest: +SKIP
    'FINISHED'
    """
    folder = find_folder(run)
    if not is_sweep(folder):
        if failed:
            raise UsageError(f"--failed is for a sweep, but {run} is one run")
        return resume_run(run, *overrides, fork=fork, debug=debug)
    if fork or debug:
        raise UsageError(f"{'--fork' if fork else '--debug'} is for one run, but {run} is a sweep")
    return resume_sweep(folder, *overrides, failed=failed)


def resume_sweep(folder: Path, *overrides: str, failed: bool = False) -> SweepResult:
    """Go on with the sweep of a folder, and return what it came to.

    Jobs that are FINISHED are left alone; with `failed`, those that have FAILED go on, too, from their last
    checkpoint. Only keys of `hydra.launcher` may be overridden, and secrets are to be given again. Raises
    ConfigError where the same overrides would make other jobs by now, and UsageError for a sweep that still
    runs.
    """
    from primer.config.multirun import Multirun  # here, since it takes Hydra's 0.2 s

    check_original(folder)
    check_place(folder)
    found = ledger.definition_in(folder)
    if found is None:
        raise UsageError(f"{folder}: its ledger does not begin with what the sweep was asked for")
    definition, _ = found
    _check_overrides(overrides)
    kept, secrets = _with_secrets_again(definition.overrides, overrides)
    with held(folder, within_s=LOCK_WITHIN_S), StopSignal() as stop:
        stop.defer()
        jobs = ledger.jobs_in(folder)
        states = [ledger.state_of(job) for job in jobs]
        done = ("FINISHED",) if failed else ("FINISHED", "FAILED")
        left = [job for job, state in zip(jobs, states, strict=True) if state["status"] not in done]
        if secrets:
            left = [replace(job, config=with_secrets(job.config, secrets)) for job in left]
        asked = Multirun([*kept, *overrides], config_dir=definition.config_dir)
        asked.place(folder)
        is_search = asked.sweeper == OPTUNA
        num_asked = asked.sweeper_settings["n_trials"] if is_search else definition.num_jobs or 0
        is_open = len(jobs) < num_asked
        last = last_record(folder) or {}
        # a job that went on by itself may have made another end of it
        status = "FAILED" if any(state["status"] == "FAILED" for state in states) else "FINISHED"
        has_ended = last["kind"] == "end" and last["status"] == status
        if has_ended and not left and not is_open:
            return _nothing_to_do(folder, states, jobs)
        _check_definition(left)
        reserve_room(folder)
        with Journal(folder) as journal:
            now = time.time_ns() // 1_000_000
            journal.write("resume", time=now, params={}, tags=place_tags(folder))
        numbers = {job.number for job in left}
        ended = [job for job in jobs if job.number not in numbers]
        return Launch(asked, folder, stop).go_on(left, ended, is_open=is_open)


def _nothing_to_do(folder: Path, states: Sequence[Record], jobs: Sequence[Job]) -> SweepResult:
    statuses = [state["status"] for state in states]
    hint = "; --failed goes on with those that failed" if "FAILED" in statuses else ""
    print(f"primer: {folder}: {ledger.told(statuses)}, nothing was trained{hint}", file=sys.stderr)
    has_failed = "FAILED" in statuses
    return SweepResult(
        name=(first_record(folder) or {})["name"],
        status="FAILED" if has_failed else "FINISHED",
        exit_code=int(has_failed),
        run_id=id_of(folder),
        folder=folder,
        duration_s=0.0,
        jobs=tuple(results_of(jobs, {})),
    )


def _check_overrides(overrides: Sequence[str]) -> None:
    for text in overrides:
        if not re.match(r"\+*hydra\.(launcher\.|sweeper\.n_trials=)", text) and not is_secret_override(text):
            raise ConfigError(
                f"{shown(text)}: would change the jobs of the sweep; expected hydra.launcher.KEY=VALUE, or a "
                "new sweep: primer train -m"
            )


def _with_secrets_again(before: Sequence[str], now: Sequence[str]) -> tuple[list[str], list[str]]:
    """What the sweep was asked for, without its secrets, and these, which are to be given again."""
    given = [text for text in now if is_secret_override(text)]
    keys = {key_of(text) for text in given}
    for text in before:
        key = key_of(text)
        if is_secret_override(text) and key not in keys:
            raise ConfigError(f"{key}: is a secret, which no sweep keeps; expected {key}=VALUE")
    return [text for text in before if not is_secret_override(text)], given


def _check_definition(jobs: Sequence[Job]) -> None:
    """Raise ConfigError where the jobs' overrides make other configs by now, as when an option was edited."""
    typed = [job.config["typed"] for job in jobs]
    if typed:
        composer = Composer(typed[0]["config_dir"])
        words = ([text for text in each["overrides"] if not is_secret_override(text)] for each in typed)
        check_same(jobs, composer.compose_all(words))
