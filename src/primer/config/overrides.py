"""Read overrides one by one, so that an error names the one that is wrong, as it was typed.

Hydra's parser takes them apart. An override of a conf group chooses files, which Hydra composes; an override
of a key is set here in what came out: `KEY=VALUE`, and for parts without a schema `+KEY=VALUE` and `~KEY`.
"""

from __future__ import annotations

import dataclasses
import functools
import re
import shlex
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from primer.config import schema
from primer.config.options import option_file, options, values_of
from primer.config.wording import did_you_mean, expected, shown
from primer.errors import ConfigError

SHORT = {name: f"accelerator.{name}" for name in ("devices", "num_nodes", "precision")}  # switches, too


def read_overrides(
    texts: Sequence[str], config_dir: str | Path | None = None
) -> tuple[dict[str, str], list[Override]]:
    """Which option is chosen for which group, and the overrides of keys; the last of two wins."""
    chosen, settings = {}, []
    for text in texts:
        override = _parse(spelled_out(text))
        if override.key_or_group in schema.GROUPS:
            chosen[override.key_or_group] = _option(override, config_dir)
        else:
            settings.append(override)
    return chosen, settings


def spelled_out(text: str) -> str:
    """An override whose key may be short for another; raises ConfigError for what is no text.

    >>> spelled_out("devices=2"), spelled_out("seed=2")
    ('accelerator.devices=2', 'seed=2')
    """
    if not isinstance(text, str):
        raise ConfigError(f"{shown(text)}: expected text, such as 'seed=1', and one argument for each")
    key, equals, value = text.partition("=")
    return f"{SHORT.get(key, key)}{equals}{value}"


@functools.cache  # the jobs of a sweep share most of them
def _parse(text: str) -> Override:
    override = None
    with suppress(HydraException, RecursionError):
        override = OverridesParser.create().parse_override(text)
    if override is None or not override.key_or_group:
        raise ConfigError(_unreadable(text))
    if override.is_sweep_override():
        key = override.key_or_group
        raise ConfigError(
            f"{shown(text)}: several values, but this is one run; expected one, or primer train -m for a "
            f"run of each (a list is {key}=[...], a comma in text is {key}='\"a,b\"')"
        )
    if re.match(r"hydra\b", override.key_or_group):
        raise ConfigError(f"{shown(text)}: a setting of Hydra's own, which a single run does not read")
    return override


def _unreadable(text: str) -> str:
    key, equals, value = text.partition("=")
    if key in schema.GROUPS and (hint := did_you_mean(value, options(key), f"{key}=")):
        return f"{shown(text)}: no such option{hint}"
    if equals and not key.isascii():
        return f"{shown(key)}: no such key{did_you_mean(key, schema.GROUPS)}"
    if re.search(r"\s[\w./]+=", value):
        return f"{shown(text)}: is several overrides in one; expected each by itself"
    if equals and re.fullmatch(r"[+~]*[\w./]+", key):
        return f"{shown(text)}: the value can't be read; expected it in quotes: '{key}=\"{shown(value)}\"'"
    for group in schema.GROUPS:
        if text in options(group):
            return f"{text}: expected KEY=VALUE; did you mean {group}={text}?"
    return f"{shown(text)}: expected KEY=VALUE, such as optimizer.lr=0.1"


def _option(override: Override, config_dir: str | Path | None) -> str:
    group, text = override.key_or_group, shown(override.input_line)
    available = options(group, config_dir=config_dir)
    listed = ", ".join(available)
    if override.type is not OverrideType.CHANGE or override.package:
        raise ConfigError(f"{text}: expected {group}=OPTION ({listed})")
    if isinstance(option := override.value(), dict):
        raise ConfigError(f"{text}: expected an option ({listed}), or a key, {group}.KEY=VALUE")
    if option not in available:
        hint = _place_of(group, str(option)) or did_you_mean(str(option), available, f"{group}=")
        raise ConfigError(f"{text}: no such option{hint} (options: {listed})")
    return str(option)


def _place_of(group: str, option: str) -> str:
    """The folder of this directory that has such an option, as a hint."""
    if not re.fullmatch(r"[\w-]{1,99}", option, re.ASCII):  # as a file can be called
        return ""
    found = sorted(path.parent.parent.name for path in Path.cwd().glob(f"*/{group}/{option}.yaml"))
    return f"; did you mean it with --config-dir {shlex.quote(shown(found[0]))}?" if found else ""


def set_key(tree: DictConfig, override: Override, switches: dict[str, str]) -> None:
    """Do to the composed tree what an override of a key says."""
    key, text = override.key_or_group, shown(override.input_line)
    group, _, name = key.rpartition(".")
    parent = OmegaConf.select(tree, group) if group else tree
    fields = schema.fields_of(OmegaConf.get_type(parent))
    is_there = isinstance(parent, DictConfig) and name in list(parent)  # `name in parent` is false for ???
    is_new = isinstance(parent, DictConfig) and not fields and (override.is_add() or override.is_force_add())
    if not is_there and not is_new:
        raise ConfigError(_unknown_key(key, tree, switches))
    if is_there and override.is_add():
        raise ConfigError(f"{text}: the key is there already; expected {text.lstrip('+')}")
    if fields and "help" not in fields[name].metadata:
        raise ConfigError(f"{text}: belongs to {group}={switches[group]}; expected another {group}=OPTION")
    if fields and override.is_delete():
        raise ConfigError(f"{text}: this key can't be left out; expected {key}=VALUE")
    with open_dict(parent):
        if override.is_delete():
            del parent[name]
        else:
            _set_value(parent, name, override, fields.get(name))


def _set_value(
    parent: DictConfig, name: str, override: Override, field: dataclasses.Field[Any] | None
) -> None:
    value = override.value()
    # OmegaConf takes any whole number for a bool; only 0 and 1 can be meant for one.
    is_odd = field is not None and field.type == "bool" and isinstance(value, int) and value not in (0, 1)
    try:
        OmegaConf.update(parent, name, value)
    except (OmegaConfBaseException, OverflowError):  # as of a whole number that no float holds
        is_odd = True
    if is_odd:
        what = expected(field) if field else "another type of value"
        is_whole = isinstance(value, float) and value.is_integer() and "whole" in what
        hint = f"; did you mean {value:.0f}?" if is_whole else ""
        raise ConfigError(f"{shown(override.input_line)}: expected {what}{hint}")


def _unknown_key(key: str, tree: DictConfig, switches: dict[str, str]) -> str:
    group, _, name = key.partition(".")
    if group not in switches:
        hint = did_you_mean(key, [*keys_of(tree), *schema.GROUPS])
        return f"{shown(key)}: no such key{hint or '; primer train --help lists them all'}"
    own = [own_key for own_key in keys_of(tree) if own_key.startswith(f"{group}.")]
    others = [option for option in options(group) if name in values_of(option_file(group, option))]
    hint = f"; {group}={'|'.join(others)} has it" if others else did_you_mean(key, own)
    names = ", ".join(own_key.removeprefix(f"{group}.") for own_key in own)
    return f"{shown(key)}: no such key of {group}={switches[group]}{hint} (keys: {names or 'none'})"


def keys_of(tree: DictConfig, prefix: str = "") -> Iterator[str]:
    """The full keys of the leaves that can be set."""
    fields = schema.fields_of(OmegaConf.get_type(tree))
    for key in tree:
        name = str(key)
        is_text = OmegaConf.is_missing(tree, key) or OmegaConf.is_interpolation(tree, name)
        if not is_text and isinstance(tree[key], DictConfig):
            yield from keys_of(tree[key], f"{prefix}{name}.")
        elif "help" in fields[name].metadata if fields else name != schema.TARGET:
            yield f"{prefix}{name}"
