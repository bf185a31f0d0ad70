"""The journal: an append-only file of what happened in a run, enough to rebuild the run from nothing.

One record a line: the CRC-32 of the text as 8 hex digits, a space, the record as JSON. A record has a
`kind`; points carry their own timestamps, since MLflow keeps one row for an identical (key, timestamp,
step, value), so that shipping a journal twice doubles nothing.

    kind        written by  holds
    run         controller  id, name, params, tags, time, cwd, uri, experiment: what to call it, and where;
                            job: of which sweep it is one; sweep: what one was asked for
    resume      controller  time, params, tags: another attempt begins
    data        worker      what it trains on; the question was sound from here on
    start       worker      num_steps, num_params, device, num_devices, num_threads, step and checkpoint it
                            goes on from: it trains; num_fused: with how many, if it is not alone
    verification worker     function, verdict, failed checks, source_hash, versions: a custom Function it uses
    points      worker      key, steps, times (ms since 1970), values
    checkpoint  worker      step, file
    evaluated   worker      split, num_rows: how many rows its numbers are of
    alive       worker      time, where nothing else was written for a while
    warning     worker      message: the run goes on
    alone       worker      reason: jobs can't be trained as one, nothing of them was begun
    done        worker      of a run that trained with others: all of it is done
    error       worker      type, message, traceback
    job         controller  of a sweep: number, folder, config
    tags        controller  tags
    end         controller  status, error, duration_s
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Self

from primer.errors import JournalError
from primer.redact import redacted

NAME = "journal"
RESERVE, RESERVE_BYTES = ".reserve", 1 << 16  # given back when the disk is full, so that the end fits
WORDS = ("warning", "alone", "error", "tags", "end")  # records that repeat what others said
Record = dict[str, Any]


class Journal:
    """Append records to a journal; one process at a time does.

    >>> with Journal(getfixture("tmp_path")) as journal:
    ...     journal.write("points", key="train/loss", steps=[1], times=[1700000000000], values=[0.5])
    >>> [record["kind"] for record in read(getfixture("tmp_path"))]
    ['points']
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._file = (folder / NAME).open("a+b", buffering=0)
        size = self._file.seek(0, os.SEEK_END)
        self._is_torn = bool(size) and not is_end_of_line(folder, size)

    def write(self, kind: str, **fields: Any) -> None:
        """Append one record; it survives the end of this process from here on. Its words lose their secrets.

        Raises JournalError when it can't be written whole, as on a full disk.
        """
        fields = redacted(fields) if kind in WORDS else fields
        text = json.dumps({"kind": kind, **fields}, separators=(",", ":")).encode()
        line = b"%08x %s\n" % (zlib.crc32(text), text)
        reserve = self.folder / RESERVE
        try:
            self._append(line)
        except OSError as error:
            if kind not in ("error", "end") or not reserve.exists():
                raise JournalError(f"{self.folder / NAME}: {error.strerror}") from error
            reserve.unlink()
            self.write(kind, **fields)

    def _append(self, line: bytes) -> None:
        if self._is_torn:
            line = b"\n" + line  # a torn record stays a bad line of its own
        num_written = self._file.write(line)
        self._is_torn = self._is_torn or 0 < num_written < len(line)
        while num_written < len(line):
            num_written += self._file.write(line[num_written:])  # which says why there was no room for it
        self._is_torn = False

    def sync(self) -> None:
        """Wait until what was written survives the end of this machine, too."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Sync and close."""
        try:
            self.sync()
        finally:
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Unwritten(Journal):
    """The journal of another rank than the first, whose words are the run's: nothing is written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, kind: str, **fields: Any) -> None:
        """Write nothing."""

    def sync(self) -> None:
        """There is nothing to wait for."""

    def close(self) -> None:
        """There is nothing to close."""


def warn_once(journal: Journal, messages: Iterable[str]) -> None:
    """Write each message as a warning that isn't there yet: a run that goes on meets with the same again."""
    there = {record["message"] for record in read(journal.folder) if record["kind"] == "warning"}
    for message in messages:
        if message not in there:
            journal.write("warning", message=message)


def sync(folder: Path) -> None:
    """Wait until what anybody wrote to a journal survives the end of the machine."""
    with (folder / NAME).open("rb") as file:
        os.fsync(file.fileno())


def is_end_of_line(folder: Path, offset: int) -> bool:
    """Whether a journal has that many bytes, the last of which ends a record."""
    with (folder / NAME).open("rb") as file:
        file.seek(max(0, offset - 1))
        return file.read(1) == b"\n"


def reserve_room(folder: Path) -> None:
    """Keep some of the disk for the records of a run's end."""
    try:
        (folder / RESERVE).write_bytes(b"\0" * RESERVE_BYTES)
    except OSError as error:
        raise JournalError(f"{folder}: {error.strerror}") from error


def give_room_back(folder: Path) -> None:
    """The run has ended."""
    (folder / RESERVE).unlink(missing_ok=True)


class Follower:
    """Read a journal while it grows: each call returns the whole records that are new."""

    def __init__(self, folder: Path, *, offset: int = 0) -> None:
        self.offset = offset  # bytes read
        self._path = folder / NAME

    def new(self) -> Iterator[Record]:
        """The records written since the last call; a torn tail waits, a damaged line is left out."""
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self.offset)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                self.offset += len(line)
                record = _parse(line)
                if record is not None:
                    yield record


def _parse(line: bytes) -> Record | None:
    checksum, _, text = line.removesuffix(b"\n").partition(b" ")
    if checksum != b"%08x" % zlib.crc32(text):
        return None
    record: Record = json.loads(text)
    return record


def read(folder: Path) -> list[Record]:
    """All whole records of a run folder's journal."""
    return list(Follower(folder).new())


def first_record(folder: Path) -> Record | None:
    """The first whole record: what the run is, where the journal is whole."""
    return next(Follower(folder).new(), None)


def last_record(folder: Path) -> Record | None:
    """The last whole record, without reading all of a long journal."""
    with (folder / NAME).open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        for tail in (1 << 16, size):
            file.seek(max(0, size - tail))
            for line in reversed(file.read().splitlines(keepends=True)):
                record = _parse(line) if line.endswith(b"\n") else None
                if record is not None:
                    return record
    return None


def points_of(records: list[Record]) -> dict[tuple[str, int], float]:
    """The value of each (metric, step).

    >>> points_of([{"kind": "points", "key": "val/loss", "steps": [4, 8], "values": [0.3, 0.2]}])
    {('val/loss', 4): 0.3, ('val/loss', 8): 0.2}
    """
    return {
        (record["key"], step): value
        for record in records
        if record["kind"] == "points"
        for step, value in zip(record["steps"], record["values"], strict=True)
    }


def last_attempt(records: list[Record]) -> list[Record]:
    """The records since the run was begun, or resumed for the last time."""
    begun = [index for index, record in enumerate(records) if record["kind"] in ("run", "resume")]
    return records[begun[-1] :] if begun else records
