"""`primer train -m OVERRIDES`: Hydra's sweeper makes the jobs, this runs them and says what came of them."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

from primer.config import Composer
from primer.errors import ConfigError, RunError, Stopped, UsageError
from primer.finding import sweep_folders
from primer.folder import create_folder, discard, held, is_running
from primer.result import RunResult
from primer.stopping import StopSignal
from primer.summary import relative
from primer.sweep import ledger
from primer.sweep.backend import Backend, Need
from primer.sweep.cluster import ClusterBackend
from primer.sweep.finish import finish
from primer.sweep.fused import together
from primer.sweep.job import is_begun, result_in
from primer.sweep.ledger import Definition
from primer.sweep.local import LocalBackend
from primer.sweep.on_ray import RayCluster
from primer.sweep.on_slurm import SlurmCluster
from primer.sweep.plan import Job, check_same, definition_of, plan
from primer.sweep.result import SweepResult
from primer.sweep.sweep import Sweep, value_of
from primer.sweep.tiles import Tile, tiles_of, told
from primer.sync import tidy_up
from primer.tracking.facts import host
from primer.tracking.journal import first_record

if TYPE_CHECKING:
    from primer.config.multirun import Multirun

BASIC, OPTUNA = "basic", "optuna"  # the sweepers whose jobs are known beforehand, or are asked one by one


class _Over(Exception):
    """No more jobs: a signal came, or one failed under on_failure=stop."""


def sweep(*overrides: str, config_dir: str | Path | None = None) -> SweepResult:
    """Run a sweep, as `primer train -m OVERRIDES` does, and return what it came to.

    Keys with several values (`seed=range(5)`, `optimizer=sgd,adam`) make a job for each combination. Raises
    SweepError with everything that is wrong with any job before the first one starts.

    >>> result = sweep("activation=relu,custom_relu", "seed=range(5)")  # doctest: +SKIP
    >>> result.frame().groupby("activation")["best/val/loss"].mean()  # doctest: +SKIP
    """
    from primer.config.multirun import Multirun  # here, since it takes Hydra's 0.2 s

    asked = Multirun(overrides, config_dir=config_dir)
    with StopSignal() as stop:  # not deferred yet: a plan that is stopped loses nothing
        folder = _create(asked)
        with held(folder):
            try:
                return Launch(asked, folder, stop).run()
            except BaseException as error:
                if first_record(folder) is None:  # no job has begun
                    discard(folder)
                    if isinstance(error, Stopped):
                        print("primer: stopped before the first job; nothing is left of it", file=sys.stderr)
                raise


def dry_run(*overrides: str, config_dir: str | Path | None = None) -> list[str]:
    """The plan of a sweep in lines, as `primer train -m --dry-run OVERRIDES` prints it; nothing is begun.

    >>> dry_run("seed=range(4)", "optimizer=sgd,adam")  # doctest: +SKIP
    ['8 jobs', '4 runs train as one, in 2 processes: optimizer=sgd', ...]
    """
    from primer.config.multirun import Multirun

    asked, lines = Multirun(overrides, config_dir=config_dir), list[str]()
    with tempfile.TemporaryDirectory() as place:
        asked.place(Path(place))
        launch = Launch(asked, Path(place), StopSignal())

        def tell(batch: Sequence[Sequence[str]], first: int) -> list[float]:
            jobs = launch.plan(batch, first)
            tiles = launch.tiles(jobs, Need.of([job.config for job in jobs]))
            lines.extend([f"{len(jobs)} job{'s' * (len(jobs) > 1)}", *told(tiles, asked.keys)])
            raise _Over

        def tell_search(words: Sequence[str]) -> None:
            lines.append("a search proposes its jobs one by one, and each trains alone")

        with suppress(_Over):
            asked.sweep(tell, tell_search, Path(place))
    return lines


def _create(asked: Multirun) -> Path:
    """The sweep's folder: as asked for and new, or below outputs."""
    folder = asked.folder
    if folder is None:
        folder = create_folder(",".join(asked.keys) or "sweep")
    else:
        if folder.exists() and any(folder.iterdir()):
            raise UsageError(
                f"hydra.sweep.dir={folder}: is there already; expected a new folder "
                f"(primer resume {folder} goes on with a sweep that was stopped)"
            )
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"hydra.sweep.dir={folder}: can't be made: {error.strerror}") from None
    try:
        asked.place(folder)
    except OSError as error:
        discard(folder)
        raise RunError(f"{folder}: can't be begun: {error.strerror}") from error
    return folder


class Launch:
    """Batches of jobs, as Hydra's sweeper makes them, or the jobs of a search, until the sweep's end."""

    def __init__(self, asked: Multirun, folder: Path, stop: StopSignal) -> None:
        self._asked, self._folder, self._stop = asked, folder, stop
        self._begun_at = time.monotonic()
        self._backend = _backend(asked.launcher, asked.settings, folder)
        self._closing = ExitStack()
        self._sweep = Sweep(folder, self._backend, asked, stop)
        self._results: dict[int, RunResult] = {}
        self._again: list[Job] = []
        self._ended: dict[int, RunResult] = {}  # what an earlier controller saw the end of

    def run(self) -> SweepResult:
        """Run all that Hydra's sweeper makes, and end the sweep."""
        with self._closing, suppress(_Over):
            self._asked.sweep(self._launch, self._search, self._folder)
        return self._finish()

    def go_on(self, left: list[Job], ended: list[Job], *, is_open: bool) -> SweepResult:
        """Run the jobs that an earlier controller left, and end the sweep.

        With `is_open` there are more to come than its ledger has: of a search, or of a plan that a kill cut
        short. A sweeper of the user's makes its batches again, told what the `ended` jobs of them came to.
        """
        self._sweep.ship(ended)
        is_known = self._asked.sweeper == BASIC and not is_open
        self._again = [job for job in left if ledger.state_of(job)["status"] == "FAILED"]
        if left or not is_known:  # else that controller was killed after the last job, before the sweep's end
            self._open()
        if not is_known:
            self._ended = {job.number: result_in(job, ledger.state_of(job)) for job in ended}
            return self.run()
        with self._closing:
            self._results |= self._run(left)
        return self._finish()

    def _open(self) -> None:
        self._backend.open()
        self._closing.callback(self._backend.close)
        self._stop.defer()  # a cluster's library may have put its own handlers of signals in place

    def _finish(self) -> SweepResult:
        return finish(self._sweep, self._results, time.monotonic() - self._begun_at)

    def _run(self, jobs: list[Job]) -> dict[int, RunResult]:
        need = Need.of([job.config for job in jobs])
        tiles = self.tiles(jobs, need)
        for line in told(tiles, self._asked.keys) if any(len(tile.jobs) > 1 for tile in tiles) else ():
            print(f"plan    {line}", flush=True)
        return self._sweep.run(tiles, len(jobs), len(tiles), need)

    def tiles(self, jobs: list[Job], need: Need) -> list[Tile]:
        """Jobs as they are trained: together where that can be, on this machine."""
        settings = self._asked.settings
        if settings.get("fuse", "off") == "off":
            reason = "hydra.launcher.fuse=off" if "fuse" in settings else "each is a job of the cluster's"
            return [Tile((job,), reason) for job in jobs]
        begun, new = list[Job](), list[Job]()
        for job in jobs:
            (begun if is_begun(job) else new).append(job)
        num_slots = len(self._backend.slots(len(jobs), need))
        tiles = tiles_of(new, num_slots=num_slots, max_fused=settings["max_fused"])
        return [*(Tile(tuple(group), "goes on where it was") for group in together(begun)), *tiles]

    def plan(self, batch: Sequence[Sequence[str]], first: int) -> list[Job]:
        """The jobs of a batch, checked."""
        asked = self._asked
        if not batch:
            raise ConfigError(f"{', '.join(asked.keys)}: there is no value, and so no job")
        return plan(
            batch,
            first=first,
            folder=self._folder,
            subdir=asked.subdir,
            switched=asked.keys,
            composer=Composer(asked.config_dir),
        )

    def _launch(self, batch: Sequence[Sequence[str]], first: int) -> list[float]:
        jobs = self.plan(batch, first)
        num_same = len(jobs) - len({job.identity for job in jobs})
        if num_same:
            print(f"primer: {num_same} of {len(jobs)} jobs ask for what another one does", file=sys.stderr)
        numbers = {job.number for job in jobs}
        known = [job for job in ledger.jobs_in(self._folder) if job.number in numbers]
        check_same(known, [job.config for job in jobs[: len(known)]])
        if first_record(self._folder) is None:
            self._begin(jobs[0].config, definition_of(jobs), len(jobs))
        ledger.add(self._folder, jobs[len(known) :])
        left = [job for job in jobs if job.number not in self._ended]
        results = self._run(left) if left else {}
        self._results |= results
        has_failed = any(result.status != "FINISHED" for result in results.values())
        if self._stop.received or (has_failed and self._asked.settings["on_failure"] == "stop"):
            raise _Over
        return [value_of((self._ended | results)[job.number]) for job in jobs]

    def _search(self, words: Sequence[str]) -> None:
        from primer.sweep.searching import Searching

        with closing(Searching(self._asked, self._folder, words, self._again)) as searching:
            if first_record(self._folder) is None:
                self._begin(searching.config, searching.digest)
            need, num_left = Need.of([searching.config]), searching.num_left
            tiles = (Tile((job,)) for job in searching.jobs())
            self._results |= self._sweep.run(tiles, num_left, num_left, need, searching)

    def _begin(self, config: dict[str, Any], digest: str, num_jobs: int | None = None) -> None:
        asked = self._asked
        self._open()  # only now: where the question was wrong, nothing was started
        for other in sweep_folders():
            _tell_unfinished(other, digest)
        directory = None if asked.config_dir is None else str(Path(asked.config_dir).absolute())
        name = asked.name or ",".join(asked.keys) or config["name"]
        definition = Definition(asked.overrides, directory, asked.keys, num_jobs)
        ledger.create(self._folder, name, definition, config, digest)
        is_tracking = config["switches"]["tracking"] != "off"
        Thread(target=tidy_up, kwargs={"is_tracking": is_tracking}, daemon=True).start()


def _backend(launcher: str, settings: dict[str, Any], folder: Path) -> Backend:
    if launcher == "local":
        return LocalBackend(settings)
    cluster = RayCluster(settings) if launcher == "ray" else SlurmCluster(settings, folder)
    return ClusterBackend(cluster, settings)


def _tell_unfinished(folder: Path, digest: str) -> None:
    found = ledger.definition_in(folder)
    if found is None or found[1] != digest or is_running(folder, host()):
        return
    statuses = [ledger.state_of(job)["status"] for job in ledger.jobs_in(folder)]
    if set(statuses) - {"FINISHED", "FAILED"}:
        print(
            f"primer: a sweep of the same jobs is unfinished ({ledger.told(statuses)}); this is a new one, "
            f"and primer resume {relative(folder)} goes on with the other",
            file=sys.stderr,
        )
