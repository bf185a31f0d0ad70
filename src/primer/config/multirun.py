"""Hydra's side of a sweep: its config, its sweeper, and its conventions in the folders of the jobs."""

from __future__ import annotations

import pickle
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra._internal.callbacks import Callbacks
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import HydraException
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from primer.config import schema
from primer.config.check import check_values
from primer.config.compose import compose
from primer.config.composition import own_hydra, search_path
from primer.config.overrides import spelled_out
from primer.config.sweep_schema import LAUNCHERS, SWEEPERS
from primer.config.wording import did_you_mean, shown
from primer.errors import ConfigError
from primer.files import SWEEP_FILE
from primer.leaks import is_secret_path
from primer.redact import keep_secret, redacted, secrets_of
from primer.yaml_text import to_yaml

NUMBER = "${hydra.job.num}"  # Hydra's own subdir
Batch = Sequence[Sequence[str]]
Launch = Callable[[Batch, int], list[float]]  # overrides of jobs and the first one's number: their values


class Multirun:
    """What `primer train -m OVERRIDES` asks of Hydra.

    `launcher` is the chosen one's name and `settings` are its keys; `keys` are what is swept.
    Raises ConfigError when the overrides make no sweep.
    """

    def __init__(self, overrides: Sequence[str], *, config_dir: str | Path | None = None) -> None:
        self.overrides, self.config_dir = [spelled_out(text) for text in overrides], config_dir
        parsed = [_parsed(text) for text in self.overrides]
        self.keys = _swept(parsed)
        words = [*self.overrides, *search_path(config_dir)]
        with own_hydra() as loader:
            try:
                self._config = loader.load_configuration("train", words, RunMode.MULTIRUN)
            except (HydraException, OmegaConfBaseException) as error:
                raise ConfigError(_fault(error, parsed, config_dir)) from None
        self.launcher, self.settings = self._part("launcher", LAUNCHERS)
        if self.launcher not in LAUNCHERS:
            names = ", ".join(LAUNCHERS)
            raise ConfigError(f"hydra/launcher={self.launcher}: does not run primer's jobs; expected {names}")
        self.sweeper, self.sweeper_settings = self._part("sweeper", SWEEPERS)
        self.keys += self.sweeper_settings.get("params") or []
        for key in self.keys:
            if is_secret_path(key):
                raise ConfigError(f"{key}: is a secret; expected one value for all jobs")
        if self._config.hydra.job.chdir:
            raise ConfigError("hydra.job.chdir=true: jobs run where the sweep was begun; expected false")
        name = self._config.name  # without those that are swept
        self.name = None if name is None else str(name)
        self.environment = {str(key): str(value) for key, value in self._config.hydra.job.env_set.items()}
        for name, node in (self._config.hydra.callbacks or {}).items():
            if "_target_" not in (node or {}):
                raise ConfigError(f"hydra.callbacks.{name}: expected _target_, the class of the callback")
        with _in_our_words():
            self._callbacks: Any = Callbacks(self._config)
        if self.sweeper == "basic":
            _check_no_interval(parsed)
        self._lock = threading.Lock()

    def _part(self, name: str, schemas: dict[str, type]) -> tuple[str, dict[str, Any]]:
        """The chosen launcher or sweeper, and its keys."""
        chosen = str(self._config.hydra.runtime.choices[f"hydra/{name}"])
        settings = _plain(self._config.hydra[name], resolve=True)
        if chosen in schemas:
            check_values(settings, schemas[chosen], f"hydra.{name}.")
            settings = {key: value for key, value in settings.items() if not key.startswith("_")}
        return chosen, settings

    def place(self, folder: Path) -> None:
        """Let Hydra know the sweep's folder."""
        with read_write(self._config), open_dict(self._config):
            self._config.hydra.sweep.dir = str(folder)

    @property
    def folder(self) -> Path | None:
        """The sweep's folder, where one was asked for."""
        if not any(re.match(r"\+*hydra\.sweep\.dir=", text) for text in self.overrides):
            return None
        with _in_our_words("hydra.sweep.dir"):
            asked = str(self._config.hydra.sweep.dir or "")
        if not asked:
            raise ConfigError("hydra.sweep.dir: expected a folder")
        return Path(asked).absolute()

    def sweep(self, launch: Launch, search: Callable[[Sequence[str]], None], folder: Path) -> None:
        """Let Hydra's sweeper make batches of jobs, which `launch` runs, until it has no more.

        Ours has `search` run them, one by one.
        """
        clean = _without_secrets(self._config)
        (folder / SWEEP_FILE).write_text(to_yaml(_plain(clean)))
        with own_hydra() as loader:
            self._callbacks.on_multirun_start(config=self._config, config_name="train")
            context = HydraContext(config_loader=loader, callbacks=self._callbacks)
            sweeper = Plugins.instance().instantiate_sweeper(
                config=clean,  # Hydra's own writes it down
                hydra_context=context,
                task_function=Task(launch, search),  # type: ignore[arg-type]
            )
            if hasattr(sweeper, "max_batch_size"):
                sweeper.max_batch_size = None  # the launcher has slots, and a plan of all jobs
            # primer's launcher checks every config of a batch itself, ten times as fast
            sweeper.validate_batch_is_legal = lambda batch: None  # type: ignore[method-assign]
            words = [text for text in self.overrides if not text.lstrip("+~").startswith("hydra")]
            with _in_our_words():
                sweeper.sweep(arguments=words)
            self._callbacks.on_multirun_end(config=self._config, config_name="train")

    def subdir(self, number: int, config: dict[str, Any]) -> str:
        """The name of a job's folder below the sweep's."""
        if _plain(self._config.hydra.sweep)["subdir"] == NUMBER:
            return str(number)
        with _in_our_words("hydra.sweep.subdir"):
            return str(OmegaConf.select(self._job(number, config), "hydra.sweep.subdir"))

    def _job(self, number: int, config: dict[str, Any]) -> DictConfig:
        job: DictConfig = pickle.loads(pickle.dumps(self._config))
        words = config["typed"]["overrides"]
        with read_write(job), open_dict(job):
            OmegaConf.set_struct(job, False)
            for key, value in config.items():
                if key not in ("switches", "typed"):
                    job[key] = value
            job.hydra.job.num, job.hydra.job.id = number, str(number)
            job.hydra.overrides.task = words
            job.hydra.job.override_dirname = ",".join(sorted(words))
        return job

    def begin_job(self, number: int, config: dict[str, Any], folder: Path) -> DictConfig:
        """Write Hydra's own files into a job's folder, and tell the callbacks."""
        job = self._job(number, config)
        with read_write(job), open_dict(job):
            job.hydra.runtime.output_dir = str(folder)
        if job.hydra.output_subdir is not None:
            place = folder / str(job.hydra.output_subdir)
            place.mkdir(exist_ok=True)
            whole = redacted(_plain(job))
            hydra = {"hydra": whole.pop("hydra")}
            (place / "config.yaml").write_text(to_yaml(whole))
            (place / "hydra.yaml").write_text(to_yaml(hydra))
            (place / "overrides.yaml").write_text(to_yaml(hydra["hydra"]["overrides"]["task"]))
        with self._told(job):
            self._callbacks.on_job_start(config=job, task_function=None)
        return job

    def end_job(self, job: DictConfig, value: float | None, error: Exception | None) -> None:
        """Tell the callbacks what a job came to."""
        words = list(job.hydra.overrides.task)
        returned = JobReturn(words, cfg=job, hydra_cfg=job, working_dir=str(Path.cwd()), task_name="primer")
        returned.status = JobStatus.FAILED if error else JobStatus.COMPLETED
        returned.return_value = error or value
        with self._told(job):
            self._callbacks.on_job_end(config=job, job_return=returned)

    @contextmanager
    def _told(self, job: DictConfig) -> Iterator[None]:
        with self._lock:
            before = HydraConfig.instance().cfg
            HydraConfig.instance().cfg = job  # type: ignore[assignment]
            try:
                yield
            finally:
                HydraConfig.instance().cfg = before


@contextmanager
def _in_our_words(key: str | None = None) -> Iterator[None]:
    """What Hydra can't do is a ConfigError: where, and the first line of why."""
    try:
        yield
    except (HydraException, OmegaConfBaseException) as error:
        reason = " ".join(str(error.__cause__ or error).split())[:300]
        raise ConfigError(f"{key}: {reason}" if key else reason) from None


class Task:
    """What primer's launcher and sweeper are given by Hydra: how to run a batch, and how to search."""

    def __init__(self, launch: Launch, search: Callable[[Sequence[str]], None]) -> None:
        self._launch = launch
        self.search = search

    def launch(self, batch: Batch, first: int) -> list[JobReturn]:
        """Run a batch; a job that failed has the value NaN, so that a search goes on."""
        values = self._launch(batch, first)
        return [
            JobReturn(list(words), status=JobStatus.COMPLETED, _return_value=value)
            for words, value in zip(batch, values, strict=True)
        ]


def _parsed(text: str) -> Override:
    try:
        return OverridesParser.create().parse_override(text)
    except (HydraException, RecursionError):
        compose([text])  # which says what is wrong with it
        raise ConfigError(f"{shown(text)}: can't be read") from None


def _swept(parsed: Sequence[Override]) -> list[str]:
    """The keys that several values are given for."""
    keys = [override.key_or_group for override in parsed if override.is_sweep_override()]
    counts = Counter(override.key_or_group for override in parsed)
    for key in keys:
        if counts[key] > 1:
            raise ConfigError(f"{key}: is given twice; expected all of its values at once")
    return keys


def _check_no_interval(parsed: Sequence[Override]) -> None:
    """Raise ConfigError for an interval that a sweeper without a search is to go over."""
    for override in parsed:
        if isinstance(override.value(), IntervalSweep):
            raise ConfigError(
                f"{override.input_line}: has no list of values to go over; expected choice(...) or "
                "range(...), or hydra/sweeper=optuna, which searches it"
            )


def _without_secrets(config: DictConfig) -> DictConfig:
    """A copy, with its interpolations, in which secrets are redacted: for the files that Hydra writes."""
    copy: DictConfig = pickle.loads(pickle.dumps(config))

    def put(node: Any, before: dict[str, Any], clean: dict[str, Any]) -> None:
        for key, value in before.items():
            if isinstance(value, dict):
                put(node[key], value, clean[key])
            elif value != clean[key]:
                node[key] = clean[key]

    whole = _plain(copy)
    keep_secret(value for value in secrets_of(whole).values() if "${" not in str(value))
    with read_write(copy):
        put(copy, whole, redacted(whole))
    return copy


def _plain(node: DictConfig, *, resolve: bool = False) -> dict[str, Any]:
    """Its keys and values; interpolations stay as they are unless `resolve`."""
    values = OmegaConf.to_container(node, resolve=resolve, enum_to_str=True)
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}


def _fault(error: Exception, parsed: Sequence[Override], config_dir: str | Path | None) -> str:
    """What is wrong: with an override of a run, said as for a single one; else with one of Hydra's own."""
    single = [str(override.input_line) for override in parsed if not override.is_sweep_override()]
    compose([text for text in single if not text.lstrip("+~").startswith("hydra")], config_dir=config_dir)
    text = f"{error}\n{error.__cause__ or ''}".strip()
    absent = re.search(r"Could not find '(hydra/\w+)/([^']+)'", text)
    if absent:
        names = list(LAUNCHERS) if absent[1].endswith("launcher") else ["basic", *SWEEPERS]
        return (
            f"{absent[1]}={absent[2]}: no such option{did_you_mean(absent[2], names)}; "
            f"expected {', '.join(names)}"
        )
    key = re.search(r"hydra\.(launcher|sweeper)\.(\w+)", text)
    kinds = {"launcher": LAUNCHERS, "sweeper": SWEEPERS}.get(key[1], {}) if key else {}
    names = [name for kind in kinds.values() for name in schema.fields_of(kind) if not name.startswith("_")]
    if key and key[2] not in names:
        return f"hydra.{key[1]}.{key[2]}: no such key{did_you_mean(key[2], names, f'hydra.{key[1]}.')}"
    return " ".join(text.split("\n")[:2])
