"""Programs that a script runs: each in a session of its own, watched, and ended with it."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from math import inf
from pathlib import Path
from typing import Any, NamedTuple, NoReturn


class Program(NamedTuple):
    """A program that runs."""

    name: str
    log: Path
    process: subprocess.Popen[bytes]


@contextmanager
def running(name: str, command: list[Any], log: Path, ends: list[int], **how: Any) -> Iterator[Program]:
    """A program in a session of its own, ended by the first of some signals that does it, or SIGKILL."""
    if sys.platform == "linux":  # PR_SET_PDEATHSIG: it is told when we die, by SIGKILL too
        how["preexec_fn"] = partial(ctypes.CDLL(None).prctl, 1, int(ends[0]))
    with log.open("ab") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, start_new_session=True, **how)
    try:
        yield Program(name, log, process)
    finally:
        for number in ends:
            if process.poll() is None:
                process.send_signal(number)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(30)
        with suppress(ProcessLookupError):  # raised when none of its session is left
            for _ in range(250):
                os.killpg(process.pid, signal.SIGKILL)
                process.poll()
                time.sleep(0.02)


def watch(stop: list[int], programs: list[Program], until: Callable[[], bool], within: float = inf) -> None:
    """Wait until something is so, while the programs run and no signal to stop came."""
    deadline = time.monotonic() + within
    while not until():
        if stop:
            sys.exit(0)
        for program in programs:
            if program.process.poll() is not None:
                sys.exit(f"{program.name} ended; see {program.log}")
        if time.monotonic() > deadline:
            sys.exit(f"{programs[-1].name} does not answer; see {programs[-1].log}")
        time.sleep(0.1)


def refuse(line: str) -> NoReturn:
    """End with exit code 2: what was asked for can't be."""
    print(line, file=sys.stderr)
    sys.exit(2)
