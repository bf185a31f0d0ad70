"""What is done in a soak: a command at random, and what its answer may be."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

from soaks.house import Command, House
from soaks.kinds import KINDS

from primer.finding import jobs_of, top_folders
from primer.folder import is_running, is_sweep
from primer.tracking.facts import host
from primer.tracking.journal import first_record, last_record
from primer.tracking.shipment import id_of

EXPERIMENT = "soak"
MANY = 8  # chosen: with so many unfinished nothing new is begun
LOOKS: dict[str, Sequence[tuple[str, ...]]] = {
    "compare": (
        ("compare",),
        ("compare", "--allow", "unfinished"),
        ("compare", "--experiment", EXPERIMENT, "--allow", "unfinished", "--allow", "data"),
        ("compare", "--sweep", "last", "--json"),
        ("compare", "last"),
    ),
    "runs": (("runs",), ("runs", "last"), ("runs", "--experiment", EXPERIMENT)),
    "show": (("show", "last"),),
    "sync": (("sync",), ("sync", "last")),
}
# docs/tracking.md
CODES = {0, 1, 2, 130, 137, 143, 129, 138}
STOPS = {"SIGKILL": {-9}, "SIGTERM": {-15}, "Ctrl-C": {-2}}  # of a controller, before it listens


def drawn(house: House, draw: random.Random) -> tuple[str, ...]:
    """The words of a command."""
    left = unfinished(house)
    what = draw.choices(
        ("train", "sweep", "resume", "compare", "runs", "show", "sync"),
        (4, 3, 1.5 * len(left), 1.5, 0.7, 0.7, 0.7) if len(left) < MANY else (0, 0, 1, 0.1, 0.1, 0.1, 0.1),
    )[0]
    pick = draw.random()
    if what in ("train", "sweep"):
        kinds = [kind for kind in KINDS.values() if kind.is_sweep == (what == "sweep")]
        return kinds[int(pick * len(kinds))].command(house.server.uri, EXPERIMENT)
    if what in LOOKS:
        return LOOKS[what][int(pick * len(LOOKS[what]))]
    return _resume(house, left[int(pick * len(left))] if left else house.disk, draw)


def _resume(house: House, folder: Path, draw: random.Random) -> tuple[str, ...]:
    """Go on with a folder, which is named in one of the ways there are; with a job of a sweep, sometimes."""
    job, way, has_failed = draw.random(), draw.random(), draw.random() < 0.6
    left = [each for each in jobs_of(folder) if not has_finished(each)]
    if left and job < 0.25:
        folder = left[int(job * 4 * len(left))]
    failed = ("--failed",) if is_sweep(folder) and has_failed else ()
    if way < 0.15:
        return ("resume", "last")
    name = id_of(folder) if way < 0.4 else None
    return ("resume", name or str(folder.relative_to(house.cwd) if way < 0.7 else folder), *failed)


def begun(house: House) -> list[Path]:
    """The single runs and sweeps that were begun."""
    return [folder for folder in top_folders(house.disk) if first_record(folder) is not None]


def unfinished(house: House) -> list[Path]:
    """Those that have not come to their end, and have nobody who works on them."""
    return [folder for folder in begun(house) if not has_finished(folder) and not is_running(folder, host())]


def has_finished(folder: Path) -> bool:
    """Whether the last word of a run or of a sweep and its jobs is FINISHED."""
    last = last_record(folder) or {}
    return last.get("kind") == "end" and last["status"] == "FINISHED"


def complaints(command: Command) -> list[str]:
    """What is wrong with how a command ended."""
    code, err = command.process.returncode, command.err.read_text(errors="replace")
    met, what = sorted(command.met), command.words[0]
    allowed = CODES | {code for word, codes in STOPS.items() for code in codes if word in " ".join(met)}
    if not met:
        allowed = {"train": {0}, "resume": {0, 1, 2}, "sync": {0, 1}}.get(what, {0, 2})
    wrong = [] if code in allowed else [f"exit code {code}"]
    # Ctrl-C while Python still imports the program, before its first line: Python's own traceback
    is_early = (
        "Ctrl-C" in " ".join(met) and "primer/__init__.py" in err and err.endswith("KeyboardInterrupt\n")
    )
    has_traceback = "Traceback" in err or "Traceback" in command.out.read_text(errors="replace")
    if has_traceback and not is_early:
        wrong.append(f"a traceback: {err.strip().splitlines()[-1:]}")
    is_question = what not in ("train", "resume", "sync")
    if is_question and code in (1, 2) and (len(err.splitlines()) != 1 or not err.startswith("primer: ")):
        wrong.append(f"refused in other than a line: {err[-300:]!r}")
    return [f"{command} [{', '.join(met) or 'no fault'}]: {each}" for each in wrong]
