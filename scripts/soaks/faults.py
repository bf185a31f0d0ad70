"""Faults of a soak, drawn at random: kills, a server that hangs or dies, a full disk, a clock that jumps."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from soaks.house import CLOCK, Command, House, descendants

HOUR_S = 3600.0
KILLS = {
    "SIGKILL of the controller": 4,
    "SIGKILL of all": 3,
    "SIGKILL of one of its processes": 3,
    "SIGTERM of the controller": 2,
    "SIGTERM of one of its processes": 1,
    "Ctrl-C": 2,
    "Ctrl-C twice": 1,
}
# of everybody, while they last; and of one command, from its beginning on
OF_ALL = {"server hangs": 2, "server killed": 2, "disk full": 3}
OF_ONE = {"files limited": 2, "clock jumps": 4}
WEIGHTS = {"none": 5, **KILLS, **OF_ALL, **OF_ONE}
ALL = tuple(kind for kind in WEIGHTS if kind != "none")


class Fault(NamedTuple):
    """What is to happen to a command: when, how long, and to which of what there is."""

    kind: str
    after: float  # share of the time that such a command takes
    lasts_s: float
    choice: float  # from 0 to 1

    @classmethod
    def drawn(cls, draw: random.Random) -> Fault:
        """A fault, or none."""
        kind = draw.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
        return cls(kind, draw.uniform(0.1, 1.0), draw.uniform(0.5, 9), draw.random())

    @property
    def max_blocks(self) -> int | None:
        """How many blocks of 512 bytes a file of the command may have."""
        return round(20 + 900 * self.choice**2) if self.kind == "files limited" else None

    def variables(self, typical_s: float) -> dict[str, str]:
        """Of the command's environment: a clock that is wrong from the start, and jumps later."""
        if self.kind != "clock jumps":
            return {}
        jump_s = HOUR_S * (self.choice * 60 - 30)  # more than a day back or ahead
        jumps = [(0.0, -jump_s / 3), (time.monotonic() + self.after * typical_s, jump_s)]
        told = ",".join(f"{at:.3f}:{seconds:.3f}" for at, seconds in jumps)
        return {"SOAK_CLOCK": told, "PYTHONPATH": str(CLOCK)}


class Faults:
    """Brings faults about when they are due, and puts an end to them."""

    def __init__(self, house: House) -> None:
        self._house, self.counts = house, Counter[str]()
        self._waiting: list[tuple[Command, Fault, float]] = []  # after so many seconds
        self._going: dict[str, tuple[float, Callable[[], object]]] = {}  # when each is over, and how

    def plan(self, command: Command, fault: Fault, typical_s: float) -> None:
        """Take a fault down for a command that has begun, and takes so long where nothing happens."""
        command.met |= set(self._going)
        if fault.kind in OF_ONE:
            command.met.add(fault.kind)
            self.counts[fault.kind] += 1
        elif fault.kind != "none":
            self._waiting.append((command, fault, fault.after * typical_s))

    def work(self, commands: list[Command]) -> None:
        """Bring about what is due, and end what is over; `commands` are those that run."""
        now = time.monotonic()
        for kind, (ends_at, undo) in list(self._going.items()):
            if now > ends_at:
                undo()
                del self._going[kind]
        for waiting in list(self._waiting):
            command, fault, after_s = waiting
            if command not in commands:
                self._waiting.remove(waiting)
            elif command.seconds > after_s:
                self._waiting.remove(waiting)
                self.counts[fault.kind] += self._bring(command, fault, commands)

    def heal(self) -> None:
        """End all that goes on."""
        for _, undo in self._going.values():
            undo()
        self._going.clear()
        self._waiting.clear()

    def _bring(self, command: Command, fault: Fault, commands: list[Command]) -> bool:
        if fault.kind in KILLS:
            command.met.add(fault.kind)
            return _kill(command, fault)
        if any(kind.split()[0] == fault.kind.split()[0] for kind in self._going):
            return False
        undo = self._begin(fault)
        if undo is None:
            return False
        self._going[fault.kind] = (time.monotonic() + fault.lasts_s, undo)
        for each in commands:
            each.met.add(fault.kind)
        return True

    def _begin(self, fault: Fault) -> Callable[[], object] | None:
        """Begin what all meet; how it is ended."""
        house = self._house
        if fault.kind == "disk full":
            is_full = house.resize(round(200_000 * fault.choice**2))
            return (lambda: house.resize(None)) if is_full else None
        if fault.kind == "server hangs":
            house.server.send(signal.SIGSTOP)
            return lambda: house.server.send(signal.SIGCONT)
        house.server.send(signal.SIGKILL)
        house.server.end()
        return self._restart

    def _restart(self) -> None:
        self._house.server.start()
        # it does not answer at once: whoever begins by then meets that, too
        self._going["server killed."] = (time.monotonic() + 15, lambda: None)


def _kill(command: Command, fault: Fault) -> bool:
    """Signal some processes of a command; whether there were any."""
    pid = command.process.pid
    if command.process.poll() is not None:
        return False
    words = fault.kind.split()
    below = descendants(pid)
    if words[0] == "Ctrl-C":  # as a terminal does: all that are in front of it
        for _ in range(len(words)):
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGINT)
            time.sleep(0.2 * fault.choice)
        return True
    targets = {"controller": [pid], "all": [pid, *below], "processes": []}[words[-1]]
    if words[-1] == "processes" and below:
        targets = [below[int(fault.choice * len(below))]]
    for target in targets:
        with suppress(ProcessLookupError):
            os.kill(target, signal.Signals[words[0]])
    return bool(targets)
