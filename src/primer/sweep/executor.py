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


def work(
    tiles: Iterator[Tile],
    slots: list[Slot],
    run: Callable[[Tile, Slot], dict[int, RunResult]],
    stop: Stopping,
    refresh: Callable[[], None],
    *,
    stops_at_failure: bool,
) -> dict[int, RunResult]:
    """Run tiles in slots, in the order they come, and return what jobs came to that were begun, by number.

    `tiles` is asked for the next one when a slot is free; `run` takes one and its slot, and says what its
    jobs came to that were begun; `refresh` is called all along.
    """
    done, errors, has_failed, lock = dict[int, RunResult](), list[BaseException](), False, threading.Lock()

    def next_tile() -> Tile | None:
        with lock:
            is_over = errors or stop.received or (has_failed and stops_at_failure)
            return None if is_over else next(tiles, None)

    def fill(slot: Slot) -> None:
        nonlocal has_failed
        try:
            while (tile := next_tile()) is not None:
                results = run(tile, slot)
                done.update(results)
                has_failed |= any(result.status != "FINISHED" for result in results.values())
        except BaseException as error:  # raised again where the sweep was begun
            errors.append(error)

    threads = [threading.Thread(target=fill, args=(slot,), name=f"slot {slot.number}") for slot in slots]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        refresh()
        time.sleep(POLL_S)
    refresh()
    if errors:
        raise errors[0]
    return done
