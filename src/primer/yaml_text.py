"""YAML by libyaml, where PyYAML has it: a sweep writes and reads hundreds of files, 20 ms each without it."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import yaml

_BaseDumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Dumper(_BaseDumper):  # type: ignore[misc]
    pass


def _text(dumper: Any, value: str) -> Any:
    """Texts such as 1e3 are numbers to Hydra, but not to PyYAML: they are quoted."""
    style = None
    with suppress(ValueError):
        float(value)
        style = "'"
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)


def to_yaml(value: Any) -> str:
    """Plain values as YAML, keys in their order.

    >>> print(to_yaml({"lr": 0.001, "name": "1e3", "tags": ["relu"]}), end="")
    lr: 0.001
    name: '1e3'
    tags:
    - relu
    """
    return str(yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True))


def from_yaml(text: str) -> Any:
    """The plain values of a YAML text; raises yaml.YAMLError where it is none.

    >>> from_yaml(to_yaml({"lr": 1e-05, "name": "1e3", "none": None}))
    {'lr': 1e-05, 'name': '1e3', 'none': None}
    """
    return yaml.load(text, Loader=_Loader)
