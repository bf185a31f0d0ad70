"""Check a composed config before anything heavy is imported: bounds of keys, and parts that fit together."""

from __future__ import annotations

import operator
import os
import re
import sys
from collections.abc import Mapping
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

from primer.config import schema
from primer.config.wording import did_you_mean, expected, shown
from primer.errors import ConfigError

# What the target of a data set is, where the option says it; a table's is said by its key or inferred.
TASKS = {
    "primer": "regression",
    "digits": "classification",
    "breast_cancer": "classification",
    "wine": "classification",
    "iris": "classification",
    "diabetes": "regression",
}
# What a criterion is for, and the metrics that a run can watch.
CRITERIA = {
    "sum_squared_error": "regression",
    "mse": "regression",
    "huber": "regression",
    "cross_entropy": "classification",
    "custom_cross_entropy": "classification",
}
METRICS = {"classification": ("accuracy", "f1"), "regression": ("mae", "rmse", "r2")}
LIMITS = {"above": operator.gt, "at_least": operator.ge, "below": operator.lt, "at_most": operator.le}
STORES = ("sqlite:", "http://", "https://", "postgresql", "mysql", "mssql", "databricks")
# Activations whose gradient net=manual can derive by hand, and those it can't; a user's own says so itself.
RELUS = ("relu", "custom_relu", "tutorial_relu", "clamp")
NO_RELUS = ("leaky_relu", "gelu", "silu", "tanh", "custom_silu", "custom_prelu", "straight_through_sign")


def check_keys(config: dict[str, Any], schemas: dict[str, type]) -> None:
    """Every part is there, and every value lies within the bounds of its key."""
    check_values(config, schema.Train, "")
    for group, option in config["switches"].items():
        node, kind = config[group], schemas.get(group)
        if kind is None and not (isinstance(node, dict) and schema.TARGET in node):
            raise ConfigError(f"{group}={option}: expected a key {schema.TARGET}: package.Name in its file")
        if kind is not None:
            check_values(node, kind, f"{group}.")


def check_values(node: dict[str, Any], kind: type, prefix: str) -> None:
    """Every value of a schema's keys lies within its bounds."""
    for name, field in schema.fields_of(kind).items():
        value = node[name]
        is_list = isinstance(value, list)
        is_short = is_list and len(value) != field.metadata.get("length", len(value))
        if is_short or not all(in_bounds(item, field.metadata) for item in (value if is_list else [value])):
            hint = did_you_mean(str(value), map(str, field.metadata.get("one_of", ())))
            raise ConfigError(f"{prefix}{name}={shown(value)}: expected {expected(field)}{hint}")


def in_bounds(value: Any, bounds: Mapping[str, Any]) -> bool:
    """Whether a value lies within the bounds of its key; text may not be empty, a number not infinite.

    >>> in_bounds(10**400, {})
    False
    >>> in_bounds(0.5, {"at_least": 0, "below": 1}), in_bounds(1, {"below": 1}), in_bounds("", {})
    (True, False, False)
    """
    if value is None:
        return True
    if "one_of" in bounds:
        return value in bounds["one_of"]
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value != ""
    # no infinity, no NaN, no whole number that no float holds
    return abs(value) <= sys.float_info.max and all(
        holds(value, bounds[name]) for name, holds in LIMITS.items() if name in bounds
    )


def check_fit(config: dict[str, Any]) -> None:
    """The parts fit each other, as far as can be told without the data."""
    _check_length(config)
    _check_parts(config)
    _check_devices(config)
    _check_tracking(config)
    _check_targets(config)
    task = TASKS.get(config["switches"]["data"], config["data"].get("task", "auto"))
    if task != "auto":
        check_task(config, task, has_val="val_fraction" in config["data"] or None)


def _check_length(config: dict[str, Any]) -> None:
    if config["max_epochs"] is None and config["max_steps"] is None:
        raise ConfigError("max_epochs=null max_steps=null: the run would never end; expected one of the two")
    num_parts, batch_size = config["accumulate_grad_batches"], config["batch_size"]
    if num_parts > batch_size:
        raise ConfigError(
            f"accumulate_grad_batches={num_parts}: expected at most batch_size={batch_size}, "
            "whose rows it shares out"
        )


def _check_parts(config: dict[str, Any]) -> None:
    if config["switches"]["data"] == "primer" and config["patience"] is not None:
        raise ConfigError(f"patience={config['patience']}: data=primer has no validation rows to wait for")
    if config["optimizer"].get("nesterov") and not config["optimizer"].get("momentum"):
        raise ConfigError("optimizer.nesterov=true: needs optimizer.momentum above 0")
    net, activation = config["switches"]["net"], config["switches"]["activation"]
    if net == "manual" and activation in NO_RELUS:
        raise ConfigError(
            f"net=manual activation={activation}: this net derives its gradient by hand for a ReLU; "
            f"expected activation={'|'.join(RELUS)}, or another net"
        )


def _check_devices(config: dict[str, Any]) -> None:
    """One device is one process; what several do, they all can."""
    node, option = config["accelerator"], config["switches"]["accelerator"]
    strategy = node.get("strategy", "single")
    for name in ("devices", "num_nodes"):
        if strategy == "single" and node.get(name) != 1:
            kinds = {"cpu": "ddp_cpu", "auto": "ddp_cpu, or with GPUs ddp"}
            several = kinds.get(node["accelerator"], "ddp")
            raise ConfigError(
                f"accelerator.{name}={shown(node[name])}: accelerator={option} is one device; "
                f"expected 1, or accelerator={several}"
            )
    if strategy != "fsdp":
        return
    if node["precision"] == "16-mixed":
        raise ConfigError(f"precision=16-mixed: accelerator={option} expects bf16-mixed, 32 or 64")
    if config["compile"]:
        raise ConfigError(f"compile=true: not with accelerator={option}; expected accelerator=ddp")


def _check_tracking(config: dict[str, Any]) -> None:
    if config["switches"]["tracking"] == "off":
        return
    own = config["tracking"].get("uri")
    uri = own or os.environ.get("MLFLOW_TRACKING_URI") or None
    text = f"tracking.uri={shown(own)}" + ("" if own == uri else f", $MLFLOW_TRACKING_URI={shown(uri)}")
    text = re.sub(r"//[^/\s]+@", "//", text)  # no password on the screen
    is_server = config["switches"]["tracking"] == "server"
    if is_server and not (uri or "").startswith(("http://", "https://")):
        raise ConfigError(f"{text}: tracking=server expects tracking.uri=http://HOST:PORT")
    if uri and not uri.startswith(STORES):
        raise ConfigError(f"{text}: expected sqlite:///FILE.db or http://HOST:PORT")
    is_file = uri is None or uri.startswith("sqlite:")
    place = str(Path((uri or "mlflow.db").removeprefix("sqlite:///")).absolute())
    if is_file and any(mark in place for mark in "?%"):
        raise ConfigError(
            f"{shown(place)}: MLflow keeps no database below a folder with ? or % in its name; "
            "expected another folder, or tracking=off"
        )


def _check_targets(config: dict[str, Any]) -> None:
    """The package that each part comes from is there; what it holds is seen when it is built."""
    for group in schema.SWITCHES:
        target = config[group].get(schema.TARGET)
        if target is None:
            continue
        text = f"{group}.{schema.TARGET}={shown(target)}"
        if not re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)+", str(target)):
            raise ConfigError(f"{text}: expected package.Name")
        package = str(target).partition(".")[0]
        path = [str(Path.cwd()), *sys.path]
        if package not in sys.builtin_module_names and not PathFinder.find_spec(package, path):
            raise ConfigError(f"{text}: no package {package!r} in this folder or environment")


def check_task(config: dict[str, Any], task: str, *, has_val: bool | None) -> None:
    """Criterion and watched metric suit the target; called again once the data say what it is.

    `has_val` says whether there are rows to validate on; without, only a loss can be watched, which is then
    that of training. None: that is not known yet.
    """
    switches = config["switches"]
    found = {"classification": "classes", "regression": "a real-valued target"}[task]
    wanted = CRITERIA.get(switches["criterion"], task)
    if wanted != task:
        fitting = [name for name, of in CRITERIA.items() if of == task]
        raise ConfigError(
            f"criterion={switches['criterion']}: is for {wanted}, but data={switches['data']} has {found}; "
            f"expected criterion={'|'.join(fitting)}, or auto"
        )
    watchable = [] if has_val else ["train/loss"]
    watchable += [f"val/{name}" for name in ("loss", *(METRICS[task] if has_val is not False else ()))]
    if config["monitor"] not in watchable:
        hint = did_you_mean(config["monitor"], watchable)
        found = "no rows to validate on" if has_val is False else found
        raise ConfigError(
            f"monitor={shown(config['monitor'])}: data={switches['data']} has {found}{hint} "
            f"(metrics: {', '.join(watchable)})"
        )
