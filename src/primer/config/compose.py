"""From overrides to a frozen config: plain data, checked, that a worker reads back and a run is known by."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from primer.config.check import check_fit, check_keys
from primer.config.identity import run_name
from primer.config.options import options
from primer.config.schema import GROUPS
from primer.errors import ConfigError, SweepError

if TYPE_CHECKING:
    from omegaconf import DictConfig


def compose(overrides: Sequence[str] = (), *, config_dir: str | Path | None = None) -> dict[str, Any]:
    """The whole config that `overrides` ask for, checked and frozen to plain data.

    Beside the keys of `conf/train.yaml` it holds `switches`: which option each group stands at, and `typed`:
    what was asked for, in words.
    Raises ConfigError, one or two lines, when anything about it is wrong.

    >>> config = compose(["activation=custom_relu", "optimizer.lr=0.1"])
    >>> config["switches"]["activation"], config["optimizer"]["lr"], config["name"]
    ('custom_relu', 0.1, 'custom_relu lr=0.1 s0')
    """
    return Composer(config_dir).compose(overrides)


class Composer:
    """Composes the configs of one sweep; Hydra does so once for each distinct choice of options.

    >>> composer = Composer()
    >>> [config["seed"] for config in composer.compose_all([["seed=0"], ["seed=1"]])]
    [0, 1]
    >>> composer.compose_all([["seed=0"], ["seed=x"], ["seed=1", "net=none"]])
    Traceback (most recent call last):
    primer.errors.SweepError: job 1: seed=x: expected a whole number, at least 0 and below 2**63
    job 2: net=none: no such option (options: manual, sequential, tensors, two_layer)
    """

    def __init__(self, config_dir: str | Path | None = None) -> None:
        self._config_dir = config_dir
        self._trees: dict[tuple[tuple[str, str], ...], bytes] = {}  # what Hydra made of the chosen options

    def compose(self, overrides: Sequence[str]) -> dict[str, Any]:
        """One config, as `compose` says."""
        # Here, since a worker, which reads a frozen config, need not pay Hydra's 0.2 s.
        from primer.config.composition import frozen, schemas_of
        from primer.config.overrides import read_overrides, set_key

        chosen, settings = read_overrides(overrides, self._config_dir)
        tree, switches = self._tree(chosen)
        for setting in settings:
            set_key(tree, setting, switches)
        directory = None if self._config_dir is None else str(Path(self._config_dir).absolute())
        asked = {"overrides": list(overrides), "config_dir": directory}
        config = {"switches": switches, **frozen(tree, settings), "typed": asked}
        typed = {setting.key_or_group for setting in settings}
        if "max_steps" in typed and "max_epochs" not in typed and config["max_steps"] is not None:
            config["max_epochs"] = None  # who asks for steps does not mean the default number of epochs, too
        check_keys(config, schemas_of(tree))
        check_fit(config)
        config["name"] = config["name"] or run_name(overrides, config)
        return config

    def compose_all(self, jobs: Iterable[Sequence[str]]) -> list[dict[str, Any]]:
        """The config of each job; raises SweepError with a line for each thing wrong, and its jobs."""
        configs, wrong = [], dict[str, list[int]]()
        for number, overrides in enumerate(jobs):
            try:
                configs.append(self.compose(overrides))
            except ConfigError as error:
                wrong.setdefault(str(error), []).append(number)
        if wrong:
            raise SweepError("\n".join(f"{_jobs(numbers)}: {text}" for text, numbers in wrong.items()))
        return configs

    def _tree(self, chosen: dict[str, str]) -> tuple[DictConfig, dict[str, str]]:
        from primer.config.composition import compose_tree

        key = tuple(sorted(chosen.items()))
        if key not in self._trees:
            self._trees[key] = pickle.dumps(compose_tree(chosen, self._config_dir))
        # copy.deepcopy: 6 times as long
        tree: tuple[DictConfig, dict[str, str]] = pickle.loads(self._trees[key])
        return tree


def _jobs(numbers: list[int]) -> str:
    shown = ", ".join(map(str, numbers[:3])) + (f" and {len(numbers) - 3} more" if len(numbers) > 3 else "")
    return f"job{'s' if len(numbers) > 1 else ''} {shown}"


def keys_and_options(
    overrides: Sequence[str], incomplete: str, *, config_dir: str | Path | None = None
) -> list[str]:
    """What an override that begins with `incomplete` can go on to be, after the overrides already typed.

    >>> keys_and_options([], "net=t"), keys_and_options(["optimizer=sgd"], "optimizer.n")
    (['net=tensors', 'net=two_layer'], ['optimizer.nesterov='])
    """
    group, has_value, _ = incomplete.partition("=")
    try:
        if has_value:
            available = options(group, config_dir=config_dir) if group in GROUPS else []
            found = [f"{group}={option}" for option in available]
        else:
            from primer.config.composition import compose_tree
            from primer.config.overrides import keys_of, read_overrides

            tree, _ = compose_tree(read_overrides(overrides, config_dir)[0], config_dir)
            found = [f"{key}=" for key in (*GROUPS, *keys_of(tree))]
    except ConfigError:
        found = []  # what is typed so far is wrong: TAB stays silent, Enter will tell
    return [text for text in found if text.startswith(incomplete)]
