"""Which run is meant: by its folder, its id in MLflow, or `last`; and how the runs of this folder stand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from primer.config.wording import shown
from primer.errors import UsageError
from primer.files import ROOT
from primer.folder import is_running, is_sweep
from primer.tracking.facts import host
from primer.tracking.journal import NAME, Record, first_record, last_record
from primer.tracking.shipment import id_of
from primer.tracking.tags import FOLDER, HOST
from primer.tracking.trouble import asking


def run_folders(root: Path | None = None) -> list[Path]:
    """All run folders below the working directory's `outputs`, oldest first, a sweep before its jobs."""
    folders = [folder for folder in top_folders(root) if (folder / NAME).stat().st_size]  # it was begun
    return [folder for top in folders for folder in (top, *jobs_of(top))]


def top_folders(root: Path | None = None) -> list[Path]:
    """The folders of single runs and of sweeps below `outputs`, oldest first."""
    root = Path.cwd() / ROOT if root is None else root
    return sorted(path.parent for path in root.glob(f"*/*/{NAME}") if _is_plain(path))


def sweep_folders() -> list[Path]:
    """The sweeps below the working directory's `outputs`, oldest first."""
    return [folder for folder in top_folders() if is_sweep(folder)]


def jobs_of(folder: Path) -> list[Path]:
    """The folders of a sweep's jobs that were begun; none of a single run."""
    found = folder.rglob(f"*/{NAME}") if is_sweep(folder) else ()
    return sorted(path.parent for path in found if _is_plain(path))


def _is_plain(path: Path) -> bool:
    """No link, and no pipe, which would hold up who reads it."""
    return (path.is_file() or path.is_dir()) and not path.is_symlink()


def find_folder(run: str) -> Path:
    """The folder of a run; raises UsageError where there is none.

    An id is looked for in the run folders of this directory.
    """
    if run == "last":
        folders = top_folders()
        for folder in reversed(folders):
            if first_record(folder) is not None:
                return folder
            if is_running(folder, host()):
                raise UsageError(f"last: {folder} is still being planned")
        raise UsageError(f"last: there is no run below {Path.cwd() / ROOT}")
    if is_folder(run):
        return Path(run).absolute()
    if is_there(run):
        raise UsageError(f"{shown(run)}: is no run folder; it holds no {NAME}")
    for folder in run_folders():
        if id_of(folder) == run:
            return folder
    raise UsageError(
        f"{shown(run)}: its folder is {_place_in_store(run)}, not below {ROOT} here; expected the path of a "
        "run folder (primer reproduce takes the id alone)"
    )


def _place_in_store(run: str) -> str:
    """Where the store says that a run's folder is: told only, since others write to the store, too."""
    from primer.tracking.store import Store
    from primer.tracking.uri import tracking_uri

    uri = tracking_uri(None)
    with asking(uri):
        tags = Store(uri).tags(run)
    if tags is None:
        raise UsageError(f"{shown(run)}: no run folder, and no run of that id in {ROOT} or in the store")
    return shown(f"{tags.get(HOST, 'another machine')}:{tags.get(FOLDER, '?')}")


def is_folder(run: str) -> bool:
    """Whether it is the path of a run folder."""
    return is_there(str(Path(run) / NAME))


def is_there(path: str) -> bool:
    """Whether there is a file or folder of that path, which may be no path at all."""
    try:
        return Path(path).exists()
    except OSError:  # it is too long
        return False


def dead_runs(folders: list[Path]) -> Iterator[Path]:
    """The run folders whose run has no end, and no process that works on it."""
    for folder in folders:
        try:
            last = last_record(folder)
            if last is None or last["kind"] == "end":
                continue
            header = first_record(folder) or {}  # whole, or damaged, which primer doctor tells
            is_dead = not is_running(folder, header.get("tags", {}).get(HOST, ""))
        except OSError:  # removed in this moment, or not ours
            continue
        if is_dead:
            yield folder


def check_original(folder: Path) -> None:
    """Raise UsageError for a copy of a run folder that is still there: both have one run in MLflow."""
    header = header_of(folder)
    original = Path(header["tags"][FOLDER])
    if (
        original != folder
        and is_folder(str(original))
        and (first_record(original) or {}).get("id") == header["id"]
    ):
        raise UsageError(f"{folder}: is a copy of {original}, whose run it would write to; expected that one")


def check_place(folder: Path) -> None:
    """Raise UsageError elsewhere than where the run was begun, while that is there.

    Its parts, its table and its store may be named relative to it.
    """
    begun_in = Path(header_of(folder)["cwd"])
    if begun_in != Path.cwd() and begun_in.is_dir():
        raise UsageError(f"{folder}: was begun in {begun_in}; expected to be resumed there")


def header_of(folder: Path) -> Record:
    """The journal's first record."""
    record = first_record(folder)
    if record is None and not (folder / NAME).stat().st_size:
        raise UsageError(f"{folder}: nothing was begun there; expected the command that made it, once more")
    if record is None or record["kind"] != "run" or "id" not in record:
        raise UsageError(f"{folder}: its journal does not begin with the run it is of")
    return record
