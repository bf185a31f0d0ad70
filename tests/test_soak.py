"""What `scripts/soak` would see: each thing that can be lost, planted in a run that lost nothing."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "scripts"))

from soaks.actions import EXPERIMENT
from soaks.house import House
from soaks.kinds import Kind
from soaks.verdict import Verdict

from primer.finding import run_folders
from primer.folder import create_folder
from primer.tracking.journal import Journal, Record, read

KIND = Kind(("data=iris", "max_epochs=2", "tracking.log_model=false"), is_local=True)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    """A run and its twin, in one that nothing was mounted or started in."""
    house = House(tmp_path_factory.mktemp("soak"))
    commands = [
        house.begin(number, *KIND.command("", experiment), cwd=cwd)
        for number, (experiment, cwd) in enumerate([("twins", house.twins), (EXPERIMENT, house.cwd)])
    ]
    assert [command.process.wait(240) for command in commands] == [0, 0], commands[1].err.read_text()
    assert house.begin(2, "sync").process.wait(240) == 0  # a busy machine: the end was not waited for
    assert faults(house) == []
    return house


def faults(house: House) -> list[str]:
    verdict = Verdict(house)
    verdict.reach()
    return verdict.faults


def in_database(sql: str) -> Callable[[House], None]:
    def plant(house: House) -> None:
        with closing(sqlite3.connect(house.cwd / "mlflow.db")) as database, database:
            database.execute(sql)

    return plant


def in_journal(change: Callable[[list[Record]], list[Record]]) -> Callable[[House], None]:
    def plant(house: House) -> None:
        (folder,) = run_folders(house.disk)
        records = change(read(folder))
        (folder / "journal").write_bytes(b"")
        with Journal(folder) as journal:
            for record in records:
                journal.write(**record)

    return plant


def otherwise(record: Record) -> Record:
    return record | ({"values": [value + 1e-9 for value in record["values"]]} if "values" in record else {})


def another(house: House) -> None:
    folder = create_folder("another", house.disk)
    with Journal(folder) as journal:
        journal.write("run", id="another", tags={})
        journal.write("end", status="KILLED")
    (folder / "curves.parquet").write_bytes((run_folders(house.disk)[0] / "curves.parquet").read_bytes())


def torn(house: House) -> None:
    (path,) = house.disk.rglob("curves.parquet")
    path.write_bytes(path.read_bytes()[:-9])


ONE = "WHERE key = 'train/loss' AND step = 4"
PLANTED = {
    "points lost in MLflow": in_database(f"DELETE FROM metrics {ONE}"),
    "points too many in MLflow": in_database(f"UPDATE metrics SET timestamp = 5 {ONE}"),
    "is RUNNING in MLflow": in_database("UPDATE runs SET status = 'RUNNING'"),
    "has 0 runs in MLflow": in_database("UPDATE runs SET lifecycle_stage = 'deleted'"),
    "is in MLflow only": in_database("UPDATE tags SET value = '/elsewhere' WHERE key = 'primer.folder'"),
    "tags say": in_database(
        "INSERT INTO tags (key, value, run_uuid) SELECT 'primer.drift.trained', 'x', run_uuid FROM runs"
    ),
    "points doubled": in_journal(lambda records: [r for r in records for _ in range(1 + ("steps" in r))]),
    "not its twin's steps": in_journal(lambda records: [r for r in records if r.get("key") != "val/loss"]),
    "unlike its twin's": in_journal(lambda records: [otherwise(record) for record in records]),
    "ends ['KILLED']": in_journal(lambda records: [*records[:-1], records[-1] | {"status": "KILLED"}]),
    "ends ['FINISHED', 'FINISHED']": in_journal(lambda records: [*records, records[-1]]),
    "curves.parquet is not as the journal": in_journal(
        lambda records: [r for r in records if "steps" not in r]
    ),
    "curves.parquet can't be read": torn,
    "has no twin": another,
}


@pytest.mark.parametrize("words", PLANTED)
def test_what_is_lost_is_seen(house: House, words: str) -> None:
    kept = {path: path.read_bytes() for path in house.cwd.rglob("*") if path.is_file()}
    try:
        PLANTED[words](house)
        assert any(words in fault for fault in faults(house))
    finally:
        for path in [path for path in house.cwd.rglob("*") if path.is_file()]:
            path.unlink() if path not in kept else path.write_bytes(kept[path])
