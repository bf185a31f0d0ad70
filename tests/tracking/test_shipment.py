"""A shipment: all of a journal is in the store, once, whoever ships it, how often, and in how many parts."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from mlflow.entities import Run
from mlflow.models import Model

from primer.tracking.journal import NAME, Journal
from primer.tracking.shipment import RECEIPT, LateStore, Shipment, id_of
from primer.tracking.store import Store
from primer.tracking.tags import ERROR, PARENT, SHIPPED, SWEEP, WARNING

RUN = {"kind": "run", "id": "mine", "name": "mine", "time": 5, "experiment": None}
RUN |= {"params": {"lr": 0.1}, "tags": {"primer.group": "all"}}
DATA = {"kind": "data", "name": "iris", "source": "here", "digest": "0123", "features": ["a"], "target": "b"}
DATA |= {"num_rows": 3, "task": "regression", "criterion": "mse"}
START = {"kind": "start", "num_steps": 90, "num_params": 7, "device": "cpu", "num_threads": 1}
END = {"kind": "end", "status": "FINISHED", "error": None, "time": 99, "duration_s": 1.0}
FAILED = END | {"status": "FAILED", "error": "no luck"}
RESUME = {"kind": "resume", "time": 6, "params": {"lr": 0.2}, "tags": {"primer.host": "other"}}


def points(first: int, last: int, key: str = "train/loss") -> dict[str, Any]:
    """A point a step, of values that fall, but of one that is the largest and one that is the least."""
    steps = list(range(first, last + 1))
    values = [{17: 99.0, 23: -99.0}.get(step, 1 / step) for step in steps]
    return {
        "kind": "points",
        "key": key,
        "steps": steps,
        "times": [1000 + s for s in steps],
        "values": values,
    }


def write(folder: Path, *records: dict[str, Any]) -> int:
    """Append records to a journal; how many bytes it has."""
    folder.mkdir(exist_ok=True)
    with Journal(folder) as journal:
        for record in records:
            journal.write(**record)
    return (folder / NAME).stat().st_size


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database without runs: to make one takes a second."""
    folder = tmp_path_factory.mktemp("empty")
    Store(f"sqlite:///{folder}/mlflow.db")
    return folder / "mlflow.db"


@pytest.fixture
def late(empty: Path, tmp_path: Path) -> LateStore:
    shutil.copy(empty, tmp_path)
    return LateStore(f"sqlite:///{tmp_path}/mlflow.db")


def ship(folder: Path, late: LateStore) -> Shipment:
    """Ship what is there, as `primer sync` does."""
    shipment = Shipment(folder, late.uri, late)
    shipment.advance()
    return shipment


def run_of(store: Store, folder: Path) -> Run:
    """What the store has of a folder."""
    run = store.run(id_of(folder) or "")
    assert run
    return run


def steps_of(store: Store, folder: Path, key: str = "train/loss") -> list[int]:
    """The steps whose points are there, as often as they are."""
    return sorted(point.step for point in store.client.get_metric_history(id_of(folder), key))


def test_nothing_is_made_before_the_parts_are_known_to_fit(tmp_path: Path, late: LateStore) -> None:
    folder = tmp_path / "run"
    write(folder, RUN)
    shipment = ship(folder, late)
    write(folder, DATA)
    assert not shipment.advance()
    assert (late.opened, shipment.run_id, id_of(folder)) == (None, None, None)
    write(folder, START)
    assert shipment.advance()
    assert not shipment.advance()
    assert id_of(folder) == shipment.run_id
    (folder / RECEIPT).write_text('{"run_id": ')
    assert id_of(folder) is None


def test_what_is_known_of_a_run(tmp_path: Path, late: LateStore) -> None:
    folder = tmp_path / "run"
    verification = {"kind": "verification", "function": "relu", "verdict": "verified"}
    warning = {"kind": "warning", "message": "slowly"}
    mark = write(
        folder, RUN, DATA, START, verification, warning, {"kind": "tags", "tags": {"mine": "1"}}, points(1, 9)
    )
    ship(folder, late)
    run = run_of(late.open(), folder)
    assert (run.info.run_name, run.info.status, run.info.start_time) == ("mine", "RUNNING", 5)
    assert run.data.params == {"lr": "0.1", "criterion": "mse"}
    expected = {"primer.group": "all", "primer.num_params": "7", "primer.device": "cpu", WARNING: "slowly"}
    expected |= {"primer.num_threads": "1", "primer.verification.relu": "verified", "mine": "1"}
    assert run.data.tags.items() >= (expected | {SHIPPED: str(mark)}).items()
    assert "primer.num_fused" not in run.data.tags
    assert run.inputs.dataset_inputs[0].dataset.digest == "0123"
    assert late.open().client.get_experiment(run.info.experiment_id).name == "primer"


def test_parts_arrive_once_whoever_ships_them(tmp_path: Path, late: LateStore) -> None:
    folder = tmp_path / "run"
    write(folder, RUN, DATA, START, points(1, 9))
    shipment = ship(folder, late)
    mark = write(folder, points(10, 20))
    assert shipment.advance()
    assert run_of(late.open(), folder).data.tags[SHIPPED] == str(mark)
    write(folder, points(21, 30))
    assert ship(folder, late).run_id == shipment.run_id
    write(folder, FAILED, RESUME, START, points(31, 40), END)
    other = ship(folder, late)
    assert (other.has_arrived, steps_of(late.open(), folder)) == (True, list(range(1, 41)))
    once_more = Shipment(folder, late.uri, late)
    assert (once_more.advance(), once_more.has_arrived) == (False, True)


def test_an_earlier_attempt_is_gone_after_the_mark_and_its_words_stay(
    tmp_path: Path, late: LateStore
) -> None:
    folder = tmp_path / "run"
    write(folder, RUN, DATA, START, points(1, 9), FAILED)
    shipment = ship(folder, late)
    assert shipment.has_arrived
    assert run_of(late.open(), folder).info.status == "FAILED"
    write(folder, RESUME)
    shipment.again()
    assert not shipment.advance()  # whether it trains is not known yet
    assert run_of(late.open(), folder).info.status == "FAILED"
    write(folder, DATA, START, points(10, 12))
    assert shipment.advance()
    assert not shipment.has_arrived
    run = run_of(late.open(), folder)
    assert (run.info.status, run.data.tags["primer.host"], run.data.tags[ERROR]) == (
        "RUNNING",
        "other",
        "no luck",
    )
    assert run.data.tags["primer.drift.lr"] == "0.1 -> 0.2"
    write(folder, END)
    assert (shipment.advance(), shipment.has_arrived) == (True, True)
    run = run_of(late.open(), folder)
    assert (run.info.status, run.info.end_time) == ("FINISHED", 99)


def test_an_end_that_the_journal_had_no_room_for_arrives(tmp_path: Path, late: LateStore) -> None:
    folder, woken = tmp_path / "run", list[str]()
    write(folder, RUN, DATA, START)
    shipment = Shipment(folder, late.uri, late, wake=lambda: woken.append("now"))
    shipment.advance()
    assert not shipment.is_complete
    shipment.finish(FAILED)
    assert (woken, shipment.is_complete) == (["now"], True)
    assert shipment.advance()
    assert (shipment.has_arrived, shipment.is_complete) == (True, False)
    assert run_of(late.open(), folder).data.tags[ERROR] == "no luck"


def test_files_come_with_the_end_and_the_log_with_a_failure(tmp_path: Path, late: LateStore) -> None:
    for end in (END, FAILED):
        folder = tmp_path / end["status"]
        write(folder, RUN | {"id": end["status"]}, DATA, START)
        for name in ("config.yaml", "worker.log", "other.txt"):
            (folder / name).write_text(name)
        shipment = ship(folder, late)
        client = late.open().client
        assert client.list_artifacts(shipment.run_id) == []
        write(folder, end)
        shipment.advance()
        names = {file.path for file in client.list_artifacts(shipment.run_id)}
        assert names == {"config.yaml", *(["worker.log"] if end["error"] else [])}


def test_the_model_is_that_of_the_last_step(tmp_path: Path, late: LateStore) -> None:
    folder = tmp_path / "run"
    write(folder, RUN, DATA, START, points(1, 9), points(10, 12), END)
    (folder / "model").mkdir()
    Model().save(folder / "model" / "MLmodel")
    for _ in range(2):  # shipped again after the mark was lost, it is the same one
        ship(folder, late)
        (model,) = run_of(late.open(), folder).outputs.model_outputs
        assert model.step == 12
        late.open().client.delete_tag(id_of(folder), SHIPPED)


def test_a_store_that_lost_some_gets_all_of_it_again(tmp_path: Path, late: LateStore) -> None:
    """A mark that is no end of a line is not that of this journal."""
    folder = tmp_path / "run"
    write(folder, RUN, DATA, START, points(1, 9), END)
    run_id = ship(folder, late).run_id
    late.open().client.set_tag(run_id, SHIPPED, "3")
    again = ship(folder, late)
    assert (again.run_id, again.has_arrived, steps_of(late.open(), folder)) == (
        run_id,
        True,
        list(range(1, 10)),
    )
    late.open().client.delete_run(run_id)
    gone = Shipment(folder, late.uri, late)
    assert (gone.advance(), gone.was_deleted, gone.has_arrived) == (False, True, True)
    gone.again()
    assert gone.has_arrived


def test_a_sweep_is_there_before_its_jobs(tmp_path: Path, late: LateStore) -> None:
    sweep = tmp_path / "sweep"
    write(sweep, RUN | {"id": "sweep", "sweep": {}})
    assert ship(sweep, late).run_id is None  # it has no jobs yet
    write(sweep, {"kind": "job", "number": 0, "folder": "0", "config": {}})
    for number, store in enumerate((late, late, LateStore(late.uri))):  # the last finds it there
        job = {"sweep": "sweep", "folder": str(sweep), "number": number}
        folder = sweep / str(number)
        write(folder, RUN | {"id": f"job {number}", "job": job}, DATA, START)
        ship(folder, store)
        tags = run_of(store.open(), folder).data.tags
        assert tags[SWEEP] == tags[PARENT] == id_of(sweep)
    lost = {"sweep": "unknown", "folder": str(tmp_path / "nowhere"), "number": 0}
    write(tmp_path / "lost", RUN | {"id": "lost", "job": lost}, DATA, START)
    ship(tmp_path / "lost", late)
    assert not {SWEEP, PARENT} & run_of(late.open(), tmp_path / "lost").data.tags.keys()


@pytest.mark.parametrize(("num_parts", "num_points", "stride"), [(1, 12, 10), (2, 12, 10), (1, 48, 2)])
def test_of_a_long_curve_of_runs_trained_as_one_some_points_are_sent(
    tmp_path: Path, late: LateStore, num_parts: int, num_points: int, stride: int
) -> None:
    """The same ones, however often it is shipped: multiples of a stride, the least, the largest, the last."""
    folder = tmp_path / "run"
    write(
        folder,
        RUN | {"points": num_points},
        DATA,
        START | {"num_fused": 4},
        points(1, 40),
        points(1, 9, "val/loss"),
    )
    if num_parts == 2:
        ship(folder, late)
    write(folder, points(41, 89), END)
    ship(folder, late)
    assert steps_of(late.open(), folder) == sorted({*range(stride, 90, stride), 17, 23, 89})
    assert steps_of(late.open(), folder, "val/loss") == list(range(1, 10))
    metrics = run_of(late.open(), folder).data.metrics
    assert metrics == {"train/loss": 1 / 89, "val/loss": 1 / 9}
    assert run_of(late.open(), folder).data.tags["primer.num_fused"] == "4"
