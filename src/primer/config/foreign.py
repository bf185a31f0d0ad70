"""A frozen config from elsewhere, such as a tracking store: read as plain data, checked like one's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from primer.config import schema
from primer.config.check import check_fit, check_keys
from primer.config.options import option_file, options, schema_of
from primer.config.trust import check_paths, load_untrusted
from primer.config.wording import expected, shown
from primer.errors import ConfigError

KINDS: dict[str, type | tuple[type, ...]] = {
    "Any": object,
    "None": type(None),
    "bool": bool,
    "int": int,
    "float": (int, float),
    "str": str,
    "list[float]": list,
    "list[str]": list,
}


def read_foreign(text: str, tracking: dict[str, Any], *, trust: Sequence[str] = ()) -> dict[str, Any]:
    """The config, with `tracking` in place of its own; ConfigError where it is not one that can be run here.

    Its `trust` says that it is foreign, and which packages may be built beside the allow-listed ones: the
    worker looks at what each `_target_` really is.
    """
    config = load_untrusted(text)
    check_paths(config, trust)
    _check_switches(config)
    own = {"tracking": tracking, "typed": {"overrides": [], "config_dir": None}, "trust": list(trust)}
    config = config | own | {"switches": config["switches"] | {"tracking": "local"}}
    kinds = _schemas_of(config["switches"])
    _check_types(config, schema.Train, "")
    for group in schema.SWITCHES:
        if not isinstance(config[group], dict):
            raise ConfigError(f"config: {group}: expected keys and values, found {shown(config[group])}")
        _check_types(config[group], kinds.get(group), f"{group}.")
    check_keys(config, kinds)
    check_fit(config)
    return config


def _check_switches(config: dict[str, Any]) -> None:
    switches = config.get("switches")
    is_whole = isinstance(switches, dict) and set(switches) == set(schema.SWITCHES)
    if not is_whole or not all(isinstance(option, str) for option in config["switches"].values()):
        raise ConfigError("config: switches: expected an option for each of " + ", ".join(schema.SWITCHES))


def _schemas_of(switches: dict[str, str]) -> dict[str, type]:
    """The schemas of primer's own options; another one's are not here."""
    chosen = {group: option for group, option in switches.items() if option in options(group)}
    kinds = {group: schema_of(option_file(group, option)) for group, option in chosen.items()}
    return {group: kind for group, kind in kinds.items() if kind}


def _check_types(node: dict[str, Any], kind: Any, prefix: str) -> None:
    for name, field in schema.fields_of(kind).items():
        if name not in node:
            raise ConfigError(f"config: {prefix}{name}: is not there; expected {_expected(field)}")
        kinds = [KINDS[word] for word in str(field.type).split(" | ")]
        value = node[name]
        is_number = isinstance(value, bool) and not any(wanted in (bool, object) for wanted in kinds)
        if is_number or not any(isinstance(value, wanted) for wanted in kinds):
            raise ConfigError(f"config: {prefix}{name}={shown(value)}: expected {_expected(field)}")


def _expected(field: Any) -> str:
    return expected(field) if "help" in field.metadata and field.type != "Any" else "keys and values"
