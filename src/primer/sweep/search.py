"""A search: proposes the jobs of a sweep one by one, and learns from what became of them."""

from __future__ import annotations

import math
import os
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from filelock import FileLock, Timeout

from primer.config.space import Choice, Range
from primer.config.targets import accepts, build
from primer.config.wording import shown
from primer.errors import ConfigError, JournalError, RunError

if TYPE_CHECKING:
    import optuna

Direction = Literal["minimize", "maximize"]
NAME = "sweep"
SPACE, EXHAUSTED = "primer.space", "primer.exhausted"  # what the study remembers besides its trials
FAILED = "primer.failed"  # and a trial
SAMPLER = {"_target_": "optuna.samplers.TPESampler"}
PRUNER = {"_target_": "optuna.pruners.MedianPruner"}
SAMPLER_NAME, PRUNER_NAME = "hydra.sweeper.sampler", "hydra.sweeper.pruner"
NUM_SEEDS = 2**32  # what NumPy's RandomState takes


class Search:
    """A study that proposes jobs and hears what became of them; kept in a file, so that it goes on.

    The file is `study.journal` in `folder`, which other tools of Optuna can read. Whatever dies at whatever
    moment, a search of the same folder goes on: `unfinished` gives the jobs to run again, `ask` new ones.
    Any number of threads may ask and tell; a second process is refused until `close`.

    Raises ConfigError when the sampler or pruner can't be built, or the study in the folder searches
    something else; RunError when its file is damaged or in use.

    >>> space = {"optimizer.lr": Range(1e-4, 1.0, is_log=True), "activation": Choice(("relu", "gelu"))}
    >>> search = Search(getfixture("tmp_path"), space, num_trials=1, direction="minimize", seed=0)
    >>> number, overrides = search.ask()
    >>> [override.partition("=")[0] for override in overrides]
    ['optimizer.lr', 'activation']
    >>> search.tell(number, 0.25)
    >>> search.num_told, search.ask()
    (1, None)
    >>> search.close()
    """

    def __init__(
        self,
        folder: Path,
        space: Mapping[str, Range | Choice],
        *,
        num_trials: int,
        direction: Direction,
        seed: int,
        sampler: Mapping[str, Any] = SAMPLER,
        pruner: Mapping[str, Any] = PRUNER,
    ) -> None:
        from optuna.pruners import BasePruner

        self._path = folder.absolute() / "study.journal"
        self._space = dict(space)
        self._num_trials = num_trials
        if direction not in ("minimize", "maximize"):
            raise ConfigError(f"direction={shown(direction)}: expected minimize or maximize")
        built_sampler, built_pruner = _sampler(sampler, seed), _build(pruner, PRUNER_NAME, BasePruner)
        self._turn_lock = threading.Lock()
        with self._turn():
            self._process_lock = _alone(self._path.with_name("study.lock"))
            try:
                self._storage, self._study = _open(self._path, direction)
                self._check_same(direction)
                # The random points of an earlier process are not drawn again.
                num_before = len(self._trials())
                self._study.sampler = _sampler(sampler, seed, num_before) if num_before else built_sampler
                self._study.pruner = built_pruner
                self._inherited = self._take_over()
            except BaseException:
                self.close()
                raise

    def close(self) -> None:
        """Let another process go on with the study."""
        self._process_lock.release()

    def ask(self) -> tuple[int, list[str]] | None:
        """The number of a new trial and its overrides; None when all were asked for, now or earlier."""
        with self._turn():
            if len(self._trials()) >= self._num_trials or EXHAUSTED in self._study.user_attrs:
                return None
            try:
                trial = self._study.ask()
                self._suggest(trial)
            except (ValueError, ImportError) as error:  # a grid without one of the keys, a missing package
                raise ConfigError(f"{SAMPLER_NAME}: {shown(error)}") from error
            return trial.number, self._overrides(trial.number)

    def tell(self, number: int, value: float | None, *, is_pruned: bool = False) -> None:
        """What became of a trial; None or a value that isn't finite: it failed. The first word counts.

        Samplers forget trials in Optuna's state FAIL, and would ask again and again for what diverges or
        needs too much memory; so a failed one is PRUNED in the study, which is worse than any value.
        """
        from optuna.trial import TrialState

        has_failed = not is_pruned and (value is None or not math.isfinite(value))
        state, values = TrialState.COMPLETE, value
        if is_pruned or has_failed:
            state, values = TrialState.PRUNED, None
        with self._turn():
            trial = self._trials()[number]
            if has_failed and not trial.state.is_finished():
                self._storage.set_trial_user_attr(trial._trial_id, FAILED, True)
            try:
                self._study.tell(number, values, state, skip_if_finished=True)
            except RuntimeError as error:
                if "Study.stop" not in str(error):
                    raise
                # A sampler that visits each point once says so in a way made for Study.optimize.
                self._study.set_user_attr(EXHAUSTED, True)

    def is_hopeless(self, number: int, step: int, value: float) -> bool:
        """Whether the pruner, hearing a value on the way, would end the trial.

        A value that isn't finite is kept from it: whether such a run goes on is the run's own affair.
        """
        with self._turn():
            trial = self._trials()[number]
            if trial.state.is_finished():
                return False
            if math.isfinite(value) and step not in trial.intermediate_values:  # a resumed run says it again
                self._storage.set_trial_intermediate_value(trial._trial_id, step, float(value))
            return bool(self._study.pruner.prune(self._study, self._trials()[number]))

    def unfinished(self) -> list[tuple[int, list[str]]]:
        """Trials that an earlier process asked for and nobody told the end of: to be run again."""
        with self._turn():
            trials = self._trials()
            running = [number for number in self._inherited if not trials[number].state.is_finished()]
            return [(number, self._overrides(number)) for number in running]

    @property
    def num_told(self) -> int:
        """How many trials have ended, in whatever way."""
        with self._turn():
            return sum(trial.state.is_finished() for trial in self._trials())

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """One thread at a time; a line that a full disk cut short is taken back."""
        with self._turn_lock:
            try:
                yield
            except OSError as error:
                with suppress(OSError):
                    _cut(self._path)
                raise JournalError(f"{self._path}: can't be written: {error.strerror}") from error

    def _trials(self) -> list[optuna.trial.FrozenTrial]:
        return self._study.get_trials(deepcopy=False)

    def _suggest(self, trial: optuna.trial.Trial) -> None:
        """Give a trial a value for each key that it has none for."""
        for key, search in self._space.items():
            if isinstance(search, Choice):
                trial.suggest_categorical(key, search.values)
            elif search.is_int:
                low, high, step = int(search.low), int(search.high), int(search.step or 1)
                trial.suggest_int(key, low, high, step=step, log=search.is_log)
            else:
                trial.suggest_float(key, search.low, search.high, step=search.step, log=search.is_log)

    def _overrides(self, number: int) -> list[str]:
        """As the journal has them, so that they are the same whenever they are asked for."""
        params = self._trials()[number].params
        return [f"{key}={_text(params[key], search)}" for key, search in self._space.items()]

    def _check_same(self, direction: Direction) -> None:
        """The study in the folder is the one asked for; a new one learns what it searches."""
        found = self._study.direction.name.lower()
        if found != direction:
            raise ConfigError(
                f"direction={direction}: expected {found}, as in {self._path}; or start a new sweep"
            )
        wanted = {key: str(search) for key, search in self._space.items()}
        stored = self._study.user_attrs.get(SPACE)
        if stored is None:
            self._study.set_user_attr(SPACE, wanted)
            return
        differing = [
            f"{key} (found {shown(wanted.get(key, 'nothing'))}, expected {shown(stored.get(key, 'nothing'))})"
            for key in {**stored, **wanted}
            if stored.get(key) != wanted.get(key)
        ]
        if differing:
            raise ConfigError(f"{', '.join(differing)}: not what {self._path} searches; or start a new sweep")

    def _take_over(self) -> list[int]:
        """The trials that an earlier process left; one it died asking for gets all its values."""
        from optuna.trial import Trial

        running = [trial for trial in self._trials() if not trial.state.is_finished()]
        for trial in running:
            if not self._space.keys() <= trial.params.keys():
                self._suggest(Trial(self._study, trial._trial_id))
        return [trial.number for trial in running]


def _text(value: Any, search: Range | Choice) -> str:
    if isinstance(search, Choice):
        return str(value)
    return str(int(value)) if search.is_int else repr(float(value))  # repr: the same float when read


def _sampler(node: Mapping[str, Any], seed: int, num_before: int = 0) -> optuna.samplers.BaseSampler:
    from optuna.samplers import BaseSampler

    own = node.get("seed", seed)
    if own is not None and not isinstance(own, int):
        raise ConfigError(f"{SAMPLER_NAME}.seed={shown(own)}: expected a whole number, or null")
    if own is not None and "_target_" in node and accepts(dict(node), SAMPLER_NAME, "seed"):
        node = {**node, "seed": (own + num_before) % NUM_SEEDS}
    built: BaseSampler = _build(node, SAMPLER_NAME, BaseSampler)
    return built


def _build(node: Mapping[str, Any], name: str, kind: type[Any]) -> Any:
    from optuna.exceptions import ExperimentalWarning

    if "_target_" not in node:
        raise ConfigError(f"{name}: found no _target_; expected one of optuna's {kind.__name__}")
    place = f"{name}._target_={node['_target_']}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # whoever names it has read its page
        try:
            built = build(dict(node), name)
        except ConfigError:
            raise
        except (ValueError, TypeError, ImportError) as error:
            raise ConfigError(f"{place}: {shown(error)}") from None
    if not isinstance(built, kind):
        raise ConfigError(f"{place}: expected a {kind.__name__} of optuna, found {type(built).__name__}")
    return built


def _alone(path: Path) -> FileLock:
    """A lock on the study that ends with the process, however that ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, thread_local=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise RunError(
            f"{path.parent}: another process is working on this sweep; expected it to end"
        ) from None
    return lock


def _open(path: Path, direction: Direction) -> tuple[optuna.storages.JournalStorage, optuna.Study]:
    """The study in the file, whatever state a killed process left it in."""
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    _cut(path)
    path.with_name(f"{path.name}.lock").unlink(missing_ok=True)  # optuna's; of the dead, as we are alone
    try:
        storage = JournalStorage(JournalFileBackend(str(path)))
    except (ValueError, KeyError) as error:
        raise RunError(f"{path}: damaged ({shown(error)}); expected a journal of Optuna's") from error
    study = optuna.create_study(storage=storage, study_name=NAME, direction=direction, load_if_exists=True)
    return storage, study


def _cut(path: Path) -> None:
    """Take back a last line that was not written whole: the next one would be written behind it."""
    content = path.read_bytes() if path.exists() else b""
    size = content.rfind(b"\n") + 1
    if size < len(content):
        os.truncate(path, size)
