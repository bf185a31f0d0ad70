"""`python -m primer.worker RUN_FOLDER/config.yaml`: build what a frozen config names, train it, journal it.

Or the runs of a group as one, each in its own folder: `main_together`.

Writes to its run folder, and what it verified to `outputs/.verified`. The table is read and checked before
torch is imported, so that a bad one is told in a second. Exit codes: 0, 1 (training raised), 2 (the question
was wrong), 74 (the run folder can't be written), 128 + a signal's number.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from primer.config import build
from primer.config.check import check_task
from primer.config.targets import import_from_here
from primer.config.trust import check_objects
from primer.errors import CantFuse, DataError, JournalError, Stopped, UsageError
from primer.ranks import PARENT, SECRETS, rank_of_worker
from primer.redact import CleanStream, keep_secret, redacted_text, restored
from primer.stopping import STOPPING, StopSignal
from primer.tracking.heartbeat import Heartbeat
from primer.tracking.journal import Journal, Unwritten, read, warn_once
from primer.vigil import FOLDER as RANKS
from primer.vigil import Vigil
from primer.yaml_text import from_yaml

if TYPE_CHECKING:
    from primer.data import Dataset

Config = dict[str, Any]


def main(
    config_path: Path,
    secrets: dict[str, Any] | None = None,
    *,
    is_orphaned: Callable[[], bool] = lambda: False,
    is_foreground: bool = False,
) -> int:
    """Train what the config names, its secrets put back, and return the exit code; never raises.

    Stops when its controller is gone, which `is_orphaned` says.
    """
    folder = config_path.parent
    import_from_here()
    keep_secret((secrets or {}).values())
    if not is_foreground:
        _clean_streams()
    is_shared = (folder / RANKS).exists()
    rank = rank_of_worker() if is_shared else 0  # what another job's launcher told is nothing to this run
    journal = Unwritten(folder) if rank else Journal(folder)
    vigil = Vigil(folder, rank, journal) if is_shared else None
    with journal, Heartbeat(journal, is_orphaned, vigil.look if vigil else lambda: None):
        try:
            with StopSignal(is_impatient=is_foreground) as stop:
                config = restored(from_yaml(config_path.read_text()), secrets or {})
                work(config, folder, journal, stop, vigil)
        except BaseException as error:
            return _ended_by(error, journal, vigil)
        if vigil:
            vigil.over()
    return 0


def main_together(
    folders: Sequence[Path],
    secrets: Sequence[dict[str, Any]],
    *,
    is_orphaned: Callable[[], bool] = lambda: False,
) -> int:
    """Train the runs of these folders as one, and return the exit code; never raises.

    A run that has come to its end has a record that says so: `done`, or `error`. Exit code 69: they can't be
    trained as one, nothing of them was begun, and the first one's journal says why; 70: training raised, and
    each alone may meet with something else.
    """
    import_from_here()
    keep_secret(secret for known in secrets for secret in known.values())
    _clean_streams()
    with ExitStack() as closing:
        journals = [closing.enter_context(Journal(folder)) for folder in folders]
        closing.enter_context(Heartbeat(journals[0], is_orphaned))
        try:
            with StopSignal() as stop:
                _work_together(list(zip(folders, journals, secrets, strict=True)), stop)
        except CantFuse as error:
            journals[0].write("alone", reason=str(error))
            return os.EX_UNAVAILABLE
        except Stopped as error:
            return error.exit_code
        except BaseException:
            _log(redacted_text(traceback.format_exc()))
            return os.EX_SOFTWARE
    return 0


def _clean_streams() -> None:
    """What is printed from here on has no secret in it: `worker.log` may be read while the run goes on."""
    if not isinstance(sys.stdout, CleanStream):
        sys.stdout, sys.stderr = CleanStream(sys.stdout), CleanStream(sys.stderr)


def _work_together(places: Sequence[tuple[Path, Journal, dict[str, Any]]], stop: StopSignal) -> None:
    from primer.together import Run, fit_together

    runs: list[Run] = []
    datasets: dict[str, Dataset] = {}
    try:
        for folder, journal, secrets in places:
            config = restored(from_yaml((folder / "config.yaml").read_text()), secrets)
            words = json.dumps(config["data"], sort_keys=True)
            dataset = datasets.get(words) or build(config["data"], "data")
            datasets[words] = dataset
            check_task(config, dataset.task, has_val=dataset.val is not None)
            runs.append(Run(config, dataset, _facts(config, dataset), folder, journal))
        fit_together(runs, stop)
    except UsageError as error:  # each alone says what is wrong with it
        raise CantFuse(str(error)) from None


def _ended_by(error: BaseException, journal: Journal, vigil: Vigil | None = None) -> int:
    if isinstance(error, Stopped):
        if vigil:
            vigil.stopped(error.exit_code)
        return error.exit_code
    if vigil:
        for number in STOPPING:  # torchrun ends all when one has died: who did is told first
            signal.signal(number, signal.SIG_IGN)
    code = vigil.code_of_stop(error) if vigil else 0
    if vigil and code:
        vigil.stopped(code)
        return code
    trace = redacted_text(traceback.format_exc())
    _log(trace)  # before another rank, which is told now, ends this one
    cause = vigil.ended_by(error) if vigil else None
    kind, words = ("RunError", cause) if cause else (type(error).__name__, str(error))
    try:
        journal.write("error", type=kind, message=words, traceback=trace)
    except (JournalError, OSError):
        return os.EX_IOERR
    if isinstance(error, UsageError):
        return error.exit_code
    return 130 if isinstance(error, KeyboardInterrupt) else 1


def _log(text: str) -> None:
    """Write to the log, which may be on the full disk that the text is about."""
    with suppress(OSError):
        sys.stderr.write(text)
        sys.stderr.flush()


def work(
    config: Config, folder: Path, journal: Journal, stop: StopSignal, vigil: Vigil | None = None
) -> None:
    """Read the data, then import torch, then train, test and save."""
    if "trust" in config:  # it is from elsewhere
        check_objects(config, config["trust"])
    dataset: Dataset = build(config["data"], "data")
    check_task(config, dataset.task, has_val=dataset.val is not None)
    _check_same_data(folder, dataset)
    journal.write("data", **_facts(config, dataset))
    warn_once(journal, dataset.notes)
    from primer.fitting import fit

    fit(config, dataset, folder, journal, stop, vigil)


def _check_same_data(folder: Path, dataset: Dataset) -> None:
    """A resumed run goes on with the rows that it began with."""
    before = [record["digest"] for record in read(folder) if record["kind"] == "data"]
    if before and before[-1] != dataset.digest:
        raise DataError(
            f"{dataset.source}: is not what the run began with (digest {before[-1]}, now {dataset.digest}); "
            "expected the same rows, or --fork, which begins a new run"
        )


def _facts(config: Config, dataset: Dataset) -> dict[str, Any]:
    criterion = config["switches"]["criterion"]
    if criterion == "auto":
        criterion = "cross_entropy" if dataset.task == "classification" else "mse"
    splits = {"train": dataset.train, "val": dataset.val, "test": dataset.test}
    return {
        "name": dataset.name,
        "source": dataset.source,
        "digest": dataset.digest,
        "task": dataset.task,
        "criterion": criterion,
        "features": list(dataset.features),
        "target": dataset.target,
        "num_classes": len(dataset.classes),
        "num_rows": {name: len(split) for name, split in splits.items() if split is not None},
    }


def _run() -> int:
    """The worker of a folder, as its controller or rank 0 started it."""
    parent = int(os.environ.pop(PARENT, 0)) or (rank_of_worker() and os.getppid())
    secrets = json.loads(os.environ.get(SECRETS) or "{}")
    folder = Path(sys.argv[1]).parent
    is_shared = (folder / RANKS).exists()
    if not is_shared:  # other ranks are to have them, too
        os.environ.pop(SECRETS, None)
    code = main(Path(sys.argv[1]), secrets, is_orphaned=lambda: parent not in (0, os.getppid()))
    if code and is_shared:  # what lost its connection may not end by itself
        sys.stderr.flush()
        os._exit(code)
    return code


if __name__ == "__main__":
    raise SystemExit(_run())
