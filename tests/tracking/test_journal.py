"""The journal: what was written is read back, whatever the file's end looks like."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from primer.tracking.journal import NAME, Follower, Journal, read


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
