"""The controller of one run: a frozen config, a worker that trains it, a courier that ships its journal.

This process never imports torch. How the run ended is decided here, outside the process that trained.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from primer.config import compose
from primer.ending import ending_of
from primer.errors import UsageError
from primer.folder import create_folder, discard, write_header
from primer.progress import Progress
from primer.result import RunResult
from primer.tracking import curves
from primer.tracking.courier import Courier
from primer.tracking.journal import Follower, Journal, read

POLL_S = 0.05  # chosen: a progress bar that looks alive
STOP_WITHIN_S = 10  # chosen: a worker that does not end by then is killed


def train(*overrides: str, config_dir: str | Path | None = None, debug: bool = False) -> RunResult:
    """Train one run, as `primer train OVERRIDES` does, and return what it came to.

    With `debug` the run trains in this process, for breakpoints. A run that fails returns a result that
    says so; a wrong question raises ConfigError or DataError, and nothing was created.

    >>> result = train("data=iris", "max_epochs=5")  # doctest: +SKIP
    >>> result.status, result.metrics["test/accuracy"]  # doctest: +SKIP
    ('FINISHED', 0.7391304347826086)
    """
    return run(compose(overrides, config_dir=config_dir), debug=debug)


def run(config: dict[str, Any], *, debug: bool = False) -> RunResult:
    """Run a frozen config in a folder of its own, and see it to its end."""
    started_at = time.monotonic()
    folder = create_folder(config["name"])
    write_header(folder, config)
    is_tracked = config["switches"]["tracking"] != "off"
    courier = Courier(folder, config["tracking"]) if is_tracked else None
    if courier:
        courier.start()
    exit_code = _train_here(folder) if debug else _train_in_worker(folder)
    try:
        ending = ending_of(exit_code, read(folder))
    except UsageError:
        if courier:
            courier.abandon()
        discard(folder)
        raise
    curves.write(folder)
    duration_s = time.monotonic() - started_at
    with Journal(folder) as journal:
        journal.write("end", status=ending.status, error=ending.error, duration_s=duration_s)
    return RunResult(
        name=config["name"],
        status=ending.status,
        error=ending.error,
        exit_code=ending.exit_code,
        run_id=courier.finish(STOP_WITHIN_S if ending.status == "KILLED" else None) if courier else None,
        folder=folder,
        duration_s=duration_s,
        metrics=curves.last_values(read(folder)),
        config=config,
    )


def _train_here(folder: Path) -> int:
    from primer import worker

    return worker.main(folder / "config.yaml")


def _train_in_worker(folder: Path) -> int:
    """Start the worker, show how it comes along, and return its exit code (negative: a signal)."""
    command = [sys.executable, "-P", "-m", "primer.worker", str(folder / "config.yaml")]
    # cuBLAS reads it once, when it starts; without it deterministic algorithms raise on CUDA
    environment = os.environ | {"CUBLAS_WORKSPACE_CONFIG": ":4096:8", "PYTHONUNBUFFERED": "1"}
    with (folder / "worker.log").open("wb") as log, Progress() as progress:
        worker = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
        follower = Follower(folder)
        try:
            while worker.poll() is None:
                progress.show(follower.new())
                time.sleep(POLL_S)
        except KeyboardInterrupt:
            return _stop(worker, signal.SIGINT)
        except SystemExit:  # the command line turns SIGTERM into it
            return _stop(worker, signal.SIGTERM)
        progress.show(follower.new())
    return worker.returncode


def _stop(worker: subprocess.Popen[bytes], why: signal.Signals) -> int:
    # a second Ctrl-C would leave the run without its end
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    worker.send_signal(signal.SIGINT)
    try:
        worker.wait(STOP_WITHIN_S)
    except subprocess.TimeoutExpired:
        worker.kill()
        worker.wait()
    finally:
        signal.signal(signal.SIGINT, before)
    return -why
