"""From overrides to a frozen config: plain data, checked, that a worker reads back and a run is known by."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from primer.config.check import check_fit, check_keys
from primer.config.identity import run_name
from primer.config.options import options
from primer.config.schema import GROUPS
from primer.errors import ConfigError


def compose(overrides: Sequence[str] = (), *, config_dir: str | Path | None = None) -> dict[str, Any]:
    """The whole config that `overrides` ask for, checked and frozen to plain data.

    Beside the keys of `conf/train.yaml` it holds `switches`: which option each group stands at, and `typed`:
    what was asked for, in words.
    Raises ConfigError, one or two lines, when anything about it is wrong.

    >>> config = compose(["activation=custom_relu", "optimizer.lr=0.1"])
    >>> config["switches"]["activation"], config["optimizer"]["lr"], config["name"]
    ('custom_relu', 0.1, 'custom_relu lr=0.1 s0')
    """
    # Here, since a worker, which reads a frozen config, need not pay Hydra's 0.2 s.
    from primer.config.composition import compose_tree, frozen, schemas_of
    from primer.config.overrides import read_overrides, set_key

    chosen, settings = read_overrides(overrides, config_dir)
    tree, switches = compose_tree(chosen, config_dir)
    for setting in settings:
        set_key(tree, setting, switches)
    directory = None if config_dir is None else str(Path(config_dir).absolute())
    asked = {"overrides": list(overrides), "config_dir": directory}
    config = {"switches": switches, **frozen(tree, settings), "typed": asked}
    typed = {setting.key_or_group for setting in settings}
    if "max_steps" in typed and "max_epochs" not in typed and config["max_steps"] is not None:
        config["max_epochs"] = None  # who asks for steps does not mean the default number of epochs, too
    check_keys(config, schemas_of(tree))
    check_fit(config)
    config["name"] = config["name"] or run_name(overrides, config)
    return config


def keys_and_options(
    overrides: Sequence[str], incomplete: str, *, config_dir: str | Path | None = None
) -> list[str]:
    """What an override that begins with `incomplete` can go on to be, after the overrides already typed.

    >>> keys_and_options([], "net=t"), keys_and_options(["optimizer=sgd"], "optimizer.n")
    (['net=tensors', 'net=two_layer'], ['optimizer.nesterov='])
    """
    group, has_value, _ = incomplete.partition("=")
    try:
        if not has_value:
            found = [f"{key}=" for key in [*GROUPS, *_keys_after(overrides, config_dir)]]
        else:
            available = options(group, config_dir=config_dir) if group in GROUPS else []
            found = [f"{group}={option}" for option in available]
    except ConfigError:
        found = []  # what is typed so far is wrong: TAB stays silent, Enter will tell
    return [text for text in found if text.startswith(incomplete)]


def _keys_after(overrides: Sequence[str], config_dir: str | Path | None) -> list[str]:
    from primer.config.composition import compose_tree
    from primer.config.overrides import keys_of, read_overrides

    chosen, _ = read_overrides(overrides, config_dir)
    return list(keys_of(compose_tree(chosen, config_dir)[0]))
