"""A worker's heartbeat: its journal reaches the disk, shows that the run is alive, and outlives no parent."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Self

from primer.errors import JournalError
from primer.tracking.journal import Journal

BEAT_EVERY_S = 5.0  # chosen: bounds what the end of the machine can cost


class Heartbeat(threading.Thread):
    """Syncs a journal every few seconds, off the training thread.

    Asks this process to stop once it `is_orphaned`: a worker whose controller was killed would train on with
    nobody to say how it ended. Each second it has a `look`, too.
    """

    def __init__(
        self, journal: Journal, is_orphaned: Callable[[], bool], look: Callable[[], None] = lambda: None
    ) -> None:
        super().__init__(name="heartbeat", daemon=True)
        self._journal = journal
        self._is_orphaned = is_orphaned
        self._look = look
        self._is_over = threading.Event()

    def run(self) -> None:
        beat_at, is_asked = time.monotonic(), False
        while not self._is_over.wait(1.0):
            self._look()
            if not is_asked and self._is_orphaned():
                is_asked = True
                os.kill(os.getpid(), signal.SIGTERM)
            if time.monotonic() - beat_at >= BEAT_EVERY_S:
                beat_at = time.monotonic()
                with suppress(JournalError, OSError):  # the training thread meets the same, and says so
                    self._journal.write("alive", time=time.time_ns() // 1_000_000)
                    self._journal.sync()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self.join()
