"""What a worker does once its data are sound: build the parts, fit, test the best, save it as a model.

Imports torch and Lightning, five seconds of it, so `worker` imports this last.
"""

from __future__ import annotations

import dataclasses
import functools
import shutil
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning import Trainer
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from primer.config.targets import accepts, build
from primer.data import Dataset
from primer.errors import ConfigError
from primer.stopping import StopSignal
from primer.tracking.journal import Journal, Record, read
from primer.training.batches import Batches
from primer.training.checkpoint import Checkpoints, VerifiedCheckpointIO
from primer.training.checkpointer import Checkpointer
from primer.training.criteria import Criterion
from primer.training.forking import write_first_checkpoint
from primer.training.metrics import TargetScale
from primer.training.module import TrainingModule
from primer.training.nonfinite import guards
from primer.training.randomness import seed_generators
from primer.training.recorder import Recorded, Recorder
from primer.training.timetable import Timetable
from primer.training.trainer import best_and_stopping, make_trainer, use_threads

Config = dict[str, Any]
LIMITS = ("batch_size", "max_epochs", "max_steps", "val_every_n_steps")
TRAINER_KEYS = ("val_every_n_steps", "gradient_clip_val", "accumulate_grad_batches", "deterministic")


def fit(config: Config, dataset: Dataset, folder: Path, journal: Journal, stop: StopSignal) -> None:
    """Train what the config names on `dataset`, and leave checkpoints, points and model in `folder`.

    Goes on from the newest whole checkpoint that is there.
    """
    limits = {name: config[name] for name in LIMITS}
    timetable = Timetable.of(len(dataset.train), num_parts=config["accumulate_grad_batches"], **limits)
    module = make_module(config, dataset, timetable.num_steps)
    write_first_checkpoint(folder / "checkpoints", module, timetable)
    state, path = resume_point(folder, journal)
    if state:
        timetable = resumed(timetable, state, config)
    step = state["global_step"] if state else 0
    recorded = recorded_after(step, read(folder))
    reached = max((at for _, at in recorded), default=step)
    if timetable.num_steps < reached:
        raise ConfigError(
            f"max_steps, max_epochs: {reached} steps are done already; expected at least as many"
        )
    recorder = Recorder(
        journal,
        num_steps=timetable.num_steps,
        every_n_steps=config["log_every_n_steps"],
        step=step,
        recorded=recorded,
    )
    trainer = trainer_of(config, dataset, folder, recorder, timetable, stop, module)
    facts = {"num_steps": timetable.num_steps, "num_threads": torch.get_num_threads(), "step": step}
    num_params = sum(parameter.numel() for parameter in module.parameters())
    journal.write("start", **facts, num_params=num_params, device=str(trainer.strategy.root_device))
    can_be_cut = module.criterion.can_be_cut
    val_batches = Batches.whole(dataset.val, can_be_cut=can_be_cut) if dataset.val else None
    trainer.fit(module, train_batches(config, dataset), val_batches, ckpt_path=path)
    stop.obey_at_once()
    test_best(dataset, folder, module, trainer)
    recorder.write_summary()
    if config["tracking"].get("log_model"):
        keep_model(folder, module.net, dataset, journal)
        stop.obey()  # where somebody else's `except:` swallowed it


def resume_point(folder: Path, journal: Journal) -> tuple[dict[str, Any] | None, Path | None]:
    """The newest whole checkpoint and its path, if there is one; a damaged one costs a warning."""
    state, path, damaged = Checkpoints(folder / "checkpoints").newest_whole()
    for file, complaint in damaged.items():
        instead = path.name if path else "the start"
        journal.write("warning", message=f"{complaint}; going on from {instead}")
        file.rename(file.with_name(f"damaged-{file.name}"))  # so that it is not counted as the newest
    return state, path


def resumed(timetable: Timetable, state: dict[str, Any], config: Config) -> Timetable:
    """The timetable of a run that goes on from a checkpoint; ConfigError where that would change its past."""
    step, own = state["global_step"], state["primer"]
    if own["stopped_early"]:
        return dataclasses.replace(timetable, num_steps=step)
    if timetable.num_steps != own["num_steps"] and accepts(config["scheduler"], "scheduler", "num_steps"):
        raise ConfigError(
            f"scheduler={config['switches']['scheduler']}: its learning rates follow from the number of "
            f"steps ({own['num_steps']}); another one would change what was computed already"
        )
    return timetable


def recorded_after(step: int, records: list[Record]) -> Recorded:
    """The points of a journal that a run which goes on after `step` will come to again."""
    return {
        (record["key"], at): value
        for record in records
        if record["kind"] == "points"
        for at, value in zip(record["steps"], record["values"], strict=True)
        if at >= step
    }


def trainer_of(
    config: Config,
    dataset: Dataset,
    folder: Path,
    recorder: Recorder,
    timetable: Timetable,
    stop: StopSignal,
    module: TrainingModule,
) -> Trainer:
    """A Trainer with the callbacks that the config asks for."""
    watch = {"monitor": config["monitor"], "patience": config["patience"]}
    every = {name: config[f"checkpoint_{name}"] for name in ("every_n_steps", "every_n_minutes")}
    callbacks = [
        *guards(recorder.journal, timetable, on_nonfinite=config["on_nonfinite"]),
        recorder,
        *(best_and_stopping(folder, **watch) if dataset.val else []),
        Checkpointer(folder / "checkpoints", recorder, timetable, stop, **every),
    ]
    options = config["accelerator"] | {name: config[name] for name in TRAINER_KEYS}
    num_params = sum(parameter.numel() for parameter in module.parameters())
    num_threads = options.pop("num_threads") or threads_before(folder)
    use_threads(num_threads, num_params=num_params, batch_size=config["batch_size"])
    return make_trainer(folder, callbacks, num_steps=timetable.num_steps, **options)


def threads_before(folder: Path) -> int | None:
    """The CPU threads of a resumed run's last attempt: how a sum is shared out changes its rounding."""
    before = [record["num_threads"] for record in read(folder) if record["kind"] == "start"]
    return before[-1] if before else None


def train_batches(config: Config, dataset: Dataset) -> Batches:
    """The batches of an epoch, in an order that the run's seed and the epoch decide."""
    num_parts = config["accumulate_grad_batches"]
    return Batches(dataset.train, batch_size=config["batch_size"], num_parts=num_parts, seed=config["seed"])


def test_best(dataset: Dataset, folder: Path, module: TrainingModule, trainer: Trainer) -> None:
    """Go back to the best checkpoint and test it."""
    best = folder / "checkpoints" / "best.ckpt"
    if best.exists():
        checkpoint = VerifiedCheckpointIO().load_checkpoint(best, map_location="cpu")
        module.load_state_dict(checkpoint["state_dict"])
    if dataset.test is not None:
        trainer.test(
            module, Batches.whole(dataset.test, can_be_cut=module.criterion.can_be_cut), verbose=False
        )


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
    optimizer: Callable[..., Optimizer] = functools.partial(build, config["optimizer"], "optimizer")
    scheduler = _scheduler(config["scheduler"], num_steps)
    if any(True for _ in net.parameters()):
        scheduler(optimizer(net.parameters()))  # so that keys they refuse are told now
    criterion = Criterion(build(config["criterion"], "criterion", **takes_task))
    _check_parts(criterion, config, dataset)
    return TrainingModule(
        net,
        criterion,
        optimizer=optimizer,
        scheduler=scheduler,
        task=dataset.task,
        target_scale=TargetScale(dataset.task, mean, scale, dataset.out_features),
    )


def _scheduler(node: Config, num_steps: int) -> Callable[[Optimizer], LRScheduler]:
    total = {"num_steps": num_steps} if accepts(node, "scheduler", "num_steps") else {}
    return lambda optimizer: build(node, "scheduler", optimizer, **total)


def _check_parts(criterion: Criterion, config: Config, dataset: Dataset) -> None:
    """What can go wrong only where a batch is computed in parts."""
    num_parts, batch_size = config["accumulate_grad_batches"], config["batch_size"]
    if num_parts > 1 and not criterion.can_be_cut:
        raise ConfigError(
            f"accumulate_grad_batches={num_parts}: criterion={config['switches']['criterion']} is no plain "
            "sum or mean, so a batch of it can't be computed in parts; expected 1"
        )
    num_last = len(dataset.train) % batch_size
    if config["val_every_n_steps"] and 0 < num_last < num_parts:
        raise ConfigError(
            f"val_every_n_steps: the last batch of an epoch has {num_last} rows, too few for "
            f"accumulate_grad_batches={num_parts}; expected another batch_size"
        )


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
