"""The courier's shipments: one a folder, however many attempts its run takes."""

from __future__ import annotations

from pathlib import Path

from primer.tracking.courier import Courier
from primer.tracking.journal import Journal


def test_another_attempt_goes_on_in_the_shipment_that_is_there(tmp_path: Path) -> None:
    """Of two, the one that began first could bring an end that is none any more, last."""
    with Journal(tmp_path) as journal:
        journal.write("run", id="0", experiment=None, params={}, tags={})
    courier = Courier(f"sqlite:///{tmp_path}/mlflow.db")
    first = courier.add(tmp_path)
    first.finish({"kind": "end", "status": "FAILED", "time": 0, "error": "x", "duration_s": 0})
    first.has_arrived = True
    assert courier.has_arrived
    again = courier.add(tmp_path)
    assert again is first
    assert courier.shipments == [first]
    assert (first.end, first.has_arrived) == (None, False)
    assert courier.add(tmp_path / "other") is not first


def test_a_run_that_was_deleted_in_the_store_stays_so(tmp_path: Path) -> None:
    courier = Courier(f"sqlite:///{tmp_path}/mlflow.db")
    shipment = courier.add(tmp_path)
    shipment.was_deleted = shipment.has_arrived = True
    assert courier.add(tmp_path).has_arrived
