"""From a command line to a frozen config: compose, check, freeze, and build what it names."""

from primer.config.compose import Composer, compose, keys_and_options
from primer.config.identity import config_hash, flat, group_name, run_name
from primer.config.options import options
from primer.config.targets import build

__all__ = [
    "Composer",
    "build",
    "compose",
    "config_hash",
    "flat",
    "group_name",
    "keys_and_options",
    "options",
    "run_name",
]
