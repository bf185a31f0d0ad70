"""Slots that pull jobs until there are no more: threads of the controller, each with one worker at a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from primer.result import RunResult
from primer.stopping import Stopping
from primer.sweep.tiles import Tile
from primer.tracking.facts import num_cpus

POLL_S = 0.1  # chosen: between two looks at signals and the table
Run = Callable[[Tile, "Slot"], dict[int, RunResult]]


@dataclass(frozen=True)
class Slot:
    """A place for one job at a time: its share of the CPUs and its GPUs, as $CUDA_VISIBLE_DEVICES."""

    number: int
    num_threads: int
    gpus: str | None


def slots_of(workers: int | None, places: list[str], num_jobs: int, *, num_processes: int = 1) -> list[Slot]:
    """The slots of this machine: one for each of the `places` on its GPUs, else workers x threads = CPUs.

    A job that takes several processes takes as many CPUs at least.

    >>> [slot.gpus for slot in slots_of(workers=None, places=["0", "1"], num_jobs=9)]
    ['0', '1']
    """
    num_fitting = len(places) or max(1, num_cpus() // num_processes)
    at_once = min(workers or num_fitting, num_fitting) if places else workers or num_fitting
    num_slots = max(1, min(at_once, num_jobs))
    num_threads = max(1, num_cpus() // num_slots)
    return [Slot(number, num_threads, places[number] if places else None) for number in range(num_slots)]


class Executor:
    """Runs tiles in slots; `run` takes one and its slot, and says what its jobs came to that were begun."""

    def __init__(self, slots: list[Slot], run: Run, stop: Stopping, *, stops_at_failure: bool) -> None:
        self._slots, self._run, self._stop = slots, run, stop
        self._stops_at_failure = stops_at_failure
        self._has_failed = False
        self._lock = threading.Lock()
        self._error: BaseException | None = None

    def work(self, tiles: Iterator[Tile], refresh: Callable[[], None]) -> dict[int, RunResult]:
        """Run the tiles, in the order they come, and return what jobs came to that were begun, by number.

        `tiles` is asked for the next one when a slot is free; `refresh` is called all along.
        """
        done: dict[int, RunResult] = {}
        threads = [
            threading.Thread(target=self._fill, args=(slot, tiles, done), name=f"slot {slot.number}")
            for slot in self._slots
        ]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            refresh()
            time.sleep(POLL_S)
        refresh()
        if self._error:
            raise self._error
        return done

    def _fill(self, slot: Slot, tiles: Iterator[Tile], done: dict[int, RunResult]) -> None:
        try:
            while (tile := self._next(tiles)) is not None:
                results = self._run(tile, slot)
                done |= results
                self._has_failed |= any(result.status != "FINISHED" for result in results.values())
        except BaseException as error:  # raised again where the sweep was begun
            self._error = self._error or error

    def _next(self, tiles: Iterator[Tile]) -> Tile | None:
        with self._lock:
            is_over = self._error or self._stop.received or (self._has_failed and self._stops_at_failure)
            return None if is_over else next(tiles, None)
