"""The conf folder: every option composes, explains itself and names something that can be built."""

from __future__ import annotations

import inspect
import itertools
from pathlib import Path
from typing import Any

import pytest
import yaml

from primer.config import build, compose, config_hash, flat, group_name, options, schema
from primer.config.identity import VOLATILE
from primer.config.multirun import Multirun
from primer.config.options import conf_dir, meaning, option_file, schema_of, values_of
from primer.config.sweep_schema import LAUNCHERS, SWEEPERS
from primer.config.targets import locate
from primer.errors import ConfigError

# Names that are contracts (DESIGN.md).
CONTRACT = {
    "data": "primer digits breast_cancer wine iris diabetes table",
    "net": "manual tensors sequential two_layer",
    "activation": "relu custom_relu tutorial_relu clamp leaky_relu gelu silu tanh "
    "custom_silu custom_prelu straight_through_sign",
    "criterion": "sum_squared_error mse huber cross_entropy custom_cross_entropy",
    "optimizer": "sgd adam adamw rmsprop",
    "scheduler": "constant step cosine warmup_cosine",
    "accelerator": "auto cpu ddp ddp_cpu fsdp fsdp_cpu gpu mps",
    "tracking": "local server off",
    "experiment": "primer/manual primer/tensors primer/custom_function primer/sequential primer/two_layer",
}
CONTRACT_KEYS = (
    "optimizer.lr net.hidden_dim data.path data.target tracking.uri accelerator.devices "
    "accelerator.precision seed max_steps max_epochs batch_size name"
)
# What an option can't be composed without.
NEEDED = {
    ("data", "table"): ["data.path=houses.csv", "data.target=price"],
    ("tracking", "server"): ["tracking.uri=http://127.0.0.1:5000"],
    ("criterion", "sum_squared_error"): ["data=diabetes"],
    ("criterion", "mse"): ["data=diabetes"],
    ("criterion", "huber"): ["data=diabetes"],
}
OPTIONS = [(group, option) for group in schema.GROUPS for option in options(group)]
CONFIGS = {choice: [f"{choice[0]}={choice[1]}", *NEEDED.get(choice, [])] for choice in OPTIONS}
each_option = pytest.mark.parametrize(
    ("group", "option"), OPTIONS, ids=["=".join(choice) for choice in OPTIONS]
)


def test_every_file_is_an_option_or_the_default() -> None:
    files = {path.relative_to(conf_dir()).as_posix() for path in conf_dir().rglob("*.yaml")}
    sweeps = {f"hydra/launcher/{name}.yaml" for name in LAUNCHERS}
    sweeps |= {f"hydra/sweeper/{name}.yaml" for name in SWEEPERS}
    assert files == {"train.yaml", *sweeps, *(f"{group}/{option}.yaml" for group, option in OPTIONS)}
    assert len(files) == 57


def test_contract_names_exist() -> None:
    assert {group: names.split() for group, names in CONTRACT.items()}.keys() == set(schema.GROUPS)
    for group, names in CONTRACT.items():
        assert set(names.split()) <= set(options(group))
    keys = set(compose()) | {
        f"{group}.{name}" for group, option in OPTIONS for name in values_of(option_file(group, option))
    }
    assert set(CONTRACT_KEYS.split()) <= keys


@each_option
def test_option_composes_to_plain_data_that_a_worker_reads_back(group: str, option: str) -> None:
    config = compose(CONFIGS[group, option])
    assert yaml.safe_load(yaml.safe_dump(config, sort_keys=False, allow_unicode=True)) == config
    if group != "experiment":
        assert config["switches"][group] == option


@each_option
def test_option_says_what_it_is(group: str, option: str) -> None:
    file = option_file(group, option)
    assert 3 <= len(meaning(file)) <= 100
    if group != "experiment":
        kind = schema_of(file)
        assert kind is not None
        fields = schema.fields_of(kind)
        assert set(values_of(file)) == set(fields) - {"_target_"}  # no key is left to a default elsewhere


def test_every_key_has_a_line_of_help() -> None:
    kinds = [schema.Train, *(kind for kinds in schema.SCHEMAS.values() for kind in kinds.values())]
    silent = {
        f"{kind.__name__}.{name}"
        for kind in kinds
        for name, field in schema.fields_of(kind).items()
        if not 3 <= len(field.metadata.get("help", "")) <= 80 and name != "_target_"
    }
    assert silent == {
        "Bundled.name",
        "Accelerator.accelerator",
        "Accelerator.strategy",
    }  # these make the option what it is


@each_option
def test_target_takes_the_keys_of_its_option(group: str, option: str) -> None:
    node = compose(CONFIGS[group, option]).get(group, {})
    if "_target_" in node:
        keys = {name: value for name, value in node.items() if name != "_target_"}
        signature = inspect.signature(locate(node["_target_"], group))
        signature.bind_partial(**keys)
    else:
        assert group in ("accelerator", "tracking", "experiment")


@pytest.mark.parametrize(
    ("net", "activation"),
    [
        (net, activation)
        for net, activation in itertools.product(options("net"), options("activation"))
        if net != "manual" or activation in ("relu", "custom_relu", "tutorial_relu", "clamp")
    ],
)
def test_every_net_learns_with_every_activation(net: str, activation: str) -> None:
    import torch

    config = compose([f"net={net}", f"activation={activation}", "net.hidden_dim=5"])
    function = build(config["activation"], "activation")
    module = build(config["net"], "net", in_features=3, out_features=2, activation=function)
    out = module(torch.ones(4, 3))
    assert out.shape == (4, 2)
    out.sum().backward()
    assert all(parameter.grad is not None for parameter in module.parameters())


@pytest.mark.parametrize("optimizer", options("optimizer"))
@pytest.mark.parametrize("scheduler", options("scheduler"))
def test_every_optimizer_steps_under_every_scheduler(optimizer: str, scheduler: str) -> None:
    import torch

    config = compose([f"optimizer={optimizer}", f"scheduler={scheduler}"])
    weight = torch.nn.Parameter(torch.ones(3))
    weight.grad = torch.ones(3)
    built = build(config["optimizer"], "optimizer", [weight])
    node = config["scheduler"]
    takes_steps = "num_steps" in inspect.signature(locate(node["_target_"], "scheduler")).parameters
    schedule = build(node, "scheduler", built, **({"num_steps": 200} if takes_steps else {}))
    built.step()
    assert not torch.equal(weight, torch.ones(3))
    if scheduler != "constant":
        schedule.step()


@pytest.mark.parametrize("criterion", options("criterion"))
def test_every_criterion_is_built(criterion: str) -> None:
    config = compose(CONFIGS["criterion", criterion])
    task = {"task": "classification"} if criterion == "auto" else {}
    assert callable(build(config["criterion"], "criterion", **task))


EQUAL = [
    (["optimizer.lr=0.001"], []),
    (["optimizer.lr=1e-3", "seed=0"], ["optimizer=adam"]),
    (["optimizer.lr=1"], ["optimizer.lr=1.0"]),
    (["deterministic=yes"], ["deterministic=true"]),
    (["name=mine"], ["name=yours"]),
    (["tracking=off"], ["tracking.experiment=other"]),
    (["seed=3", "net=tensors"], ["net=tensors", "seed=3"]),
    (["seed=1", "seed=2"], ["seed=2"]),
    (["optimizer=sgd", "optimizer=adam"], []),
    (["experiment=primer/sequential"], [
        "data=primer", "net=sequential", "activation=clamp", "criterion=sum_squared_error", "optimizer=sgd",
        "max_steps=500", "max_epochs=null", "batch_size=64", "monitor=train/loss", "optimizer.lr=1e-4",
    ]),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other"), EQUAL, ids=lambda overrides: " ".join(overrides) or "default")
def test_hash_is_equal_for_equal_meaning(one: list[str], other: list[str]) -> None:
    assert config_hash(compose(one)) == config_hash(compose(other))
    assert group_name(compose(one)) == group_name(compose(other))


def test_hash_differs_for_any_switch_and_any_value() -> None:
    """All options of all groups, and each key changed alone, ask for as many different computations."""
    config = compose()
    hashes = {config_hash(config)}
    num_asked = 1
    for group, option in OPTIONS:
        if group != "tracking" and config["switches"].get(group) != option:
            hashes.add(config_hash(compose(CONFIGS[group, option])))
            num_asked += 1
    for path in _leaves(config):
        hashes.add(config_hash(_changed(config, path)))
        num_asked += 1
    assert len(hashes) == num_asked > 40


def _leaves(node: dict[str, Any], path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []
    for name, value in node.items():
        if isinstance(value, dict):
            found += _leaves(value, (*path, name))
        elif not {*VOLATILE} & {*path[:1], *([name] if not path or path == ("switches",) else [])}:
            found.append((*path, name))
    return found


def _changed(node: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    name, *rest = path
    return node | {name: _changed(node[name], tuple(rest)) if rest else [node[name], "changed"]}


def test_group_is_the_same_for_every_seed_and_another_for_anything_else() -> None:
    groups = {group_name(compose([f"seed={seed}"])) for seed in (0, 1, 2**63 - 1)}
    assert len(groups) == 1
    assert group_name(compose(["name=mine", "seed=7"])) in groups
    assert group_name(compose(["optimizer.lr=0.1"])) not in groups
    assert groups.pop().startswith("relu adam lr=0.001 two_layer digits #")


def test_flat_holds_switches_and_scalars_short_and_whole() -> None:
    params = flat(compose(["optimizer=sgd", "optimizer.lr=0.1"]))
    assert params["optimizer"] == "sgd"
    assert params["optimizer.lr"] == 0.1
    assert params["seed"] == 0
    assert not any(isinstance(value, dict) or value is None for value in params.values())
    assert not any("_target_" in name for name in params)


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        ([], "digits s0"),
        (["activation=custom_relu", "optimizer.lr=0.1", "seed=3"], "custom_relu lr=0.1 s3"),
        (["optimizer=sgd", "optimizer=adam"], "adam s0"),
        (["data=table", "data.path=/my/houses.csv", "data.target='y'"], "table path=houses.csv target=y s0"),
        (["tracking=off", "experiment=primer/manual"], "primer/manual s0"),
        (["data=iris", "max_epochs=5", "activation=gelu"], "gelu iris max_epochs=5 s0"),
        (["batch_size=5", "data=iris", "optimizer.lr=0.1"], "lr=0.1 iris batch_size=5 s0"),
        (["optimizer.lr=0.0012345678", "net.hidden_dim=123456789"], "lr=0.001235 hidden_dim=123456789 s0"),
        (["name=mine", "seed=3"], "mine"),
    ],
)  # fmt: skip
def test_run_is_named_after_what_was_switched(overrides: list[str], name: str) -> None:
    assert compose(overrides)["name"] == name


def test_a_program_that_uses_hydra_itself_keeps_its_state(tmp_path: Path) -> None:
    import hydra
    from hydra.core.global_hydra import GlobalHydra

    (tmp_path / "own.yaml").write_text("a: 3\n")
    with hydra.initialize_config_dir(str(tmp_path), version_base="1.3"):
        outer = GlobalHydra.instance().hydra
        compose(["seed=1"])
        assert GlobalHydra.instance().hydra is outer
        assert hydra.compose("own").a == 3


@pytest.mark.parametrize("override", [None, 3, ["data=iris", "seed=1"]])
def test_an_override_that_is_no_text_is_told(override: Any) -> None:
    for ask in (compose, Multirun):
        with pytest.raises(ConfigError, match=r"expected text, such as 'seed=1', and one argument for each"):
            ask([override])
