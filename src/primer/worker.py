"""`python -m primer.worker RUN_FOLDER/config.yaml`: build what a frozen config names, train it, journal it.

Writes to its run folder only. The table is read and checked before torch is imported, so that a bad one is
told in a second. Exit codes: 0, 1 (training raised), 2 (the question was wrong), 130 (interrupted).
"""

from __future__ import annotations

import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from primer.config import build
from primer.config.check import check_task
from primer.errors import UsageError
from primer.tracking.journal import Journal

if TYPE_CHECKING:
    from primer.data import Dataset

Config = dict[str, Any]


def main(config_path: Path) -> int:
    """Train what the config names and return the exit code; never raises."""
    folder = config_path.parent
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))  # the user's own parts; last, so that none hides a library
    with Journal(folder) as journal:
        try:
            work(yaml.safe_load(config_path.read_text()), folder, journal)
        except BaseException as error:
            return _ended_by(error, journal)
    return 0


def _ended_by(error: BaseException, journal: Journal) -> int:
    trace = traceback.format_exc()
    sys.stderr.write(trace)
    journal.write("error", type=type(error).__name__, message=str(error), traceback=trace)
    if isinstance(error, UsageError):
        return error.exit_code
    if isinstance(error, SystemExit) and error.code in (130, 143):  # a signal that the command line caught
        return int(error.code)
    causes = (error, error.__context__)  # Lightning turns Ctrl-C into an exit
    return 130 if any(isinstance(cause, KeyboardInterrupt) for cause in causes) else 1


def work(config: Config, folder: Path, journal: Journal) -> None:
    """Read the data, then import torch, then train, test and save."""
    dataset: Dataset = build(config["data"], "data")
    check_task(config, dataset.task)
    journal.write("data", **_facts(config, dataset))
    from primer.fitting import fit

    fit(config, dataset, folder, journal)


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


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1])))
