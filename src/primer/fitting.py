"""What a worker does once its data are sound: build the parts, fit, test the best, save it as a model.

Imports torch and Lightning, five seconds of it, so `worker` imports this last.
"""

from __future__ import annotations

import functools
import shutil
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from primer.config.targets import accepts, build
from primer.data import Dataset
from primer.errors import ConfigError
from primer.stopping import StopSignal
from primer.tracking.journal import Journal
from primer.training.batches import Batches, Legs, Whole
from primer.training.checkpointer import Checkpointer, Due
from primer.training.criteria import Criterion
from primer.training.forking import write_first_checkpoint
from primer.training.metrics import TargetScale
from primer.training.module import TrainingModule
from primer.training.nonfinite import NonfiniteGuard
from primer.training.randomness import seed_generators
from primer.training.recorder import Recorder
from primer.training.resumption import resumption
from primer.training.timetable import Timetable
from primer.training.trainer import make_trainer, use_threads
from primer.training.watch import Watch

Config = dict[str, Any]
# torch's way to the same bits in fewer calls; measured: 29 to 16 microseconds for SGD
FOREACH: dict[str, Config] = {path: {"foreach": True} for path in ("torch.optim.SGD", "torch.optim.RMSprop")}
LIMITS = ("batch_size", "max_epochs", "max_steps", "val_every_n_steps")


def fit(config: Config, dataset: Dataset, folder: Path, journal: Journal, stop: StopSignal) -> None:
    """Train what the config names on `dataset`, and leave checkpoints, points and model in `folder`.

    Goes on from the newest whole checkpoint that is there.
    """
    limits = {name: config[name] for name in LIMITS}
    timetable = Timetable.of(len(dataset.train), **limits)
    module = make_module(config, dataset, timetable.num_steps)
    write_first_checkpoint(folder / "checkpoints", module, timetable)
    takes_length = accepts(config["scheduler"], "scheduler", "num_steps")
    fixed_length = f"scheduler={config['switches']['scheduler']}" if takes_length else None
    begin = resumption(folder, journal, timetable, fixed_length=fixed_length)
    num_params = sum(parameter.numel() for parameter in module.parameters())
    num_threads = use_threads(
        config["accelerator"]["num_threads"] or begin.num_threads,
        num_params=num_params,
        batch_size=config["batch_size"],
    )
    guard = NonfiniteGuard(journal, begin.timetable, on_nonfinite=config["on_nonfinite"])
    recorder = Recorder(
        journal,
        guard,
        num_steps=begin.timetable.num_steps,
        every_n_steps=config["log_every_n_steps"],
        step=begin.step,
        recorded=begin.recorded,
    )
    checkpoints = folder / "checkpoints"
    watch = (
        Watch(checkpoints, monitor=config["monitor"], patience=config["patience"]) if dataset.val else None
    )
    every = {name: config[f"checkpoint_{name}"] for name in ("every_n_steps", "every_n_minutes")}
    due = Due(begin.timetable.num_steps, stop, **every)
    checkpointer = Checkpointer(checkpoints, recorder, begin.timetable, due, watch)
    callbacks = [
        guard,
        recorder,
        *([watch] if watch else []),
        checkpointer,
    ]  # who looks at each step, in order
    legs = Legs(train_batches(config, dataset), begin.timetable, step=begin.step, has_val=bool(watch))
    options = config["accelerator"] | {"deterministic": config["deterministic"]}
    del options["num_threads"]
    trainer = make_trainer(folder, callbacks, num_legs=legs.num_left, **options)
    legs.batches.place(
        lambda rows: trainer.strategy.batch_to_device(trainer.precision_plugin.convert_input(rows))
    )
    facts = {"num_steps": begin.timetable.num_steps, "num_threads": num_threads, "step": begin.step}
    journal.write("start", **facts, num_params=num_params, device=str(trainer.strategy.root_device))
    val_batches = Whole(dataset.val, can_be_cut=module.criterion.can_be_cut) if dataset.val else None
    trainer.fit(module, legs, val_batches, ckpt_path=begin.checkpoint)
    stop.obey_at_once()
    if watch:
        watch.take_best(module)
    if dataset.test is not None:
        trainer.test(module, Whole(dataset.test, can_be_cut=module.criterion.can_be_cut), verbose=False)
    recorder.write_summary()
    if config["tracking"].get("log_model"):
        keep_model(folder, module.net, dataset, journal)
        stop.obey()  # where somebody else's `except:` swallowed it


def train_batches(config: Config, dataset: Dataset) -> Batches:
    """The batches of an epoch, in an order that the run's seed and the epoch decide."""
    num_parts = config["accumulate_grad_batches"]
    return Batches(dataset.train, batch_size=config["batch_size"], num_parts=num_parts, seed=config["seed"])


def keep_model(folder: Path, net: nn.Module, dataset: Dataset, journal: Journal) -> None:
    """Save the net as a model; one that torch can't export costs a warning, not the run."""
    from primer.tracking.model import save_model  # imports MLflow: 1.4 s

    shutil.rmtree(folder / "model", ignore_errors=True)  # of an earlier attempt
    try:
        save_model(folder / "model", net, dataset)
    except Exception as error:
        traceback.print_exc()
        reason = (str(error).splitlines() or [""])[0]
        journal.write("warning", message=f"no model was saved: {type(error).__name__}: {reason}")


def make_module(config: Config, dataset: Dataset, num_steps: int) -> TrainingModule:
    """The LightningModule that the config names, its weights drawn from the seed.

    Raises ConfigError for parts that do not fit each other, before anything is trained.
    """
    seed_generators(config["seed"])
    net: nn.Module = build(
        config["net"],
        "net",
        in_features=dataset.in_features,
        out_features=dataset.out_features,
        activation=build(config["activation"], "activation"),
    )
    _check_shape(net, config, dataset)
    takes_task = {"task": dataset.task} if accepts(config["criterion"], "criterion", "task") else {}
    mean, scale = torch.from_numpy(dataset.target_mean), torch.from_numpy(dataset.target_scale)
    fast = FOREACH.get(config["optimizer"]["_target_"], {})
    optimizer: Callable[..., Optimizer] = functools.partial(build, fast | config["optimizer"], "optimizer")
    scheduler = _scheduler(config["scheduler"], num_steps)
    if any(True for _ in net.parameters()):
        scheduler(optimizer(net.parameters()))  # so that keys they refuse are told now
    criterion = Criterion(build(config["criterion"], "criterion", **takes_task))
    num_parts = config["accumulate_grad_batches"]
    if num_parts > 1 and not criterion.can_be_cut:
        raise ConfigError(
            f"accumulate_grad_batches={num_parts}: criterion={config['switches']['criterion']} is no plain "
            "sum or mean, so a batch of it can't be computed in parts; expected 1"
        )
    return TrainingModule(
        net,
        criterion,
        optimizer=optimizer,
        scheduler=scheduler,
        task=dataset.task,
        target_scale=TargetScale(dataset.task, mean, scale, dataset.out_features),
        max_norm=config["gradient_clip_val"],
    )


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
