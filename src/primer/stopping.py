"""Signals that ask a run to stop: at once where nothing would be lost, else after the step in progress."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, Protocol, Self

from primer.errors import Stopped

# what Ctrl-C, a scheduler, a closed terminal and SLURM's warnings before a job's end send
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


@contextmanager
def held_back() -> Iterator[None]:
    """Signals to stop wait, here and in a process that is started here, until it installs a StopSignal."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Stopping(Protocol):
    """Whether a run is asked to stop: by which signal, and how often."""

    @property
    def received(self) -> int | None: ...
    @property
    def num_received(self) -> int: ...


class StopSignal:
    """The first signal to stop, kept; `obey` raises Stopped once the work in progress is safe.

    Before `defer` is called a signal raises Stopped where it arrives. Once deferred, it is kept and counted:
    a scheduler sends its own to every process of a job, so a second one means nothing by itself. Where
    `is_impatient`, as in front of a person, the second one raises.
    """

    def __init__(self, *, is_impatient: bool = False) -> None:
        self.received: int | None = None
        self.num_received = 0
        self._is_impatient = is_impatient
        self._is_deferred = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        self._install()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _install(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return  # Python lets only the main thread handle signals
        for number in STOPPING:
            before = signal.getsignal(number)
            if before is not signal.SIG_IGN:  # as under nohup
                self._before.setdefault(number, before)
                signal.signal(number, self._handle)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)  # see `held_back`

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.received = self.received or number
        self.num_received += 1
        if not self._is_deferred or (self._is_impatient and self.num_received > 1):
            raise Stopped(number)

    def defer(self) -> None:
        """From here on, wait for `obey`."""
        self._install()
        self._is_deferred = True

    def obey(self) -> None:
        """Raise Stopped if a signal came."""
        if self.received is not None:
            raise Stopped(self.received)

    def obey_at_once(self) -> None:
        """From here on a signal raises where it arrives: no more work is in progress that it would lose."""
        self._is_deferred = False
        self.obey()
