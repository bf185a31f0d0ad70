"""The courier: ships a run's journal to MLflow while it grows, off the training process.

Training never waits for it, and what it can't ship stays in the journal: it tries again, later and later,
and `primer sync` does when the run is over.
"""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

from primer.redact import redacted_text
from primer.stopping import StopSignal
from primer.tracking.journal import Record
from primer.tracking.shipment import Shipment
from primer.tracking.trouble import FULL, reason_of

SHIP_EVERY_S = 0.5  # chosen: MLflow's page refreshes no faster
LONGEST_WAIT_S = 30.0  # chosen: between two tries
GIVE_UP_AFTER_S, HURRIED_S = 30.0, 3.0  # chosen: without success, after the end


class Courier(threading.Thread):
    """Ships one run folder until its journal's end has arrived, or until `abandon` is called."""

    def __init__(self, folder: Path, uri: str) -> None:
        super().__init__(name="courier", daemon=True)
        self.trouble: str | None = None  # what the last try failed of
        self._shipment = Shipment(folder, uri)
        self._uri = redacted_text(uri)
        self._wake = threading.Event()
        self._is_over = self._has_warned = False
        self._succeeded_at = time.monotonic()

    @property
    def is_out_of_room(self) -> bool:
        """Whether the store's disk is full."""
        return self.trouble is not None and any(words in self.trouble for words in FULL)

    @property
    def trouble_with(self) -> str:
        """Where the trouble is and what it is, in a line."""
        return f"{self._uri} {self.trouble}"

    def finish(self, stop: StopSignal, end: Record, *, is_hurried: bool) -> bool:
        """Wait for the journal's `end` to arrive, and say whether it did.

        Gives up at a signal, or when nothing arrives for a while.
        """
        begun_at, num_signals = time.monotonic(), stop.num_received
        is_absent = self.trouble is not None and self._shipment.run_id is None
        is_hopeless = is_absent or self.is_out_of_room
        within_s = HURRIED_S if is_hurried or is_hopeless else GIVE_UP_AFTER_S
        self._shipment.end = end
        self._wake.set()
        while self.is_alive() and stop.num_received == num_signals:
            since = begun_at if is_hurried else max(begun_at, self._succeeded_at)
            if time.monotonic() - since > within_s:
                break
            self.join(0.05)
        self._is_over = True
        self._wake.set()
        return self._shipment.has_arrived

    def abandon(self) -> None:
        """Ship nothing more: the question was wrong."""
        self._is_over = True
        self._wake.set()
        self.join()

    def run(self) -> None:
        wait_s = SHIP_EVERY_S
        while not self._is_over and not self._shipment.has_arrived:
            try:
                if self._shipment.advance():
                    self._succeeded_at = time.monotonic()
                wait_s, self.trouble = SHIP_EVERY_S, None
            except Exception as error:  # a run is not lost because its record could not be sent
                wait_s = min(LONGEST_WAIT_S, 2 * wait_s)
                self._failed(error)
            if not self._shipment.has_arrived:
                self._wake.wait(wait_s)
                self._wake.clear()

    def _failed(self, error: Exception) -> None:
        self.trouble = reason_of(error)
        if not self._has_warned:
            self._has_warned = True
            rest = "nothing is lost: it is tried again, and primer sync sends what is left"
            print(f"primer: {self.trouble_with}; {rest}", file=sys.stderr)
