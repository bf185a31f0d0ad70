"""`primer sync`: say how dead runs ended, and ship what of the journals is not in MLflow yet."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from primer.config.wording import shown
from primer.ending import Ending
from primer.errors import UsageError
from primer.files import CURVES, PICTURE
from primer.finding import check_original, dead_runs, find_folder, header_of, run_folders
from primer.folder import held
from primer.leaving import leave_files, write_end
from primer.redact import redacted_text
from primer.tracking.courier import DELETED
from primer.tracking.journal import first_record, last_record, read
from primer.tracking.mark import is_marked
from primer.tracking.shipment import Shipment, id_of
from primer.tracking.trouble import reason_of
from primer.tracking.uri import SQLITE, sqlite_path, tracking_uri

DIED = "its process or its machine died"


@dataclass(frozen=True)
class Synced:
    """What came of one run folder: `error` is None where all of its journal is in MLflow."""

    folder: Path
    run_id: str | None
    has_shipped: bool
    error: str | None = None
    was_deleted: bool = False  # in MLflow, by somebody


def sync(*runs: str) -> list[Synced]:
    """Ship the journals of these runs, or of all below `outputs`, as `primer sync RUNS` does.

    Any number of times: what MLflow has is not sent again, and what it lost is. Raises UsageError for a run
    that is not there; what can't be shipped is told by its `error`.

    >>> [one.error for one in sync("last")]  # doctest: +SKIP
    [None]
    """
    folders = [find_folder(run) for run in runs] or run_folders()
    settle(folders)
    return [ship(folder) for folder in folders if runs or is_tracked(folder)]


def tidy_up(*, is_tracking: bool) -> None:
    """Say how dead runs below `outputs` ended, in their folders and, if `is_tracking`, in MLflow."""
    for folder in settle(run_folders()):
        if is_tracking and is_tracked(folder):
            ship(folder)


def settle(folders: list[Path]) -> list[Path]:
    """Write KILLED as the end of the runs whose process or machine died; returns them."""
    settled = []
    for folder in dead_runs(folders):
        try:
            with held(folder):
                if (last_record(folder) or {}).get("kind") == "end":  # it ended in this moment
                    continue
                leave_files(folder)
                write_end(folder, Ending("KILLED", 137, DIED), _seconds(folder))
                settled.append(folder)
        except (UsageError, OSError):  # somebody goes on with it in this moment, or it is not ours
            continue
    return settled


def _seconds(folder: Path) -> float:
    records = read(folder)
    times = [record["times"][-1] for record in records if record["kind"] == "points"]
    return max(0.0, (max(times) - records[0].get("time", max(times))) / 1000) if times else 0.0


def is_tracked(folder: Path) -> bool:
    """Whether the run was meant to be in MLflow; so is one whose journal does not say."""
    try:
        record = first_record(folder)
    except OSError:
        return True
    return record is None or record["kind"] != "run" or record.get("uri") is not None


def store_of(folder: Path) -> str:
    """Where a run is shipped: with the password that is set now, since its folder keeps none.

    Not to a database in a folder that is gone, as when a project was moved. Raises UsageError for another
    store than the present one where the journal that names it was not begun here.
    """
    header, current = header_of(folder), tracking_uri(None)
    own = header["uri"]
    is_gone = own is None or (own.startswith(SQLITE) and not sqlite_path(own).parent.is_dir())
    if is_gone or own == redacted_text(current):
        return current
    if not is_marked(header["id"], own, header.get("mark")):
        raise UsageError(
            f"{folder}: was not begun here, and names the store {shown(own)}; expected "
            "MLFLOW_TRACKING_URI to say where it is to go"
        )
    return str(own)


def ship(folder: Path) -> Synced:
    """Ship one run folder's journal; a run that goes on ships itself."""
    uri = ""
    try:
        check_original(folder)
        uri = store_of(folder)
        shipment = Shipment(folder, uri)
        with held(folder):
            late = _late_files(folder)
            has_shipped = shipment.advance()
            if late and not has_shipped:
                has_shipped = shipment.add(late)
        return Synced(folder, shipment.run_id, has_shipped, was_deleted=shipment.was_deleted)
    except UsageError as error:
        return Synced(folder, None, False, str(error).removeprefix(f"{folder}: "))
    except Exception as error:  # the others are shipped all the same
        return Synced(folder, id_of(folder), False, f"{redacted_text(uri)} {reason_of(error)}")


def _late_files(folder: Path) -> list[Path]:
    """What a run that has ended should have left and did not, as on a full disk, and does now."""
    header = first_record(folder) or {}
    is_sweep = "sweep" in header  # which has no curve of its own
    if is_sweep or (folder / CURVES).exists() or (last_record(folder) or {}).get("kind") != "end":
        return []
    leave_files(folder, has_picture="job" not in header)
    return [path for name in (CURVES, PICTURE) if (path := folder / name).exists()]


def told(results: list[Synced]) -> list[str]:
    """A line for each run folder that had something to ship, and how many had nothing."""
    lines = [f"{result.folder}: {result.error}" for result in results if result.error]
    lines += [f"{result.folder}: shipped as {result.run_id}" for result in results if result.has_shipped]
    lines += [f"{result.folder}: {DELETED}" for result in results if result.was_deleted]
    num_whole = sum(not result.error and not result.was_deleted for result in results)
    return [*lines, f"{num_whole} of {len(results)} runs are in MLflow, whole"]
