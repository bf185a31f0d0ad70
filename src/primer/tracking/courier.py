"""The courier: ships journals to MLflow while they grow, off the training process.

Training never waits for it, and what it can't ship stays in the journal: it tries again, later and later,
and `primer sync` does when the run is over.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from primer.redact import redacted_text
from primer.stopping import Stopping
from primer.tracking.shipment import LateStore, Shipment
from primer.tracking.trouble import FULL, reason_of

SHIP_EVERY_S = 0.5  # chosen: MLflow's page refreshes no faster
REST, LONGEST_REST_S = 3, 3.0  # chosen: times as long as shipping took, which takes a core from training
LONGEST_WAIT_S = 30.0  # chosen: between two tries
DELETED = "its run was deleted in MLflow, and stays so: nothing more is sent there"
NICE = 10  # chosen: training comes first
GIVE_UP_AFTER_S, HURRIED_S = 30.0, 3.0  # chosen: without success, after the end


class Courier(threading.Thread):
    """Ships run folders to one store until each journal's end has arrived, or until `abandon` is called."""

    def __init__(self, uri: str, *folders: Path) -> None:
        super().__init__(name="courier", daemon=True)
        self.trouble: str | None = None  # what the last try failed of
        self.store = LateStore(uri)
        self._uri = redacted_text(uri)
        self._wake = threading.Event()
        self.shipments = [Shipment(folder, uri, self.store, wake=self._wake.set) for folder in folders]
        self._is_over = self._has_warned = False
        self._is_closed = bool(folders)  # no more will come
        self._succeeded_at = time.monotonic()
        self._has_succeeded = False

    def add(self, folder: Path) -> Shipment:
        """Ship one more folder, after those that are there; one that is goes on, with another attempt.

        A folder has one shipment: of two, the older could bring an end that is none any more, last.
        """
        shipment = next((known for known in self.shipments if known.folder == folder), None)
        if shipment:
            shipment.again()
        else:
            shipment = Shipment(folder, self.store.uri, self.store, wake=self._wake.set)
            self.shipments.append(shipment)  # at once for all threads
        self._wake.set()
        return shipment

    @property
    def is_out_of_room(self) -> bool:
        """Whether the store's disk is full."""
        return self.trouble is not None and any(words in self.trouble for words in FULL)

    @property
    def trouble_with(self) -> str:
        """Where the trouble is and what it is, in a line."""
        return f"{self._uri} {self.trouble}"

    @property
    def has_arrived(self) -> bool:
        """Whether all of it is in the store."""
        return all(shipment.has_arrived for shipment in self.shipments)

    def finish(self, stop: Stopping, *, is_hurried: bool) -> bool:
        """Wait for the journals' ends to arrive, and say whether they did; nothing is shipped any more then.

        Gives up at a signal, or when nothing arrives for a while.
        """
        self._is_closed = True
        self._wake.set()
        self.wait_for(self.shipments, stop, is_hurried=is_hurried)
        self._is_over = True
        self._wake.set()
        return self.has_arrived

    def wait_for(self, shipments: Sequence[Shipment], stop: Stopping, *, is_hurried: bool) -> None:
        """Wait for the ends of these journals to arrive, but not where nothing does."""
        begun_at, num_signals = time.monotonic(), stop.num_received
        is_absent = self.trouble is not None and not self._has_succeeded
        within_s = HURRIED_S if is_hurried or is_absent or self.is_out_of_room else GIVE_UP_AFTER_S
        while self.is_alive() and not all(shipment.has_arrived for shipment in shipments):
            since = begun_at if is_hurried else max(begun_at, self._succeeded_at)
            if time.monotonic() - since > within_s or stop.num_received != num_signals:
                break
            self.join(0.05)

    def abandon(self) -> None:
        """Ship nothing more: the question was wrong."""
        self._is_over = True
        self._wake.set()
        self.join()

    def run(self) -> None:
        if sys.platform == "linux":  # where a thread has a priority of its own
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
        wait_s = SHIP_EVERY_S
        while not self._is_over and not (self._is_closed and self.has_arrived):
            begun_at = time.monotonic()
            has_failed = self._ship()
            rest_s = max(SHIP_EVERY_S, min(LONGEST_REST_S, REST * (time.monotonic() - begun_at)))
            wait_s = min(LONGEST_WAIT_S, 2 * wait_s) if has_failed else rest_s
            if not has_failed and any(shipment.is_complete for shipment in self.shipments):
                continue
            if not (self._is_closed and self.has_arrived):
                self._wake.wait(wait_s)
                self._wake.clear()

    def _ship(self) -> bool:
        """Ship what is new of each folder; whether that failed."""
        has_failed = False
        for shipment in list(self.shipments):
            if self._is_over or shipment.has_arrived:
                continue
            try:
                if shipment.advance():
                    self._succeeded_at, self._has_succeeded = time.monotonic(), True
                if shipment.was_deleted:
                    print(f"primer: {shipment.folder}: {DELETED}", file=sys.stderr)
            except Exception as error:  # a run is not lost because its record could not be sent
                has_failed = True
                self._failed(error)
                if self.store.opened is None:
                    break  # the others would fail of the same
        if not has_failed:
            self.trouble = None
        return has_failed

    def _failed(self, error: Exception) -> None:
        self.trouble = reason_of(error)
        if not self._has_warned:
            self._has_warned = True
            rest = "nothing is lost: it is tried again, and primer sync sends what is left"
            print(f"primer: {self.trouble_with}; {rest}", file=sys.stderr)
