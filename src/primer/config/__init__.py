"""From a command line to a frozen config: compose, check, freeze, and build what it names."""

from primer.config.compose import compose, compose_all, keys_and_options
from primer.config.identity import config_hash, flat, group_name, run_name
from primer.config.options import options
from primer.config.targets import build

__all__ = [
    "build",
    "compose",
    "compose_all",
    "config_hash",
    "flat",
    "group_name",
    "keys_and_options",
    "options",
    "run_name",
]
