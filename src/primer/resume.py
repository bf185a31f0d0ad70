"""`primer resume RUN`: go on where a run's newest checkpoint left it, in the same folder and MLflow run."""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from primer.config.changes import LENGTH, Changes, changes_of, check_changes, with_changes, with_secrets
from primer.config.identity import run_name
from primer.ending import Ending
from primer.errors import RunError, UsageError
from primer.files import bring_fork, read_verified, step_files
from primer.finding import check_original, check_place, find_folder
from primer.folder import (
    held,
    params_of,
    read_config,
    read_environment,
    tags_of,
    write_config,
    write_facts,
)
from primer.joining import leading
from primer.leaving import write_end
from primer.redact import redacted, secrets_of
from primer.result import RunResult
from primer.run import attempt_alone, result_of
from primer.run import run as run_config
from primer.stopping import StopSignal
from primer.sync import DIED, settle
from primer.tracking.facts import drift, host
from primer.tracking.heartbeat import BEAT_EVERY_S
from primer.tracking.journal import NAME, Journal, Record, give_room_back, last_record, read, reserve_room
from primer.tracking.shipment import id_of
from primer.tracking.tags import COMMAND, DRIFT, FORKED_FROM, HOST


def resume_run(run: str, *overrides: str, fork: bool = False, debug: bool = False) -> RunResult:
    """Go on with one run, and return what it came to.

    Only what does not change what was computed before may be overridden: a longer training, how often is
    saved. Raises ConfigError for anything else, and UsageError for a run that is not there or still runs.
    A run that is FINISHED, and has nothing longer asked of it, is left alone. With `fork` a new run begins
    from its newest checkpoint, and anything may be overridden that the checkpoint's weights fit.

    >>> resume_run("last", "max_steps=2000").status  # doctest: +SKIP
    'FINISHED'
    """
    with leading(lambda folder: secrets_of(with_secrets(read_config(folder), overrides))):
        return _resume(find_folder(run), run, overrides, fork=fork, debug=debug)


def _resume(folder: Path, run: str, overrides: Sequence[str], *, fork: bool, debug: bool) -> RunResult:
    check_original(folder)
    check_place(folder)
    settle([folder])
    config = read_config(folder)
    changes = changes_of(config, overrides)
    if fork:
        tags = {COMMAND: shlex.join(["primer", "resume", run, *redacted(list(overrides)), "--fork"])}
        new = with_secrets(with_changes(config, changes, overrides), overrides)
        return _fork(folder, new, tags, debug=debug)
    check_changes(changes)
    new = with_secrets(with_changes(config, changes, overrides), overrides)
    with held(folder) as lock, StopSignal(is_impatient=debug) as stop:
        stop.defer()
        last = _end_of(folder)
        if last["status"] == "FINISHED" and not any(key in LENGTH for key in changes):
            print(
                f"primer: {run} is FINISHED, nothing was trained; a longer training is max_steps=N",
                file=sys.stderr,
            )
            return result_of(folder, config, Ending("FINISHED", 0), last["duration_s"])
        size = (folder / NAME).stat().st_size
        try:
            begin_again(folder, new, changes)
            return attempt_alone(folder, new, stop, lock, debug=debug)
        except UsageError:  # the attempt never began: the run is what it was
            os.truncate(folder / NAME, size)
            write_config(folder, config)
            give_room_back(folder)
            raise


def _end_of(folder: Path) -> Record:
    """The end of a run that is held, and so has no process on this machine; written if it is not there."""
    last = last_record(folder)
    if last and last["kind"] == "end":
        return last
    begun_on = [record["tags"][HOST] for record in read(folder) if record["kind"] in ("run", "resume")]
    if begun_on[-1] != host():  # where locks may not reach
        size = (folder / NAME).stat().st_size
        time.sleep(3 * BEAT_EVERY_S)
        if (folder / NAME).stat().st_size != size:
            raise UsageError(f"{folder}: is still running, on {begun_on[-1]}")
    return write_end(folder, Ending("KILLED", 137, DIED), 0.0)


def _fork(folder: Path, config: dict[str, Any], tags: dict[str, str], *, debug: bool) -> RunResult:
    checkpoint = _newest_whole(folder)
    name = f"fork {run_name(config['typed']['overrides'], config)}"
    tags |= {FORKED_FROM: f"{id_of(folder) or folder} {checkpoint.name}"}
    prepare = partial(bring_fork, checkpoint)
    return run_config(config | {"name": name}, debug=debug, tags=tags, prepare=prepare)


def _newest_whole(folder: Path) -> Path:
    for path in step_files(folder / "checkpoints"):
        with contextlib.suppress(RunError):
            read_verified(path)
            return path
    raise UsageError(f"{folder}: has no whole checkpoint to begin from")


def begin_again(
    folder: Path, config: dict[str, Any], changes: Changes | None = None, *, num_together: int = 1
) -> None:
    """Write down that another attempt begins of a run that is held, and what is not as it was.

    `num_together` is how many runs train as one in this attempt.
    """
    records = read(folder)
    before = [record["tags"] for record in records if record["kind"] in ("run", "resume")][-1]
    drifted = drift(before, read_environment(folder)) | _other_company(records, num_together)
    asked = {key: f"{old} -> {new}" for key, (old, new) in (changes or {}).items()}
    write_config(folder, config)
    write_facts(folder)
    reserve_room(folder)
    with Journal(folder) as journal:
        journal.write(
            "resume",
            time=time.time_ns() // 1_000_000,
            params=params_of(config),
            tags=tags_of(folder, config)
            | {"mlflow.runName": config["name"]}
            | {f"{DRIFT}{name}": text for name, text in (asked | drifted).items()},
        )
        for name, text in drifted.items():
            journal.write("warning", message=f"{name} changed since the run began: {text}")


def _other_company(records: list[Record], num_together: int) -> dict[str, str]:
    """Whether the run trained as one with others, and now with fewer: sums are rounded in another order."""
    nums = [record.get("num_fused", 1) for record in records if record["kind"] == "start"]
    if not nums or nums[-1] == num_together:
        return {}
    now = f"with {num_together - 1} others" if num_together > 1 else "alone"
    was = f"as one with {nums[-1] - 1} others" if nums[-1] > 1 else "alone"
    return {"trained": f"{was} -> {now}, which rounds otherwise"}
