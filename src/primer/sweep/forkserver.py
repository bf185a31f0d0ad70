"""Workers forked from a process that has torch, Lightning and MLflow imported: 30 ms each, not 5 s.

What the first job of a process would leave behind (environment, random state, CUDA, threads) is gone with
it: each job is a process of its own.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import forkserver, reduction, resource_tracker
from pathlib import Path
from types import ModuleType
from typing import Any

from primer.stopping import held_back

PRELOADED = [
    *("primer.fitting", "primer.together", "primer.worker", "primer.tracking.model", "primer.data.bundled"),
    # what saving a model imports, a second each time; one that moved is left to the worker
    *("sklearn.datasets", "sklearn.preprocessing", "torch.export._trace"),
]
_CONTEXT = multiprocessing.get_context("forkserver")
# multiprocessing reads the exit codes of all its children in whichever thread starts one
_LOCK = threading.Lock()


def warm_up() -> None:
    """Start the process that workers are forked from; its imports go on beside the caller."""
    _CONTEXT.set_forkserver_preload(PRELOADED)
    before = os.environ.get("PYTHONSAFEPATH")
    os.environ["PYTHONSAFEPATH"] = "1"  # no file of the user's hides a library
    try:
        resource_tracker.ensure_running()  # which would let signals through again
        with held_back():  # a Ctrl-C is sent to it, too; workers inherit this, until they have handlers
            forkserver.ensure_running()
    finally:
        del os.environ["PYTHONSAFEPATH"]
        if before is not None:
            os.environ["PYTHONSAFEPATH"] = before


class ForkedWorker:
    """A worker process; to who started it like a subprocess.Popen."""

    def __init__(
        self,
        folders: Sequence[Path],
        secrets: Sequence[dict[str, Any]],
        locks: Sequence[int],
        *,
        environment: dict[str, str],
        num_threads: int,
    ) -> None:
        """Train the runs of these folders, as one if there are several."""
        with _LOCK, _no_main():
            self._process = _CONTEXT.Process(
                target=_train,
                args=(folders, secrets, [_Passed(lock) for lock in locks], environment, num_threads),
                daemon=False,
            )
            self._process.start()

    def poll(self) -> int | None:
        """The exit code, if it has ended; negative: a signal."""
        with _LOCK:
            return self._process.exitcode

    def wait(self) -> int:
        """The exit code, once it has ended."""
        multiprocessing.connection.wait([self._process.sentinel])
        code = self.poll()
        assert code is not None
        return code

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)

    def send_signal(self, sig: int, /) -> None:
        """Send it a signal, unless it has ended."""
        with _LOCK:
            if self._process.exitcode is None and self._process.pid:
                os.kill(self._process.pid, sig)


class _Passed:
    """A descriptor that the worker inherits under a number of its own."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __reduce__(self) -> tuple[object, ...]:
        return _received, (reduction.DupFd(self._descriptor),)


def _received(duplicate: object) -> int:
    return int(duplicate.detach())  # type: ignore[attr-defined]


@contextmanager
def _no_main() -> Iterator[None]:
    """A user's script is not run again in each worker, as multiprocessing would."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _train(
    folders: Sequence[Path],
    secrets: Sequence[dict[str, Any]],
    locks: Sequence[int],
    environment: dict[str, str],
    num_threads: int,
) -> None:
    """The worker: a process group, a log and an environment of its own; `locks` stay open until it ends."""
    # not a session: Linux shares CPUs out by session (autogroup), whatever the courier's priority
    os.setpgid(0, 0)
    log = os.open(folders[0] / "worker.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(log, stream)
    os.close(log)
    os.environ.clear()
    os.environ.update(environment)
    import torch

    from primer import worker

    torch.set_num_threads(num_threads)  # what a run takes that does not say
    controller = multiprocessing.parent_process()
    assert controller  # who asked, though it was the fork server that forked; which lives as long as we do

    def is_orphaned() -> bool:
        return not controller.is_alive()

    if is_orphaned():
        sys.exit(os.EX_TEMPFAIL)  # killed since it asked
    if len(folders) > 1:
        sys.exit(worker.main_together(folders, secrets, is_orphaned=is_orphaned))
    sys.exit(worker.main(folders[0] / "config.yaml", secrets[0], is_orphaned=is_orphaned))
