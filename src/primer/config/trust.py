"""A config from a tracking store, and what it may build: who can write to the store can write a config.

It is read as plain data only and checked like one's own, and each `_target_` in it twice: by its text, which
imports nothing, and by what the name turns out to be, since a module also hands on whatever it imports.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator, Sequence
from typing import Any

import yaml

from primer.config import schema
from primer.config.check import check_fit, check_keys
from primer.config.options import option_file, options, schema_of
from primer.config.targets import locate
from primer.config.wording import expected, shown
from primer.errors import ConfigError

MAX_BYTES = 1_000_000  # chosen: a frozen config has some 3 kB
MAX_DEPTH = 20  # chosen: a frozen config has 3 levels
MAX_NUMBER_CHARS = 100  # chosen; YAML's 1:30:00 takes time that grows with its square
PLAIN_TAGS = {f"tag:yaml.org,2002:{name}" for name in ["map", "seq", "str", "int", "float", "bool", "null"]}

# Of primer's packages what `__all__` exports, of its modules what they define.
PACKAGES = ("primer.data", "primer.nets", "primer.activations")
MODULES = ("primer.criteria", "primer.training.criteria", "primer.training.schedulers")
# Of others what is of one of these kinds; their constructors compute, and touch no file, process or network.
KINDS = {
    "torch.nn": ("torch.nn.Module",),
    "torch.optim": ("torch.optim.Optimizer", "torch.optim.lr_scheduler.LRScheduler"),
    **{
        f"torchmetrics.{name}": ("torchmetrics.Metric",)  # those for text, audio and images load models
        for name in ("aggregation", "classification", "clustering", "nominal", "regression", "retrieval")
    },
}
FUNCTIONS = "torch.nn.functional"  # its own functions take tensors and give tensors
REFUSED = ("torch.nn.parallel",)  # talks to other processes
BY_PATH = (*PACKAGES, *MODULES, "torch.nn", "torch.optim", "torchmetrics")
# The values that a type of a schema takes.
TYPES: dict[str, type | tuple[type, ...]] = {
    "Any": object,
    "None": type(None),
    "bool": bool,
    "int": int,
    "float": (int, float),
    "str": str,
    "list[float]": list,
    "list[str]": list,
}


class _PlainLoader(yaml.SafeLoader):
    """A safe loader that stops at what plain data of a config never has."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        mark = event.start_mark
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
            raise yaml.MarkedYAMLError(problem="anchors and aliases are not read", problem_mark=mark)
        if self.depth == MAX_DEPTH and not isinstance(event, yaml.ScalarEvent):
            raise yaml.MarkedYAMLError(problem=f"nested deeper than {MAX_DEPTH} levels", problem_mark=mark)
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        if problem := _problem(node):
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=mark)
        return node


def _problem(node: yaml.Node | None) -> str:
    if node is None or node.tag not in PLAIN_TAGS:
        return f"{shown(getattr(node, 'tag', None))} is no plain value"
    if isinstance(node, yaml.ScalarNode):
        is_long = not node.tag.endswith(":str") and len(node.value) > MAX_NUMBER_CHARS
        return f"a number of {len(node.value)} characters" if is_long else ""
    if isinstance(node, yaml.MappingNode):
        keys = [key.value if key.tag.endswith(":str") else None for key, _ in node.value]
        if None in keys:
            return "a key is no text"
        if len(set(keys)) < len(keys):
            return "a key is there twice"
    return ""


def read_foreign(text: str, tracking: dict[str, Any], *, trust: Sequence[str] = ()) -> dict[str, Any]:
    """The config, with `tracking` in place of its own; ConfigError where it is not one that can be run here.

    Its `trust` says that it is foreign, and which packages may be built beside the allow-listed ones: the
    worker looks at what each `_target_` really is.
    """
    config = load_untrusted(text)
    check_paths(config, trust)
    switches = config.get("switches")
    is_whole = isinstance(switches, dict) and set(switches) == set(schema.SWITCHES)
    if not is_whole or not all(isinstance(option, str) for option in config["switches"].values()):
        raise ConfigError("config: switches: expected an option for each of " + ", ".join(schema.SWITCHES))
    own = {"tracking": tracking, "typed": {"overrides": [], "config_dir": None}, "trust": list(trust)}
    config = config | own | {"switches": config["switches"] | {"tracking": "local"}}
    # of primer's own options; another one's schema is not here
    chosen = {group: option for group, option in config["switches"].items() if option in options(group)}
    found = {group: schema_of(option_file(group, option)) for group, option in chosen.items()}
    kinds = {group: kind for group, kind in found.items() if kind}
    _check_types(config, schema.Train, "")
    for group in schema.SWITCHES:
        if not isinstance(config[group], dict):
            raise ConfigError(f"config: {group}: expected keys and values, found {shown(config[group])}")
        _check_types(config[group], kinds.get(group), f"{group}.")
    check_keys(config, kinds)
    check_fit(config)
    return config


def _check_types(node: dict[str, Any], kind: Any, prefix: str) -> None:
    for name, field in schema.fields_of(kind).items():
        is_typed = "help" in field.metadata and field.type != "Any"
        wanted = expected(field) if is_typed else "keys and values"
        if name not in node:
            raise ConfigError(f"config: {prefix}{name}: is not there; expected {wanted}")
        value, types = node[name], tuple(TYPES[word] for word in str(field.type).split(" | "))
        is_number = isinstance(value, bool) and not {bool, object} & {*types}
        if is_number or not isinstance(value, types):
            raise ConfigError(f"config: {prefix}{name}={shown(value)}: expected {wanted}")


def load_untrusted(text: str) -> dict[str, Any]:
    """The config in a YAML text from elsewhere, as plain data; ConfigError when it is anything else.

    >>> load_untrusted("net:\\n  _target_: primer.nets.TwoLayer\\n  hidden_dim: 9\\n")
    {'net': {'_target_': 'primer.nets.TwoLayer', 'hidden_dim': 9}}
    """
    if len(text) > MAX_BYTES or len(text.encode(errors="surrogatepass")) > MAX_BYTES:
        raise ConfigError(f"config: expected at most {MAX_BYTES} bytes")
    try:
        config = yaml.load(text, Loader=_PlainLoader)
    except (yaml.YAMLError, RecursionError, ValueError, LookupError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f"config, line {mark.line + 1}" if mark else "config"
        problem = getattr(error, "problem", None) or getattr(error, "reason", "a value does not fit its tag")
        raise ConfigError(f"{place}: expected plain YAML: {shown(problem)}") from None
    if not isinstance(config, dict):
        raise ConfigError(f"config: expected keys and values, found {type(config).__name__}")
    return config


def check_paths(config: dict[str, Any], trust: Sequence[str] = ()) -> None:
    """Each `_target_` lies, by its text, in what a config from elsewhere may build; imports nothing.

    `trust` adds packages of one's own: `my_package` allows `my_package.nets.Mine`. Raises ConfigError.

    >>> check_paths({"net": {"_target_": "my_package.Mine"}}, trust=["my_package"])
    >>> check_paths({"net": {"_target_": "os.system"}})  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    primer.errors.ConfigError: net._target_=os.system: a config from elsewhere may not build this; ...
    """
    for package in trust:
        if not _is_path(package):
            raise ConfigError(f"--trust {shown(package)}: expected a package, such as my_package")
    for key, target in _targets(config):
        if not _is_path(target) or "." not in target:
            raise ConfigError(f"{key}={shown(target)}: expected package.Name")
        is_refused = _lies_in(target, REFUSED) or not _lies_in(target, BY_PATH)
        if is_refused and not _lies_in(target, trust):
            raise ConfigError(_refusal(key, target, target))


def check_objects(config: dict[str, Any], trust: Sequence[str] = ()) -> None:
    """Each `_target_` is a class or function from where it says; imports what `check_paths` let through.

    >>> check_objects({"data": {"_target_": "primer.data.synthetic"}})
    """
    check_paths(config, trust)
    for key, target in _targets(config):
        found = locate(target, key.removesuffix(schema.TARGET).rstrip("."))
        if not inspect.isclass(found) and not inspect.isfunction(found):
            raise ConfigError(f"{key}={target}: expected a class or a function written in Python")
        identity = f"{found.__module__}.{found.__qualname__}"
        if not _lies_in(identity, trust) and not _is_harmless(found, target, identity):
            raise ConfigError(_refusal(key, target, identity))


def _is_harmless(found: Any, target: str, identity: str) -> bool:
    for path in (target, identity):
        if _lies_in(path, (*PACKAGES, *MODULES)):
            return _is_own(found, path)
    if _lies_in(identity, REFUSED):
        return False
    if _lies_in(identity, [FUNCTIONS]):
        return inspect.isfunction(found)
    paths = next((paths for prefix, paths in KINDS.items() if _lies_in(identity, [prefix])), ())
    kinds: list[Any] = [locate(path, "") for path in paths]
    return inspect.isclass(found) and issubclass(found, tuple(kinds))


def _is_own(found: Any, path: str) -> bool:
    """Whether it is one of the parts that primer offers, under whichever of its names."""
    if _lies_in(path, MODULES):
        return found.__module__ in MODULES
    package = importlib.import_module(next(name for name in PACKAGES if _lies_in(path, [name])))
    return any(found is getattr(package, name) for name in package.__all__)


def _targets(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The full key and the value of each `_target_`; a ConfigError at another key of Hydra's kind."""
    if isinstance(node, list | tuple):
        for i, item in enumerate(node):
            yield from _targets(item, f"{prefix.removesuffix('.')}[{i}].")
    if isinstance(node, dict):
        for name, value in node.items():
            key = f"{prefix}{shown(name)}"
            if name == schema.TARGET:
                yield key, value
            elif re.fullmatch(r"_.*_", str(name), re.DOTALL):
                raise ConfigError(f"{key}: not read from a config from elsewhere; leave it out")
            else:
                yield from _targets(value, f"{key}.")


def _is_path(target: Any) -> bool:
    """Whether it is a dotted name of public parts; ASCII, since others look like what they are not."""
    return isinstance(target, str) and bool(re.fullmatch(r"[a-zA-Z]\w*(\.[a-zA-Z]\w*)*", target, re.ASCII))


def _lies_in(path: str, prefixes: Sequence[str]) -> bool:
    return any(f"{path}.".startswith(f"{prefix}.") for prefix in prefixes)


def _refusal(key: str, target: str, identity: str) -> str:
    package, _, _ = identity.partition(".")
    # Of a package whose better part is allowed already, no more than the module.
    to_trust = identity.rpartition(".")[0] if package in ("primer", "torch", "torchmetrics") else package
    what = "a config from elsewhere may not build this"
    if identity != target:
        what = f"is {shown(identity)}, which a config from elsewhere may not build"
    return f"{key}={shown(target)}: {what}; if you trust the code: --trust {shown(to_trust)}"
