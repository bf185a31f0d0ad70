"""What a run prints while it trains, in a pipe."""

from __future__ import annotations

import pytest

from primer.progress import Progress
from primer.tracking.journal import Record

COLUMNS = [f"x{number}" for number in range(30)]
DATA: Record = {
    "kind": "data",
    "name": "cars",
    "target": "price",
    "features": COLUMNS,
    "num_rows": {"train": 7, "test": 3},
}


def test_it_says_what_it_learns_from_and_where_it_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress() as shown:
        shown.show([DATA])
        assert not capsys.readouterr().out  # the question may turn out to be wrong
        shown.show([{"kind": "start", "step": 5, "num_steps": 10}])
        shown.show([{"kind": "points", "key": "train/loss", "steps": [6, 7], "values": [0.5, 0.25]}])
    assert capsys.readouterr().out.splitlines() == [
        "data    cars: price from 30 columns, x0 to x29; 7 train, 3 test rows",
        "goes on after step 5 of 10",
        "step 6/10  train/loss 0.5",
    ]


def test_a_run_that_begins_goes_on_nowhere(capsys: pytest.CaptureFixture[str]) -> None:
    columns = ["doors", "\x1b[2J" + "y" * 99]
    with Progress() as shown:
        shown.show([DATA | {"features": columns}, {"kind": "start", "step": 0, "num_steps": 10}])
    (line,) = capsys.readouterr().out.splitlines()
    assert line.isprintable()
    assert line.startswith("data    cars: price from doors, \\x1b[2Jyyy")
    assert len(line) < 120
