"""Ranks watch over each other: when one dies or falls silent all end, and one message says which and why.

Each writes `ranks/K` in the run's folder every second, from a thread, and what it failed of before it ends.
Rank 0 looks at all others, and they at rank 0; its controller does, too (`Silence`). So a rank on another
node is watched as one on this is, as long as they share the folder, which they need for checkpoints anyway.
"""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from primer.tracking.journal import Journal

FOLDER = "ranks"  # in the run's folder
SILENT_AFTER_S = 20.0  # chosen: a thread that beats each second is late on a busy machine, but not so late
START_WITHIN_S = 600.0  # chosen: imports from a slow disk on the last of many nodes
STOPPED_WITHIN_S = 5.0  # chosen: after a rank that was asked to stop the others agree within a step
CAUSE_WITHIN_S = 3.0  # chosen: for a rank that failed to be seen by the one that only lost its connection
# What a rank says that lost another one: never the cause.
LOST = re.compile(
    r"gloo/|NCCL error|ncclSystemError|Connection (was likely |)(closed|reset)( by peer|)|Broken pipe|"
    r"recvValue|Failed to recv"
)


def prepare_vigil(folder: Path, *, is_shared: bool) -> None:
    """Have the ranks of a run that several processes train watch over each other, from anew."""
    shutil.rmtree(folder / FOLDER, ignore_errors=True)
    if is_shared:
        (folder / FOLDER).mkdir()


class Silence:
    """How long a rank's file has not changed, by this process's own clock."""

    def __init__(self, folder: Path, rank: int) -> None:
        self._path = folder / FOLDER / str(rank)
        self._seen: str | None = None
        self._changed_at = time.monotonic()
        self.state: dict[str, Any] = {}

    def look(self) -> bool:
        """Look at the file, and say whether its rank has been silent for too long."""
        try:
            text = self._path.read_text()
            self.state = json.loads(text)
        except (OSError, ValueError):
            text = ""
        now = time.monotonic()
        if text and text != self._seen:
            self._seen, self._changed_at = text, now
        return now - self._changed_at > (START_WITHIN_S if self._seen is None else SILENT_AFTER_S)

    def is_gone(self) -> bool:
        """Whether its process was on this machine, is there no more, and left no last word."""
        is_here = bool(machine()) and self.state.get("machine") == machine()
        if not is_here or is_alive(self.state["pid"]):
            return False
        self.look()  # it may have been written since the file was read
        return self.state.get("state") != "over"

    @property
    def exit_code_of_stop(self) -> int:
        """The exit code of a rank that was asked to stop a while ago; 0 where it was not."""
        is_long_ago = time.monotonic() - self._changed_at > STOPPED_WITHIN_S
        return int(self.state.get("exit_code", 0)) if is_long_ago else 0


class Vigil:
    """One rank's part in it; `look` is called each second, from a thread."""

    def __init__(self, folder: Path, rank: int, journal: Journal) -> None:
        self._path = folder / FOLDER / str(rank)
        self.rank, self.is_alone = rank, False
        self._folder, self._journal = folder, journal
        self._others: dict[int, Silence] = {} if rank == 0 else {0: Silence(folder, 0)}
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self._num_beats, self._is_over = 0, False
        self._is_ending = threading.Lock()  # who holds it says how this process ends
        self._path.parent.mkdir(exist_ok=True)
        self._write("alive")

    def begin(self, num_ranks: int, processes: Sequence[subprocess.Popen[bytes]]) -> None:
        """All ranks are known to rank 0, which started these `processes`, of rank 1 and following."""
        if self.rank == 0:
            self._others = {rank: Silence(self._folder, rank) for rank in range(1, num_ranks)}
            self._processes = dict(enumerate(processes, start=1))

    def look(self) -> None:
        """Say that this rank lives, and end it when one that it looks at does not."""
        self._num_beats += 1
        self._write("alive")
        lost = self._lost()
        if lost and self._is_ending.acquire(blocking=False):
            self._end(self._cause() or lost)
        left = [code for other in self._others.values() if (code := other.exit_code_of_stop)]
        if left and self._is_ending.acquire(blocking=False):
            self._exit(left[0])

    def ended_by(self, error: BaseException) -> str | None:
        """This rank ends with an error: leave it to be seen, and return another rank's that caused it."""
        self._is_ending.acquire()  # never released: no thread interferes
        message = f"{type(error).__name__}: {error}"
        is_cause = not LOST.search(message)
        if self.rank or is_cause:
            self._write("over", error=message, is_cause=is_cause)
            return None
        deadline = time.monotonic() + CAUSE_WITHIN_S
        while (cause := self._cause()) is None and time.monotonic() < deadline:
            time.sleep(0.1)
        self._write("over", error=message, is_cause=False)
        return cause or self._first_error()

    def code_of_stop(self, error: BaseException) -> int:
        """The exit code of another rank that was asked to stop, where this one lost its connection; or 0."""
        if not LOST.search(f"{type(error).__name__}: {error}"):
            return 0
        for other in self._others.values():
            other.look()
        return max((int(other.state.get("exit_code", 0)) for other in self._others.values()), default=0)

    def over(self) -> None:
        """This rank has done its part."""
        self._is_ending.acquire(blocking=False)
        self._write("over")

    def stopped(self, exit_code: int) -> None:
        """This rank ends since it was asked to stop, as all do after the same step, or else soon after it."""
        self._is_ending.acquire(blocking=False)
        self._write("over", exit_code=exit_code)

    def _end(self, message: str) -> None:
        if self.rank == 0:
            self._journal.write("error", type="RunError", message=message, traceback=f"{message}\n")
        self._exit(1)

    def _exit(self, code: int) -> None:
        """End at once: the main thread waits for a rank that is gone."""
        for process in self._processes.values():
            process.kill()
        os._exit(code)

    def _lost(self) -> str | None:
        """The first rank that is gone, or silent, in words."""
        for rank, other in self._others.items():
            is_silent = other.look()
            is_over = other.state.get("state") == "over"
            self.is_alone |= rank == 0 and is_over
            if other.state.get("error"):
                return f"rank {rank}: {other.state['error']}"
            code = self._processes[rank].poll() if rank in self._processes else None
            if code and not is_over:
                return f"rank {rank} {_told(code)}"
            if other.is_gone():
                return f"rank {rank} is gone{_where(other.state)}: killed, or ended without a word"
            if is_silent and (rank == 0 or not is_over):
                return f"rank {rank} does not answer for {SILENT_AFTER_S:g} s{_where(other.state)}"
        return None

    def _cause(self) -> str | None:
        """What was first, of all that went wrong: a rank that was killed, or failed of itself; in words."""
        for rank, process in self._processes.items():
            code = process.poll()
            if code and code < 0 and self._others[rank].state.get("state") != "over":
                return f"rank {rank} {_told(code)}"
        for rank, other in self._others.items():
            other.look()
            if other.state.get("error") and other.state.get("is_cause"):
                return f"rank {rank}: {other.state['error']}"
            if rank not in self._processes and other.is_gone():
                return f"rank {rank} is gone{_where(other.state)}: killed, or ended without a word"
        return None

    def _first_error(self) -> str | None:
        """What any rank failed of, where none is known to be the cause."""
        errors = [(rank, other.state.get("error")) for rank, other in self._others.items()]
        return next((f"rank {rank}: {error}" for rank, error in errors if error), None)

    def _write(self, state: str, **fields: Any) -> None:
        if state == "alive" and self._is_over:
            return  # the thread is late: the last word stands
        self._is_over |= state == "over"
        place = {"host": socket.gethostname(), "machine": machine(), "pid": os.getpid()}
        place |= {"beat": self._num_beats}
        temporary = self._path.with_name(f".{self.rank}-{state}")
        with suppress(OSError):  # a full disk: the journal meets it, too
            temporary.write_text(json.dumps({"state": state, **place, **fields}))
            temporary.replace(self._path)


@functools.cache
def machine() -> str:
    """Where process ids mean the same: a boot of a machine, and a container's own ids; "" where unknown.

    A host's name does not say it: containers on one machine may share it, and machines may be called alike.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:  # no Linux
        return ""


def is_alive(pid: int) -> bool:
    """Whether a process of this machine runs; one that has ended and was not asked how does not.

    >>> is_alive(os.getpid())
    True
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    except OSError:  # it ends in this moment
        return True
    return stat.rpartition(")")[2].split()[0] != "Z"


def _told(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}, without a word"
    who = " (by hand, or by the system for want of memory)" if code == -signal.SIGKILL else ""
    known = {number.value: number.name for number in signal.Signals}
    return f"was killed by {known.get(-code, f'signal {-code}')}{who}"


def _where(state: dict[str, Any]) -> str:
    return f" (process {state['pid']} on {state['host']})" if state else ""
