"""The parts that a config names, built: module, trainer, and who looks at its steps."""

from __future__ import annotations

import functools
import math
import os
import shutil
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from lightning import Callback, Trainer
from lightning.pytorch.strategies import Strategy
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from primer.config.targets import accepts, build
from primer.data import Dataset
from primer.errors import ConfigError, first_line
from primer.ranks import is_placed, is_shared, num_ranks, rank_of_worker
from primer.stopping import StopSignal
from primer.tracking.journal import Journal
from primer.training.checkpointer import Due
from primer.training.criteria import Criterion
from primer.training.evaluation import TargetScale
from primer.training.module import TrainingModule
from primer.training.nonfinite import NonfiniteGuard
from primer.training.randomness import seed_generators
from primer.training.recorder import Recorder
from primer.training.replicas import Replicas
from primer.training.resumption import Resumption
from primer.training.sharded import ShardedStrategy, whole
from primer.training.strategies import ReplicatedStrategy, Watching
from primer.training.timetable import Timetable
from primer.training.trainer import make_trainer
from primer.training.watch import Watch

if TYPE_CHECKING:
    from primer.tracking.model import ModelSaver

Config = dict[str, Any]
# torch's way to the same bits in fewer calls; measured: 29 to 16 microseconds for SGD
FOREACH: dict[str, Config] = {path: {"foreach": True} for path in ("torch.optim.SGD", "torch.optim.RMSprop")}
ALONE_TOLERANCE = 1e-4  # chosen: of a run that trained with others and goes on without them
LIMITS = ("batch_size", "max_epochs", "max_steps", "val_every_n_steps")


def timetable_of(config: Config, dataset: Dataset) -> Timetable:
    """When things happen in a run that begins now."""
    return Timetable.of(len(dataset.train), **{name: config[name] for name in LIMITS})


def fixed_length_of(config: Config) -> str | None:
    """What can't be given another number of steps later, if anything is."""
    takes_length = accepts(config["scheduler"], "scheduler", "num_steps")
    return f"scheduler={config['switches']['scheduler']}" if takes_length else None


def replicas_of(config: Config) -> Replicas:
    """This process among those that train the run."""
    num = num_ranks(config) or torch.cuda.device_count() * config["accelerator"]["num_nodes"]
    if is_shared(config) and is_placed():
        num = int(os.environ["WORLD_SIZE"])
    is_sharded = config["accelerator"].get("strategy") == "fsdp"
    return Replicas(rank_of_worker() if is_shared(config) else 0, num, is_sharded=is_sharded)


def recorder_of(
    config: Config, journal: Journal, begin: Resumption, replicas: Replicas | None = None
) -> Recorder:
    """Who records the run, and who guards it."""
    on_nonfinite = config["on_nonfinite"]
    return Recorder(
        journal,
        NonfiniteGuard(journal, begin.timetable, on_nonfinite=on_nonfinite, replicas=replicas),
        num_steps=begin.timetable.num_steps,
        every_n_steps=config["log_every_n_steps"],
        step=begin.step,
        recorded=begin.recorded,
        tolerance=_tolerance(begin, replicas),
    )


def _tolerance(begin: Resumption, replicas: Replicas | None) -> float:
    """By how much points may differ that are come to again: on other devices they are not compared."""
    if begin.num_devices not in (None, replicas.size if replicas else 1):
        return math.inf
    return ALONE_TOLERANCE if begin.was_fused else 0.0


def watch_of(
    config: Config, dataset: Dataset, folder: Path, replicas: Replicas | None = None
) -> Watch | None:
    """Who keeps the best weights, where there are validations."""
    keys = {name: config[name] for name in ("monitor", "patience")}
    return Watch(folder / "checkpoints", **keys, replicas=replicas) if dataset.val else None


def due_of(config: Config, timetable: Timetable, stop: StopSignal, replicas: Replicas | None = None) -> Due:
    """When the run is saved."""
    every = {name: config[f"checkpoint_{name}"] for name in ("every_n_steps", "every_n_minutes")}
    return Due(timetable.num_steps, stop, **every, replicas=replicas)


def trainer_of(
    config: Config,
    folder: Path,
    callbacks: Sequence[Callback],
    *,
    num_legs: int,
    replicas: Replicas | None = None,
    watching: Watching = lambda *_: None,
) -> Trainer:
    """The Trainer, on the device that the config names; `watching` is told of the ranks it starts."""
    node = config["accelerator"]
    num_nodes = node.get("num_nodes", 1)
    return make_trainer(
        folder,
        list(callbacks),
        accelerator=node["accelerator"],
        devices=(replicas.size if replicas else 1) // num_nodes,
        num_nodes=num_nodes,
        strategy=_strategy(node.get("strategy", "single"), watching, replicas),
        precision=node["precision"],
        num_legs=num_legs,
        deterministic=config["deterministic"],
    )


def _strategy(name: str, watching: Watching, replicas: Replicas | None) -> Strategy | str:
    if name == "single":
        return "auto"
    if name == "ddp":
        return ReplicatedStrategy(watching)
    assert replicas
    return ShardedStrategy(watching, replicas.size)


def model_saver() -> ModelSaver:
    """What saves nets as models."""
    from primer.tracking.model import ModelSaver  # imports MLflow: 1.4 s

    return ModelSaver()


def keep_model(saver: ModelSaver, folder: Path, net: nn.Module, dataset: Dataset, journal: Journal) -> None:
    """Save the net as a model; one that torch can't export costs a warning, not the run."""
    shutil.rmtree(folder / "model", ignore_errors=True)  # of an earlier attempt
    try:
        saver.save(folder / "model", net, dataset)
    except Exception as error:
        traceback.print_exc()
        reason = first_line(error)
        journal.write("warning", message=f"no model was saved: {type(error).__name__}: {reason}")


def make_module(
    config: Config, dataset: Dataset, num_steps: int, replicas: Replicas | None = None
) -> TrainingModule:
    """The LightningModule that the config names, its weights drawn from the seed, alike on all replicas.

    Raises ConfigError for parts that do not fit each other, before anything is trained.
    """
    seed_generators(config["seed"])
    net = _net(config, dataset)
    _check_shape(net, config, dataset)
    if str(config["accelerator"]["precision"]) == "64":
        net.double()  # at once: Lightning would after it loaded a checkpoint, rounded to float32
    takes_task = {"task": dataset.task} if accepts(config["criterion"], "criterion", "task") else {}
    mean, scale = torch.from_numpy(dataset.target_mean), torch.from_numpy(dataset.target_scale)
    fast = FOREACH.get(config["optimizer"]["_target_"], {})
    optimizer: Callable[..., Optimizer] = functools.partial(build, fast | config["optimizer"], "optimizer")
    scheduler = _scheduler(config["scheduler"], num_steps)
    if any(True for _ in net.parameters()):
        made = scheduler(optimizer(net.parameters()))  # so that keys they refuse are told now
        if isinstance(made, ReduceLROnPlateau):
            option = config["switches"]["scheduler"]
            raise ConfigError(f"scheduler={option}: waits for a metric; expected one that follows the steps")
    criterion = Criterion(build(config["criterion"], "criterion", **takes_task))
    num_parts = config["accumulate_grad_batches"]
    if num_parts > 1 and not criterion.can_be_cut:
        raise ConfigError(
            f"accumulate_grad_batches={num_parts}: criterion={config['switches']['criterion']} is no plain "
            "sum or mean, so a batch of it can't be computed in parts; expected 1"
        )
    if replicas and replicas.are_many:
        net = _shared(net, criterion, config)
        if replicas.rank:
            replicas.seed(config["seed"])
    return TrainingModule(
        net,
        criterion,
        optimizer=optimizer,
        scheduler=scheduler,
        target_scale=TargetScale(dataset.task, mean, scale, dataset.out_features),
        max_norm=config["gradient_clip_val"],
        replicas=replicas,
    )


def _shared(net: nn.Module, criterion: Criterion, config: Config) -> nn.Module:
    """The net as several devices train it; raises ConfigError where that would be another training."""
    option = config["switches"]["accelerator"]
    if not criterion.can_be_cut:
        raise ConfigError(
            f"accelerator={option}: criterion={config['switches']['criterion']} is no plain sum or mean, so "
            "several devices can't each compute a share of it; expected one device"
        )
    norms = [name for name, module in net.named_modules() if isinstance(module, _BatchNorm)]
    if norms and config["accelerator"]["accelerator"] == "cpu":
        raise ConfigError(
            f"accelerator={option}: net.{norms[0]} is a batch norm, which would see the rows of one process "
            "alone (torch has a common one for GPUs only); expected accelerator=cpu, or a layer norm"
        )
    scalars = [name for name, weight in net.named_parameters() if not weight.dim()]
    if scalars and config["accelerator"].get("strategy") == "fsdp":
        raise ConfigError(
            f"accelerator={option}: net.{scalars[0]} is a single number, which torch can't share out; "
            "expected accelerator=ddp, or a weight of the shape (1,)"
        )
    if not norms:
        return net
    common: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(net)  # type: ignore[no-untyped-call]
    return common


def whole_net(module: TrainingModule, config: Config, dataset: Dataset) -> nn.Module:
    """The net, also where its weights are shared out among ranks, all of which have to ask."""
    if not module.replicas.is_sharded:
        return module.net
    weights = whole(module.net.state_dict())
    net = _net(config, dataset)
    net.load_state_dict(weights)
    return net


def _net(config: Config, dataset: Dataset) -> nn.Module:
    net: nn.Module = build(
        config["net"],
        "net",
        in_features=dataset.in_features,
        out_features=dataset.out_features,
        activation=build(config["activation"], "activation"),
    )
    return net


def _scheduler(node: Config, num_steps: int) -> Callable[[Optimizer], LRScheduler | None]:
    total = {"num_steps": num_steps} if accepts(node, "scheduler", "num_steps") else {}
    return lambda optimizer: build(node, "scheduler", optimizer, **total)


def _check_shape(net: nn.Module, config: Config, dataset: Dataset) -> None:
    """A net that answers in another shape would not fail: losses broadcast, silently and wrongly."""
    x = torch.from_numpy(dataset.train.x[:2])
    was_training = net.training
    with torch.no_grad(), torch.random.fork_rng():
        shape = tuple(net.eval()(x).shape)
    net.train(was_training)
    expected = (len(x), dataset.out_features)
    if shape != expected:
        raise ConfigError(
            f"net={config['switches']['net']}: answers in shape {shape} for {len(x)} rows, not {expected}"
        )
