"""What can be chosen: a folder per conf group, a file per option, in primer's own folder and the user's."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from primer.config import schema
from primer.config.sweep_schema import ALL_SCHEMAS
from primer.errors import ConfigError


def conf_dir() -> Path:
    """The folder of the conf groups: inside an installed package, beside `src` in a checkout."""
    package = Path(__file__).parents[1]
    installed = package / "conf"
    return installed if installed.is_dir() else package.parents[1] / "conf"


def user_dir(config_dir: str | Path) -> Path:
    """The user's own folder of conf groups, absolute.

    Raises ConfigError when it isn't one, or hides an option of primer's own.
    """
    folder = Path(config_dir).expanduser()
    if not folder.is_dir():
        raise ConfigError(f"--config-dir {config_dir}: no such folder; expected one with conf groups in it")
    files = [path for group in schema.GROUPS for path in (folder / group).rglob("*.yaml")]
    if not files:
        raise ConfigError(
            f"--config-dir {config_dir}: holds no option; expected {folder / 'net' / 'my_net.yaml'} or such"
        )
    for file in files:
        if (conf_dir() / file.relative_to(folder)).exists():
            raise ConfigError(f"{file}: primer has an option of that name; expected another file name")
    return folder.resolve()


def options(group: str, *, config_dir: str | Path | None = None) -> list[str]:
    """The options of a conf group, nested ones as `primer/manual`.

    >>> options("net")
    ['manual', 'sequential', 'tensors', 'two_layer']
    """
    return sorted(
        file.relative_to(folder / group).with_suffix("").as_posix()
        for folder in _folders(config_dir)
        for file in (folder / group).rglob("*.yaml")
    )


def option_file(group: str, option: str, config_dir: str | Path | None = None) -> Path:
    """The file that an option stands in."""
    files = [folder / group / f"{option}.yaml" for folder in _folders(config_dir)]
    return next(file for file in files if file.exists())


def _folders(config_dir: str | Path | None) -> list[Path]:
    return [conf_dir()] if config_dir is None else [conf_dir(), user_dir(config_dir)]


def values_of(file: Path) -> dict[str, Any]:
    """The keys of an option's file and their values as they are written there, `_target_` left out.

    >>> values_of(option_file("optimizer", "adam"))["eps"]
    '1.0e-8'
    """
    node = yaml.load(file.read_text(), Loader=yaml.BaseLoader) or {}  # the base loader: text, no objects
    return {name: value for name, value in node.items() if name not in ("defaults", schema.TARGET)}


def meaning(file: Path) -> str:
    """The first line of comment in an option's file."""
    lines = (line for line in file.read_text().splitlines() if not line.startswith("# @package"))
    first = next(lines, "")
    return first.removeprefix("#").strip() if first.startswith("#") else ""


def schema_of(file: Path) -> type | None:
    """The dataclass that types an option: the first entry of its defaults list, when it is a schema.

    >>> schema_of(option_file("optimizer", "adamw")).__name__
    'Adam'
    """
    found = re.search(r"^ *- /schema/(\w+)/(\w+)@_here_", file.read_text(), re.MULTILINE)
    return ALL_SCHEMAS.get(found[1], {}).get(found[2]) if found else None
