"""The journal: an append-only file of what happened in a run, enough to rebuild the run from nothing.

One record a line: the CRC-32 of the text as 8 hex digits, a space, the record as JSON. A record has a
`kind`; points carry their own timestamps, since MLflow keeps one row for an identical (key, timestamp,
step, value), so that shipping a journal twice doubles nothing.

    kind      written by  holds
    run       controller  name, params, tags, time: what to call the run
    data      worker      what it trains on; the question was sound from here on
    start     worker      num_steps, num_params, device, num_threads: its parts fit, it trains
    points    worker      key, steps, times (ms since 1970), values
    warning   worker      message: the run goes on
    error     worker      type, message, traceback
    end       controller  status, error, duration_s
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

NAME = "journal"
Record = dict[str, Any]


class Journal:
    """Append records to a journal; one process at a time does.

    >>> with Journal(getfixture("tmp_path")) as journal:
    ...     journal.write("points", key="train/loss", steps=[1], times=[1700000000000], values=[0.5])
    >>> [record["kind"] for record in read(getfixture("tmp_path"))]
    ['points']
    """

    def __init__(self, folder: Path) -> None:
        self._file = (folder / NAME).open("a+b", buffering=0)
        if self._file.seek(0, os.SEEK_END) and not self._ends_whole():
            self._file.write(b"\n")  # a torn record stays a bad line of its own

    def _ends_whole(self) -> bool:
        self._file.seek(-1, os.SEEK_END)
        return self._file.read(1) == b"\n"

    def write(self, kind: str, **fields: Any) -> None:
        """Append one record; it survives the end of this process from here on."""
        text = json.dumps({"kind": kind, **fields}, separators=(",", ":")).encode()
        self._file.write(b"%08x %s\n" % (zlib.crc32(text), text))

    def sync(self) -> None:
        """Wait until what was written survives the end of this machine, too."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Sync and close."""
        self.sync()
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Follower:
    """Read a journal while it grows: each call returns the whole records that are new."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / NAME
        self._offset = 0

    def new(self) -> Iterator[Record]:
        """The records written since the last call; a torn tail waits, a damaged line is left out."""
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._offset)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                self._offset += len(line)
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
