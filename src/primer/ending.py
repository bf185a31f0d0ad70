"""How a run ended, judged from outside the process that trained it."""

from __future__ import annotations

import os
import re
import signal
from dataclasses import dataclass
from pathlib import Path

from primer.errors import ConfigError, DataError, UsageError
from primer.stopping import STOPPING
from primer.tracking.journal import NAME, Record

USAGE_ERRORS = {"ConfigError": ConfigError, "DataError": DataError}
BY_WHOM = " (by hand, or by the system for want of memory)"
OUT_OF_MEMORY = re.compile("MemoryError|OutOfMemory|can't allocate memory|out of memory")


@dataclass(frozen=True)
class Ending:
    """`status` is MLflow's word; `error` is a line, or None; `is_pruned`: a search found it hopeless."""

    status: str
    exit_code: int
    error: str | None = None
    is_pruned: bool = False


def ending_of(worker_exit_code: int, records: list[Record], folder: Path | None = None) -> Ending:
    """The ending of a run, from its worker's exit code (negative: a signal) and its journal.

    Raises the ConfigError or DataError that the worker met, if the question turned out to be wrong.

    >>> ending_of(0, [])
    Ending(status='FINISHED', exit_code=0, error=None, is_pruned=False)
    >>> ending_of(-signal.SIGTERM, [])
    Ending(status='KILLED', exit_code=143, error='stopped by SIGTERM', is_pruned=False)
    """
    if worker_exit_code == 0:
        return Ending("FINISHED", 0)
    errors = [record for record in records if record["kind"] == "error"]
    has_started = any(record["kind"] == "start" for record in records)
    if worker_exit_code == UsageError.exit_code and errors and not has_started:
        raise USAGE_ERRORS.get(errors[-1]["type"], UsageError)(errors[-1]["message"])
    number = -worker_exit_code if worker_exit_code < 0 else worker_exit_code - 128
    if number == signal.SIGKILL and any(record.get("num_devices", 1) > 1 for record in records):
        told = errors[-1]["message"] if errors else f"rank 0 was killed by SIGKILL{BY_WHOM}"
        return Ending("FAILED", 1, told)
    if number in STOPPING or number == signal.SIGKILL:
        who = BY_WHOM if number == signal.SIGKILL else ""
        return Ending("KILLED", 128 + number, f"stopped by {signal.Signals(number).name}{who}")
    if errors:
        message = f"{errors[-1]['type']}: {errors[-1]['message']}".splitlines()[0]
        hint = "; try a smaller batch_size" if OUT_OF_MEMORY.search(message) else ""
        return Ending("FAILED", 1, f"{message}{hint}")
    if worker_exit_code == os.EX_IOERR:
        what = f"{folder or '.'}/{NAME} can't be written (a full disk, or a limit on file sizes)"
        return Ending("FAILED", 1, f"{what}; training stopped, its last checkpoint is whole")
    known = {number.value: number.name for number in signal.Signals}
    what = known.get(number, f"exit code {worker_exit_code}")
    return Ending("FAILED", 1, f"the worker ended by {what}, without a word")
