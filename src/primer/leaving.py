"""What a run leaves when it ends: curves, the traceback, a log without secrets, and its journal's end."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from primer.ending import Ending
from primer.errors import JournalError
from primer.redact import redacted_text
from primer.tracking import curves
from primer.tracking.journal import Journal, Record, give_room_back, last_attempt, read
from primer.tracking.tags import PRUNED


def leave_files(folder: Path, *, has_picture: bool = True) -> None:
    """Write what follows from the journal and the log; what can't be written costs a line, not the end."""
    try:
        records = read(folder)
        if not any(record["kind"] == "job" for record in records):  # a sweep has no curve of its own
            curves.write(records, folder, has_picture=has_picture)
        errors = [record for record in last_attempt(records) if record["kind"] == "error"]
        if errors:
            (folder / "traceback.txt").write_text(errors[-1]["traceback"])
        log = folder / "worker.log"
        if log.exists():
            text = log.read_text(errors="replace")
            clean = redacted_text(text)
            if clean != text:
                log.write_text(clean)
    except Exception as error:
        print(f"primer: {folder}: {type(error).__name__}: {error}", file=sys.stderr)


def write_end(folder: Path, ending: Ending, duration_s: float) -> Record:
    """Write the journal's last record, and return it, also where it can't be written."""
    end: Record = {
        "time": time.time_ns() // 1_000_000,
        "status": ending.status,
        "error": ending.error,
        "duration_s": duration_s,
    }
    if ending.is_pruned:
        end["is_pruned"] = True
    try:
        with Journal(folder) as journal:
            if ending.is_pruned:
                journal.write("tags", tags={PRUNED: "true"})
            journal.write("end", **end)
        give_room_back(folder)
    except (JournalError, OSError) as error:
        print(f"primer: {error}", file=sys.stderr)
    return {"kind": "end", **end}
