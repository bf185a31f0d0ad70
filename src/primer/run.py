"""The controller of one run: a frozen config, a worker that trains it, a courier that ships its journal.

This process never imports torch. How the run ended is decided here, outside the process that trained.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import Any

from primer.attempt import Means, train_in_worker
from primer.config import compose
from primer.ending import Ending, ending_of
from primer.errors import RunError, UsageError
from primer.folder import create_folder, discard, held, write_header
from primer.joining import check_devices, lead, leading
from primer.leaving import leave_files, write_end
from primer.ranks import is_shared
from primer.redact import keep_secret, redacted_text, secrets_of
from primer.result import RunResult
from primer.stopping import Stopping, StopSignal
from primer.sync import tidy_up
from primer.tracking import curves
from primer.tracking.courier import Courier
from primer.tracking.journal import last_attempt, read
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
    means: Means | None = None,
) -> RunResult:
    """Run a frozen config in a folder of its own, below `root` or else `outputs`, and see it to its end.

    `tags` are set beside the run's own; `prepare` is called with the new folder before anything starts;
    `means` stand in for the run's own worker, courier and progress.
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
                return attempt(folder, config, stop, lock, debug=debug, means=means)
            except UsageError:
                discard(folder)
                raise


def attempt(
    folder: Path,
    config: dict[str, Any],
    stop: Stopping,
    lock: int,
    *,
    debug: bool = False,
    means: Means | None = None,
) -> RunResult:
    """Train the run of a folder, from its newest checkpoint if it has one, and write down how it ended.

    Raises UsageError when the question turned out to be wrong, before training began.
    """
    check_devices(config, debug=debug, is_alone=means is None)
    started_at = time.monotonic()
    is_tracked = config["switches"]["tracking"] != "off"
    own = Courier(uri_of(config)) if is_tracked and means is None else None
    courier = means.courier if means else own
    shipment = courier.add(folder) if courier else None
    failure: BaseException | None = None
    keep_secret(secrets_of(config).values())
    try:
        if own:
            own.start()
        ending = _train(folder, config, stop, lock, courier, means, debug=debug)
    except UsageError:
        if shipment:
            shipment.has_arrived = True
        if own:
            own.abandon()
        raise
    except BaseException as error:  # a run has its end, whatever happens in here
        text = redacted_text(f"{type(error).__name__}: {error}")
        failure, ending = error, Ending("FAILED", 1, text)
    if means and ending.status == "KILLED":
        ending = means.judged(ending)
    result = conclude(folder, config, ending, time.monotonic() - started_at, shipment)
    is_shipped = own is None or own.finish(stop, is_hurried=ending.status == "KILLED")
    if failure:
        raise failure
    return dataclasses.replace(result, run_id=id_of(folder), is_shipped=is_shipped)


def _train(
    folder: Path,
    config: dict[str, Any],
    stop: Stopping,
    lock: int,
    courier: Courier | None,
    means: Means | None,
    *,
    debug: bool,
) -> Ending:
    """Train in a worker, or right here, and tell how that ended."""
    secrets = secrets_of(config)
    if means is None:
        Thread(target=curves.warm_up).start()  # its imports, beside the worker's
    if debug:
        exit_code = _train_here(folder, secrets)
    else:
        prepare_vigil(folder, is_shared=is_shared(config))
        place = lead(config, folder) if means is None else {}
        exit_code = train_in_worker(folder, secrets, lock, stop, courier, means, place)
    ending = ending_of(exit_code, last_attempt(read(folder)), folder)
    if courier and courier.is_out_of_room and ending.status == "KILLED" and not stop.received:
        return Ending("FAILED", 1, f"no room left: {courier.trouble_with}")
    return ending


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


def _train_here(folder: Path, secrets: dict[str, Any]) -> int:
    from primer import worker

    return worker.main(folder / "config.yaml", secrets, is_foreground=True)
