"""Hydra's part: from chosen options to a typed tree of keys, or to what is wrong in one of their files."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hydra
import yaml
from hydra.core.config_loader import ConfigLoader
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from primer.config import schema
from primer.config.options import conf_dir, option_file, options, user_dir
from primer.config.overrides import keys_of
from primer.config.sweep_schema import ALL_SCHEMAS
from primer.config.wording import did_you_mean, expected, shown
from primer.errors import ConfigError, first_line


def compose_tree(
    chosen: dict[str, str], config_dir: str | Path | None = None
) -> tuple[DictConfig, dict[str, str]]:
    """The keys of the chosen options and of the defaults, and which option each switch stands at."""
    words = [*(f"{group}={option}" for group, option in chosen.items()), *search_path(config_dir)]
    try:
        with own_hydra():
            tree = hydra.compose("train", overrides=words, return_hydra_config=True)
    except (
        HydraException,
        OmegaConfBaseException,
        yaml.YAMLError,
        ValueError,
        OSError,
        RecursionError,
    ) as error:
        raise ConfigError(_fault_in_file(error, chosen, config_dir)) from None
    choices = tree.hydra.runtime.choices
    switches = {group: str(choices[group]) for group in schema.SWITCHES}
    with open_dict(tree):
        del tree["hydra"]
    return tree, switches


def search_path(config_dir: str | Path | None) -> list[str]:
    """The override that has Hydra look for options of the user's own, too."""
    if config_dir is None:
        return []
    path = re.sub(r"(['\\])", r"\\\1", f"file://{user_dir(config_dir)}")
    return [f"hydra.searchpath=['{path}']"]


@contextmanager
def own_hydra() -> Iterator[ConfigLoader]:
    """Hydra's config loader; a program that calls us and uses Hydra itself keeps its own."""
    _register_schemas()
    outer = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3", job_name="primer"):
            own = GlobalHydra.instance().hydra
            assert own
            yield own.config_loader
    finally:
        GlobalHydra.instance().hydra = outer


def _register_schemas() -> None:
    """Make the schemas known to Hydra, as `schema/train` and `schema/GROUP/NAME`."""
    store = ConfigStore.instance()
    store.store(group="schema", name="train", node=schema.Train, package="_global_")
    for group, kinds in ALL_SCHEMAS.items():
        for name, kind in kinds.items():
            store.store(group=f"schema/{group}", name=name, node=kind)


def schemas_of(tree: DictConfig) -> dict[str, type]:
    """The dataclass that types each group's part, where there is one; a user's own part may have none."""
    kinds = {group: OmegaConf.get_type(tree, group) for group in schema.SWITCHES}
    return {group: kind for group, kind in kinds.items() if kind and dataclasses.is_dataclass(kind)}


def frozen(tree: DictConfig, settings: Sequence[Override]) -> dict[str, Any]:
    """Plain data, every `${...}` replaced by what it refers to; raises ConfigError for a missing key."""
    try:
        plain = OmegaConf.to_container(tree, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise ConfigError(_fault_in_key(tree, settings) or first_line(error)) from None
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def _fault_in_key(tree: DictConfig, settings: Sequence[Override]) -> str | None:
    """The first key that is missing, or refers to nothing; what was typed is to blame first."""
    typed = {setting.key_or_group: setting.input_line for setting in settings}
    for key in sorted(keys_of(tree), key=lambda key: key not in typed):
        try:
            OmegaConf.select(tree, key, throw_on_missing=True)
        except MissingMandatoryValue:
            group, _, name = key.rpartition(".")
            fields = schema.fields_of(schemas_of(tree).get(group))
            help = f" ({fields[name].metadata['help']})" if name in fields else ""
            return f"{key}: missing; expected {key}=VALUE{help}"
        except OmegaConfBaseException as error:
            return f"{shown(typed.get(key, key))}: {first_line(error)}"
    return None


def _fault_in_file(error: Exception, chosen: dict[str, str], config_dir: str | Path | None) -> str:
    """Which file and what is wrong in it: the options asked for exist, so it is one of theirs."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark:
        mark = error.problem_mark
        return f"{mark.name}, line {mark.line + 1}: {error.problem}"
    text = f"{error}\n{error.__cause__ or ''}".strip()
    named = re.search(r"[Ii]n '(\w+)/([^']+)'", text)
    if named and named[2] in options(named[1], config_dir=config_dir):
        place = str(option_file(named[1], named[2], config_dir))
    elif "experiment" in chosen:
        place = str(option_file("experiment", chosen["experiment"], config_dir))
    else:
        place = " ".join(f"{group}={option}" for group, option in chosen.items())
    return f"{place}: {_problem(text, config_dir)}"


def _problem(text: str, config_dir: str | Path | None) -> str:
    absent = re.search(r"Could not find '(\w+)/([^']+)'", text)
    if absent:
        hint = did_you_mean(absent[2], options(absent[1], config_dir=config_dir))
        return f"{absent[1]}={absent[2]}: no such option{hint}"
    if re.search(r"Merge error: \w+ is not a subclass|Could not override|Multiple values for", text):
        return "expected a switch to be chosen in its defaults list, as `- override /optimizer: sgd`"
    if "maximum recursion depth" in text:
        return "its file refers to itself, or is nested too deeply"
    if "Invalid loaded object type" in text:
        return "its file holds a single value; expected keys, as `_target_: ...`"
    if "Key 'experiment' not in 'Train'" in text:
        return "expected its first line to be `# @package _global_`"
    key = re.search(r"full_key: (\S+)\s+object_type=(\w+)", text)
    known = schema.fields_of(getattr(schema, key[2], None)) if key else {}
    if key is None or not known:
        first = next(line for line in text.splitlines() if "raised while composing" not in line)
        return re.sub(r"^In '[^']+': ", "", first)
    group, dot, name = key[1].rpartition(".")
    if name not in known:
        return f"{key[1]}: no such key{did_you_mean(name, known, group + dot)}"
    return f"{key[1]}: expected {expected(known[name])}"
