"""Sweeps, single runs, resumes and comparisons on one store, for hours, under faults drawn at random.

Each run is compared with its twin, which trained undisturbed, in its folder and in MLflow: 1 if any is not as
that, is left RUNNING, or a command ended in a way that is not documented.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

from soaks.actions import begun, complaints, drawn, has_finished, unfinished
from soaks.faults import ALL, Fault, Faults
from soaks.house import Command, House
from soaks.kinds import KINDS
from soaks.verdict import Verdict

from primer.folder import is_sweep

NUM_AT_ONCE = 2
TELL_EVERY_S = 60.0
LONGEST_S = 600.0  # of a command: then it hangs
ORPHANS_WITHIN_S = 60.0  # of a worker whose controller was killed
SHORT_S = 4.0  # what takes no longer has trained nothing
NUM_ROUNDS = 3  # of resuming in the end: one is enough


class Soak:
    """Commands in a house, with faults, until the time is up; then all is healed, resumed and looked at."""

    def __init__(self, house: House, seed: int) -> None:
        self._house, self._seed = house, seed
        self._faults = Faults(house)
        self._commands: list[Command] = []
        self._begun_at, self._told_at = time.monotonic(), time.monotonic()
        self._number = 0
        self._typical_s: dict[str, float] = {}  # of the last train, and train -m, that ended well
        self.actions, self.ends = Counter[str](), Counter[str]()
        self.wrong: list[str] = []

    def train_twins(self) -> None:
        """Each kind once, undisturbed."""
        for kind in KINDS.values():
            words = kind.command(self._house.server.uri, "twins")
            self._number += 1
            self._commands.append(self._house.begin(self._number, *words, cwd=self._house.twins))
            while len(self._commands) >= NUM_AT_ONCE:
                self._look()
        self._until_over()
        print(f"{len(KINDS)} kinds trained undisturbed in {self._minutes():.1f} min", flush=True)
        if self.wrong:
            raise SystemExit("not even undisturbed")

    def disturb(self, minutes: float) -> None:
        """Do something at random, again and again, and have it disturbed."""
        ends_at = time.monotonic() + 60 * minutes
        while time.monotonic() < ends_at:
            if len(self._commands) < NUM_AT_ONCE:
                self._begin()
            self._look()
        self._faults.heal()
        self._house.server.wait()
        self._until_over()
        deadline = time.monotonic() + ORPHANS_WITHIN_S
        while (left := self._house.processes()) and time.monotonic() < deadline:
            time.sleep(0.5)
        self.wrong += [f"process {pid} outlived its command: {_command_line(pid)}" for pid in left]

    def end(self) -> None:
        """Ship all, go on with all that has no end, and ship all again: nothing is left to ship."""
        self._do("sync")
        for _ in range(NUM_ROUNDS):
            for folder in unfinished(self._house):
                self._do("resume", str(folder), *(["--failed"] if is_sweep(folder) else []))
        left = [folder for folder in begun(self._house) if not has_finished(folder)]
        self.wrong += [f"{folder}: is not FINISHED after {NUM_ROUNDS} rounds" for folder in left]
        self._do("sync")
        self._do("sync")
        if "shipped as" in (told := self._last.out.read_text()):
            self.wrong.append(f"sync had something to ship still: {told}")

    def _do(self, *words: str) -> None:
        self._number += 1
        self.actions[f"{words[0]} in the end"] += 1
        self._last = self._house.begin(self._number, *words)
        self._commands.append(self._last)
        self._until_over()
        if self._last.process.returncode:
            said = (self._last.err.read_text() + self._last.out.read_text()).strip()[-400:]
            self.wrong.append(f"{self._last}: exit code {self._last.process.returncode}: {said}")

    def _begin(self) -> None:
        self._number += 1
        draw = random.Random(f"{self._seed} {self._number}")
        words, fault = drawn(self._house, draw), Fault.drawn(draw)
        is_long, kind = words[0] in ("train", "resume"), "train -m" if "-m" in words else "train"
        typical_s = self._typical_s[kind] if is_long else SHORT_S
        store = {} if words[0] in ("train", "resume", "sync") else self._store(draw)
        command = self._house.begin(
            self._number, *words, variables=store | fault.variables(typical_s), max_blocks=fault.max_blocks
        )
        self.actions[command.what] += 1
        self._commands.append(command)
        self._faults.plan(command, fault, typical_s)

    def _store(self, draw: random.Random) -> dict[str, str]:
        return {"MLFLOW_TRACKING_URI": self._house.server.uri} if draw.random() < 0.8 else {}

    def _until_over(self) -> None:
        while self._commands:
            self._look()

    def _look(self) -> None:
        """Faults that are due, commands that have ended, and now and then a line."""
        self._faults.work(self._commands)
        for command in list(self._commands):
            if command.seconds > LONGEST_S and command.process.poll() is None:
                self.wrong.append(f"{command} [{sorted(command.met)}]: runs for {LONGEST_S:.0f} s")
                command.process.kill()
                command.met.add("SIGKILL: it hung")
            if command.process.poll() is not None:
                self._commands.remove(command)
                self.ends[f"{command.what} {command.process.returncode}"] += 1
                if not command.process.returncode and command.seconds > SHORT_S:
                    self._typical_s[command.what] = command.seconds
                found = complaints(command)
                self.wrong += found
                print("".join(f"  WRONG {each}\n" for each in found), end="", flush=True)
        if time.monotonic() - self._told_at > TELL_EVERY_S:
            self._told_at = time.monotonic()
            print(self.line(), flush=True)
        time.sleep(0.05)

    def _minutes(self) -> float:
        return (time.monotonic() - self._begun_at) / 60

    def line(self) -> str:
        """How it goes."""
        faults = self._faults.counts
        return (
            f"{self._minutes():.0f} min: {self.actions.total()} commands, {faults.total()} faults, "
            f"{self.actions['resume']} resumes, {len(unfinished(self._house))} unfinished, "
            f"{len(self.wrong)} wrong"
        )

    def table(self) -> str:
        """Figures, at the end."""
        parts = {
            "commands": self.actions,
            "faults": Counter({kind: self._faults.counts[kind] for kind in ALL}),
            "exit codes": self.ends,
        }
        return "\n".join(
            f"{name}: {counts.total()} ({', '.join(f'{number} {what}' for what, number in counts.items())})"
            for name, counts in parts.items()
        )


def _command_line(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return "gone by now"


def soak(root: Path, seed: int, minutes: float, *, is_kept: bool) -> bool:
    """Whether nothing was lost; the figures are printed."""
    with House(root).open() as house:
        told = Soak(house, seed)
        told.train_twins()
        told.disturb(minutes)
        told.end()
        verdict = Verdict(house)
        verdict.reach()
        print(told.table())
        print("\n".join(f"{what}: {number}" for what, number in verdict.figures.items()))
        wrong = [*told.wrong, *verdict.faults]
        print("".join(f"WRONG {each}\n" for each in wrong), end="")
        print(f"soak: {minutes:g} min with seed {seed}, {len(wrong)} wrong", flush=True)
        house.is_kept = is_kept or bool(wrong)
        return not wrong


def main() -> int:
    """Soak in a folder, which stays where something was wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=120.0, help="of faults; the end takes more")
    parser.add_argument("--seed", type=int, default=0, help="of all that is drawn")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="a new folder to work in, which stays")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    place = options.keep or Path(tempfile.mkdtemp(prefix="soak-"))
    place.mkdir(parents=True, exist_ok=True)
    is_sound = soak(place.resolve(), options.seed, options.minutes, is_kept=options.keep is not None)
    if is_sound and not options.keep:
        shutil.rmtree(place)
    else:
        print(f"kept: {place}")
    return int(not is_sound)


if __name__ == "__main__":
    sys.exit(main())
