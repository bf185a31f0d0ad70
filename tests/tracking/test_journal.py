"""The journal: what was written is read back, whatever the file's end looks like."""

from __future__ import annotations

import math
import resource
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from primer.errors import JournalError
from primer.tracking.journal import (
    NAME,
    RESERVE,
    RESERVE_BYTES,
    Follower,
    Journal,
    first_record,
    give_room_back,
    is_end_of_line,
    last_attempt,
    last_record,
    read,
    reserve_room,
)


def write_three(folder: Path) -> bytes:
    with Journal(folder) as journal:
        for step in (1, 2, 3):
            journal.write("points", key="train/loss", steps=[step], times=[step], values=[step / 3])
    return (folder / NAME).read_bytes()


def test_a_float_comes_back_to_the_bit(tmp_path: Path) -> None:
    values = [1 / 3, 5e-324, -0.0, 1.7976931348623157e308, math.inf, math.nan]
    with Journal(tmp_path) as journal:
        journal.write("points", values=values)
    assert [value.hex() for value in read(tmp_path)[0]["values"]] == [value.hex() for value in values]


def test_appending_keeps_what_is_there(tmp_path: Path) -> None:
    write_three(tmp_path)
    write_three(tmp_path)
    assert len(read(tmp_path)) == 6


def test_every_torn_tail_gives_the_whole_records_before_it(tmp_path: Path) -> None:
    whole = write_three(tmp_path)
    ends = [i + 1 for i, byte in enumerate(whole) if byte == ord("\n")]
    for size in range(len(whole)):
        (tmp_path / NAME).write_bytes(whole[:size])
        assert len(read(tmp_path)) == sum(end <= size for end in ends)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(position=st.integers(min_value=0), bit=st.integers(0, 7))
def test_a_flipped_bit_is_never_taken_for_a_record(tmp_path: Path, position: int, bit: int) -> None:
    (tmp_path / NAME).unlink(missing_ok=True)
    whole = bytearray(write_three(tmp_path))
    records = read(tmp_path)
    whole[position % len(whole)] ^= 1 << bit
    (tmp_path / NAME).write_bytes(whole)
    found = read(tmp_path)
    assert len(found) < 3
    assert all(record in records for record in found)


def test_what_is_appended_after_a_torn_record_is_read(tmp_path: Path) -> None:
    whole = write_three(tmp_path)
    (tmp_path / NAME).write_bytes(whole[:-5])
    with Journal(tmp_path) as journal:
        journal.write("end", status="KILLED")
    assert [record["kind"] for record in read(tmp_path)] == ["points", "points", "end"]


def test_a_follower_gives_each_record_once_while_the_file_grows(tmp_path: Path) -> None:
    follower = Follower(tmp_path)
    assert list(follower.new()) == []
    with Journal(tmp_path) as journal:
        journal.write("data", name="a")
        assert [record["name"] for record in follower.new()] == ["a"]
        with (tmp_path / NAME).open("ab") as file:
            file.write(b"0000")  # a record half written
        assert list(follower.new()) == []


@pytest.mark.parametrize("text", ["é", "日本", "a\nb", '"'])
def test_any_text_survives(tmp_path: Path, text: str) -> None:
    with Journal(tmp_path) as journal:
        journal.write("error", message=text)
    assert read(tmp_path)[0]["message"] == text


@pytest.mark.parametrize("size", [10, 1 << 15, 1 << 18])
def test_the_last_whole_record_is_found_from_the_end(tmp_path: Path, size: int) -> None:
    """Also where it is longer than what is looked at first, and where what follows is damaged or torn."""
    with Journal(tmp_path) as journal:
        assert last_record(tmp_path) is None
        assert first_record(tmp_path) is None
        journal.write("run", id="0")
        assert last_record(tmp_path) == {"kind": "run", "id": "0"}
        journal.write("error", message="x" * size)
    with (tmp_path / NAME).open("ab") as file:
        file.write(b"00000000 {}\n0123")
    assert last_record(tmp_path) == {"kind": "error", "message": "x" * size}
    assert first_record(tmp_path) == {"kind": "run", "id": "0"}


def test_the_last_attempt_begins_where_the_run_did_or_was_resumed() -> None:
    records = [{"kind": kind} for kind in ("run", "start", "end", "resume", "start", "resume", "data", "end")]
    assert last_attempt(records) == records[5:]
    assert last_attempt(records[:3]) == records[:3]
    assert last_attempt(records[6:]) == records[6:]  # of what is new in a journal that goes on


def test_where_a_record_ends(tmp_path: Path) -> None:
    whole = write_three(tmp_path)
    ends = {i + 1 for i, byte in enumerate(whole) if byte == ord("\n")}
    assert {i for i in range(len(whole) + 9) if is_end_of_line(tmp_path, i)} == ends


def test_a_full_disk_costs_the_room_that_was_kept_for_the_end_alone(tmp_path: Path) -> None:
    (tmp_path / NAME).symlink_to("/dev/full")
    reserve_room(tmp_path)
    assert (tmp_path / RESERVE).stat().st_size == RESERVE_BYTES
    journal = Journal(tmp_path)
    for kind, is_there in (("points", True), ("end", False), ("end", False)):
        with pytest.raises(JournalError, match=f"{NAME}: No space left on device"):
            journal.write(kind)
        assert (tmp_path / RESERVE).exists() == is_there
    journal._file.close()  # which can't be synced
    reserve_room(tmp_path)
    give_room_back(tmp_path)
    give_room_back(tmp_path)
    assert not (tmp_path / RESERVE).exists()
    with pytest.raises(JournalError, match="No such file"):
        reserve_room(tmp_path / "nowhere")


@pytest.mark.parametrize("room", [0, 9])
def test_a_record_that_was_cut_short_costs_no_other(tmp_path: Path, room: int) -> None:
    size = len(write_three(tmp_path))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Journal(tmp_path) as journal:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + room, hard))
        try:
            for _ in range(2):
                with pytest.raises(JournalError, match="File too large"):
                    journal.write("points", key="train/loss")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert (tmp_path / NAME).stat().st_size == size + room
        journal.write("end", status="KILLED")
        journal.write("end", status="FAILED")
    assert [record.get("status") for record in read(tmp_path)] == [None] * 3 + ["KILLED", "FAILED"]
    assert (tmp_path / NAME).read_bytes().count(b"\n") == 5 + bool(room)
