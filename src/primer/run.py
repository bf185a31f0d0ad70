"""The controller of one run: a frozen config, a worker that trains it, a courier that ships its journal.

This process never imports torch. How the run ended is decided here, outside the process that trained.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from pathlib import Path
from threading import Thread
from typing import Any

from primer.attempt import Means, WorkerProcess, environment, start_worker, train_in_worker
from primer.config import compose
from primer.ending import Ending, ending_of
from primer.errors import RunError, UsageError
from primer.folder import create_folder, discard, held, write_header
from primer.joining import check_devices, lead, leading
from primer.leaving import leave_files, write_end
from primer.progress import Progress
from primer.ranks import is_shared
from primer.redact import keep_secret, redacted_text, secrets_of
from primer.result import RunResult
from primer.stopping import Stopping, StopSignal
from primer.sync import tidy_up
from primer.tracking import curves
from primer.tracking.courier import Courier
from primer.tracking.journal import Record, last_attempt, read
from primer.tracking.shipment import Shipment, id_of
from primer.tracking.uri import uri_of
from primer.vigil import prepare_vigil


def train(*overrides: str, config_dir: str | Path | None = None, debug: bool = False) -> RunResult:
    """Train one run, as `primer train OVERRIDES` does, and return what it came to.

    With `debug` the run trains in this process, for breakpoints. A run that fails returns a result that
    says so, and so does one that Ctrl-C or a signal stopped: a loop over runs looks at `status`. Raises
    ConfigError or DataError for a wrong question, RunError for a folder that can't be written;
    none is left.

    >>> result = train("data=iris", "max_epochs=5")  # doctest: +SKIP
    >>> result.status, result.metrics["test/accuracy"]  # doctest: +SKIP
    ('FINISHED', 0.7391304347826086)
    """
    with leading(lambda _: secrets_of(compose(overrides, config_dir=config_dir))):
        return run(compose(overrides, config_dir=config_dir), debug=debug)


def run(
    config: dict[str, Any],
    *,
    debug: bool = False,
    tags: dict[str, str] | None = None,
    prepare: Callable[[Path], None] | None = None,
    root: Path | None = None,
    is_quiet: bool = False,
) -> RunResult:
    """Run a frozen config in a folder of its own, below `root` or else `outputs`, and see it to its end.

    `tags` are set beside the run's own; `prepare` is called with the new folder before anything starts;
    one that `is_quiet` is a part of another command: it shows nothing, and no other process joins it.
    """
    is_tracking = config["switches"]["tracking"] != "off"
    # beside the run: the next command to meet a dead run says how it ended
    Thread(target=tidy_up, kwargs={"is_tracking": is_tracking}, daemon=True).start()
    with StopSignal(is_impatient=debug) as stop:
        stop.defer()
        folder = create_folder(config["name"], root)
        with held(folder) as lock:
            try:
                write_header(folder, config, tags)
                if prepare:
                    prepare(folder)
            except (OSError, RunError) as error:
                discard(folder)
                raise RunError(f"{folder}: can't be begun: {error}") from error
            try:
                return attempt_alone(folder, config, stop, lock, debug=debug, is_quiet=is_quiet)
            except UsageError:
                discard(folder)
                raise


def attempt_alone(
    folder: Path,
    config: dict[str, Any],
    stop: Stopping,
    lock: int,
    *,
    debug: bool = False,
    is_quiet: bool = False,
) -> RunResult:
    """`attempt` of a run that shares nothing with others, in a worker or, with `debug`, right here."""
    check_devices(config, debug=debug, is_alone=not is_quiet)
    courier = Courier(uri_of(config)) if config["switches"]["tracking"] != "off" else None
    means = _Alone(config, courier, stop, is_quiet=is_quiet)
    is_hurried = False
    try:
        result = attempt(folder, config, means, lambda: means.train(folder, lock, debug=debug))
        is_hurried = result.status == "KILLED"
    except UsageError:
        if courier:
            courier.abandon()
        raise
    finally:
        is_shipped = courier is None or courier.finish(stop, is_hurried=is_hurried)
    return dataclasses.replace(result, run_id=id_of(folder), is_shipped=is_shipped)


class _Alone(Means):
    """A worker, a courier and a progress bar of its own."""

    def __init__(
        self, config: dict[str, Any], courier: Courier | None, stop: Stopping, *, is_quiet: bool
    ) -> None:
        self.courier, self.stop = courier, stop
        self._config, self._is_quiet = config, is_quiet
        self._progress = Progress()

    def train(self, folder: Path, lock: int, *, debug: bool) -> int:
        """Train the run of a folder; returns the exit code."""
        if self.courier:
            self.courier.start()
        Thread(target=curves.warm_up).start()  # its imports, beside the worker's
        if debug:
            from primer import worker

            return worker.main(folder / "config.yaml", secrets_of(self._config), is_foreground=True)
        prepare_vigil(folder, is_shared=is_shared(self._config))
        with nullcontext() if self._is_quiet else self._progress:
            return train_in_worker(folder, secrets_of(self._config), lock, self)

    def start_worker(self, folder: Path, secrets: dict[str, Any], lock: int) -> WorkerProcess:
        place = {} if self._is_quiet else lead(self._config, folder)
        return start_worker(folder, secrets, lock, environment() | place)

    def show(self, records: Iterable[Record]) -> None:
        if not self._is_quiet:
            self._progress.show(records)


def attempt(folder: Path, config: dict[str, Any], means: Means, train: Callable[[], int]) -> RunResult:
    """Have the run of a folder trained, and write down how it ended; `train` returns an exit code.

    Raises UsageError when the question turned out to be wrong, before training began.
    """
    started_at = time.monotonic()
    courier, failure = means.courier, None
    shipment = courier.add(folder) if courier else None
    keep_secret(secrets_of(config).values())
    try:
        ending = ending_of(train(), last_attempt(read(folder)), folder)
        if courier and courier.is_out_of_room and ending.status == "KILLED" and not means.stop.received:
            ending = Ending("FAILED", 1, f"no room left: {courier.trouble_with}")
    except UsageError:
        if shipment:
            shipment.has_arrived = True
        raise
    except BaseException as error:  # a run has its end, whatever happens in here
        text = redacted_text(f"{type(error).__name__}: {error}")
        failure, ending = error, Ending("FAILED", 1, text)
    if ending.status == "KILLED":
        ending = means.judged(ending)
    result = conclude(folder, config, ending, time.monotonic() - started_at, shipment)
    if failure:
        raise failure
    return result


def conclude(
    folder: Path,
    config: dict[str, Any],
    ending: Ending,
    duration_s: float,
    shipment: Shipment | None,
    *,
    has_picture: bool = True,
) -> RunResult:
    """Leave what a run leaves in its folder, write down how it ended, and have that shipped."""
    leave_files(folder, has_picture=has_picture)
    end = write_end(folder, ending, duration_s)
    if shipment:
        shipment.finish(end)
    return result_of(folder, config, ending, duration_s)


def result_of(folder: Path, config: dict[str, Any], ending: Ending, duration_s: float) -> RunResult:
    """What the run of a folder came to."""
    return RunResult(
        name=config["name"],
        status=ending.status,
        error=ending.error,
        exit_code=ending.exit_code,
        run_id=id_of(folder),
        folder=folder,
        duration_s=duration_s,
        is_pruned=ending.is_pruned,
        metrics=curves.last_values(read(folder)),
        config=config,
    )
