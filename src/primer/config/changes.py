"""What overrides would change of a frozen config that has been run already."""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from typing import Any

from primer.config.compose import compose
from primer.config.identity import leaves, run_name
from primer.config.wording import shown
from primer.errors import ConfigError
from primer.leaks import REDACTED, is_secret_override
from primer.redact import restored, secrets_of

Changes = dict[str, tuple[Any, Any]]  # dotted key: old, new; `...` where the key is not there

# What may change on the way without changing what was computed before; a longer run may be asked for.
FREE = (
    *("checkpoint_every_n_steps", "checkpoint_every_n_minutes", "on_nonfinite", "verification"),
    # where it is computed: the same numbers up to rounding
    *("switches.accelerator", "accelerator.accelerator", "accelerator.strategy"),
    *("accelerator.devices", "accelerator.num_nodes", "accelerator.num_threads"),
)
LENGTH = ("max_steps", "max_epochs")


def changes_of(config: dict[str, Any], overrides: Sequence[str]) -> Changes:
    """What the overrides change, added to those that the config was composed from.

    Both are composed now, and only their difference counts: a default that is another by now changes nothing.

    >>> changes_of(compose(["max_steps=100"]), ["max_steps=200"])
    {'max_steps': (100, 200)}
    """
    if not overrides:
        return {}
    secret = [override for override in overrides if is_secret_override(override)]
    return differences(_composed(config, secret), _composed(config, overrides))


def differences(before: dict[str, Any], after: dict[str, Any]) -> Changes:
    """The keys that two configs differ in, secrets and what they are called left out.

    >>> differences({"name": "a", "seed": 0, "net": {"bias": True}}, {"name": "b", "seed": 0, "net": {}})
    {'net.bias': (True, Ellipsis)}
    """
    old, new = dict(leaves(before)), dict(leaves(after))
    return {
        key: (old.get(key, ...), new.get(key, ...))
        for key in dict.fromkeys([*old, *new])
        if old.get(key, ...) != new.get(key, ...)
        and key.partition(".")[0] not in ("name", "typed")
        and REDACTED not in (old.get(key), new.get(key))
    }


def with_secrets(config: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """The config with the secrets that no run folder keeps: given again, or from where they came."""
    lost = [key for key, value in leaves(config) if value == REDACTED]
    if not lost:
        return config
    config = restored(config, secrets_of(_composed(config, overrides)))
    for key, value in leaves(config):
        if value == REDACTED:
            raise ConfigError(f"{key}: is a secret, which no run folder keeps; expected {key}=VALUE")
    return config


def _composed(config: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    typed = config["typed"]
    kept = [override for override in typed["overrides"] if not is_secret_override(override)]
    if any(override.startswith("accelerator=") for override in overrides):  # how many was said of another one
        kept = [text for text in kept if not re.match(r"(accelerator\.)?(devices|num_nodes)=", text)]
    return compose([*kept, *overrides], config_dir=typed["config_dir"])


def with_changes(config: dict[str, Any], changes: Changes, overrides: Sequence[str]) -> dict[str, Any]:
    """A copy of the config that has the new values, and says that they were asked for.

    >>> config = with_changes(compose(["max_steps=9"]), {"max_steps": (9, 12)}, ["max_steps=12"])
    >>> config["max_steps"], config["name"]
    (12, 'max_steps=12 s0')
    """
    config = copy.deepcopy(config)
    for key, (_, new) in changes.items():
        group, _, name = key.rpartition(".")
        node = config[group] if group else config
        if new is ...:
            node.pop(name, None)
        else:
            node[name] = new
    typed = config["typed"]["overrides"]
    is_named = config.get("name") != run_name(typed, config)
    typed += overrides
    return config if is_named else config | {"name": run_name(typed, config)}


def check_changes(changes: Changes) -> None:
    """Raise ConfigError for what would change the past of a run."""
    wrong = {key: values for key, values in changes.items() if key not in (*FREE, *LENGTH)}
    if wrong:
        told = ", ".join(f"{key} {told_value(old)} -> {told_value(new)}" for key, (old, new) in wrong.items())
        raise ConfigError(
            f"{told}: would change what was computed already; expected max_steps or max_epochs, "
            f"or --fork, which begins a new run from the checkpoint"
        )


def told_value(value: Any) -> str:
    """A value of a change in words."""
    return "nothing" if value is ... else shown(value)
