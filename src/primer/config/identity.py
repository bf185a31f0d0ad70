"""What a frozen config is called: flat keys, hash, group and run name."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import Any

from primer.leaks import is_secret_path

# Where a run is kept, how often, and what it is called do not change what it computes.
VOLATILE = (
    *("name", "tracking", "typed", "trust", "record_samples", "verification"),
    *("checkpoint_every_n_steps", "checkpoint_every_n_minutes"),
)


def flat(config: dict[str, Any]) -> dict[str, Any]:
    """Switches and scalars under short dotted keys: what MLflow keeps as params.

    >>> flat({"switches": {"net": "two_layer"}, "net": {"_target_": "x.Y", "hidden_dim": 9}, "seed": 0})
    {'net': 'two_layer', 'net.hidden_dim': 9, 'seed': 0}
    """
    keys = {name: value for name, value in config.items() if name not in ("switches", *VOLATILE)}
    kept = {key: value for key, value in leaves(keys) if value is not None}
    names = [key for key in kept if key.rpartition(".")[2] != "_target_"]
    return {**config["switches"], **{key: kept[key] for key in names}}


def leaves(node: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The values of a config, each with its dotted key."""
    for name, value in node.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def config_hash(config: dict[str, Any]) -> str:
    """16 hex digits that are equal for two configs that ask for the same computation in the same words."""
    return _digest(_computation(config))[:16]


def settings_of(config: dict[str, Any]) -> str:
    """Equal for runs whose optimizer and scheduler have the same numbers."""
    return json.dumps([config["optimizer"], config["scheduler"]], sort_keys=True)


def group_name(config: dict[str, Any]) -> str:
    """Names everything but the seeds: runs of one group differ by seed alone, and average into one curve.

    Made from the config, not from what was typed, so that two ways to ask for one run give one group. Begins
    with what is compared most, since MLflow's lists cut long names, and ends in a hash of everything.
    """
    seedless = {
        name: {inner: item for inner, item in value.items() if inner != "seed"}
        if isinstance(value, dict)
        else value
        for name, value in _computation(config).items()
        if name != "seed"
    }
    switches, lr = config["switches"], config["optimizer"].get("lr")
    words = [switches["activation"], switches["optimizer"], *([] if lr is None else [f"lr={lr:g}"])]
    return f"{' '.join(words)} {switches['net']} {switches['data']} #{_digest(seedless)[:6]}"


def _computation(config: dict[str, Any]) -> dict[str, Any]:
    switches = {group: option for group, option in config["switches"].items() if group not in VOLATILE}
    return {name: value for name, value in config.items() if name not in VOLATILE} | {"switches": switches}


def _digest(node: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(node, sort_keys=True).encode()).hexdigest()


def run_name(overrides: Sequence[str], config: dict[str, Any]) -> str:
    """What was switched, short, and the seed; of data.path the file's name.

    >>> config = {"switches": {"data": "digits", "activation": "custom_relu"}, "seed": 3}
    >>> run_name(["activation=custom_relu", "optimizer.lr='0.1'", "seed=3"], config), run_name([], config)
    ('custom_relu lr=0.1 s3', 'digits s3')
    """
    switched = {}
    for override in overrides:
        key, _, value = override.lstrip("+").partition("=")
        if key != "seed" and key.partition(".")[0] not in VOLATILE and not is_secret_path(key):
            switched[key] = value.strip("'\"")
    groups = (*config["switches"], "experiment")
    words = [_word(key, switched[key], groups) for key in sorted(switched, key=_rank)]
    return " ".join([*(words or [config["switches"]["data"]]), f"s{config['seed']}"])


def _rank(key: str) -> int:
    """What differs first, since MLflow's lists cut a name after some 22 characters: data and length last."""
    if key.startswith("data"):
        return 2
    is_length = "." not in key and key in ("max_epochs", "max_steps", "batch_size", "log_every_n_steps")
    return 3 if is_length else 1


def _word(key: str, value: str, groups: Sequence[str]) -> str:
    if key in groups:
        return value
    name = key.rpartition(".")[2]
    if key.startswith("~"):
        return f"no {name}"
    return f"{name}={value.rpartition('/')[2] if name == 'path' else _short(value)}"


def _short(value: str) -> str:
    """A number that was drawn has seventeen digits, of which a name needs four."""
    try:
        return f"{float(value):.4g}" if len(value) > 8 and "." in value else value
    except ValueError:
        return value
