"""What a worker does once its data are sound: build the parts, fit, test the best, save it as a model.

Imports torch and Lightning, five seconds of it, so `worker` imports this last.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from threading import Timer
from typing import Any

from primer.data import Dataset
from primer.gating import pass_gate
from primer.parts import (
    Config,
    due_of,
    fixed_length_of,
    keep_model,
    make_module,
    model_saver,
    recorder_of,
    replicas_of,
    timetable_of,
    trainer_of,
    watch_of,
    whole_net,
)
from primer.stopping import StopSignal
from primer.tracking.journal import Journal
from primer.training.batches import Batches, Legs, Whole
from primer.training.checkpointer import Checkpointer
from primer.training.compiled import Compiler
from primer.training.module import TrainingModule
from primer.training.replicas import Replicas
from primer.training.resumption import Resumption, joined, resumption, write_first_checkpoint
from primer.training.samples import SampleRecorder
from primer.training.timetable import Timetable
from primer.training.trainer import on_its_device, use_threads
from primer.vigil import Vigil

IMPORTS_AFTER_S = 2.0  # chosen: a second of imports would be most of a short training


def fit(
    config: Config,
    dataset: Dataset,
    folder: Path,
    journal: Journal,
    stop: StopSignal,
    vigil: Vigil | None = None,
) -> None:
    """Train what the config names on `dataset`, and leave checkpoints, points and model in `folder`.

    Goes on from the newest whole checkpoint that is there. One of several ranks, who keep `vigil`, does its
    share; the first one leaves what is left.
    """
    timetable, replicas = timetable_of(config, dataset), replicas_of(config)
    module = make_module(config, dataset, timetable.num_steps, replicas)
    if replicas.rank == 0:
        pass_gate(config.get("verification", "off"), module, dataset, [(folder, journal)])
    begin = _beginning(config, folder, journal, module, timetable, vigil)
    num_threads = _threads(config, module, begin)
    recorder = recorder_of(config, journal, begin, replicas)
    watch = watch_of(config, dataset, folder, replicas)
    due = due_of(config, begin.timetable, stop, replicas)
    checkpointer = Checkpointer(folder / "checkpoints", recorder, begin.timetable, due, watch)
    looking: list[Any] = [recorder.guard, recorder, *([watch] if watch else []), checkpointer]
    batches = train_batches(config, dataset, replicas)
    if config.get("compile"):
        looking.append(Compiler(lambda: next(batches.after(begin.step)), journal))
    if config.get("record_samples"):  # which `primer verify devices` compares
        looking.append(SampleRecorder(batches, folder / "samples" / f"{replicas.rank}.json"))
    legs = Legs(batches.after, begin.timetable, step=begin.step, has_val=bool(watch))
    watching = {"watching": vigil.begin} if vigil else {}
    trainer = trainer_of(config, folder, looking, num_legs=legs.num_left, replicas=replicas, **watching)
    batches.place(on_its_device(trainer))
    _tell_start(journal, begin, module, str(trainer.strategy.root_device), num_threads)
    split = partial(Whole, can_be_cut=module.criterion.can_be_cut, replicas=replicas)
    has_model = bool(config["tracking"].get("log_model")) and replicas.rank == 0
    with _beside(model_saver) if has_model else nullcontext():
        val = split(dataset.val) if dataset.val else None
        trainer.fit(module, legs, val, ckpt_path=begin.checkpoint)
    stop.obey_at_once()
    if watch:
        watch.take_best(module)
    if dataset.test is not None:
        trainer.test(module, split(dataset.test), verbose=False)
    recorder.write_summary()
    net = whole_net(module, config, dataset)
    if has_model:
        keep_model(model_saver(), folder, net, dataset, journal)
        stop.obey()  # where somebody else's `except:` swallowed it


def _tell_start(
    journal: Journal, begin: Resumption, module: TrainingModule, device: str, num_threads: int
) -> None:
    journal.write(
        "start",
        num_steps=begin.timetable.num_steps,
        num_threads=num_threads,
        step=begin.step,
        checkpoint=begin.checkpoint.name if begin.checkpoint else None,
        num_params=sum(parameter.numel() for parameter in module.parameters()),
        device=device,
        num_devices=module.replicas.size,
    )


def _beginning(
    config: Config,
    folder: Path,
    journal: Journal,
    module: TrainingModule,
    timetable: Timetable,
    vigil: Vigil | None,
) -> Resumption:
    if vigil and vigil.rank:
        return joined(folder, timetable, lambda: vigil.is_alone)
    write_first_checkpoint(folder / "checkpoints", module, timetable)
    return resumption(folder, journal, timetable, fixed_length=fixed_length_of(config))


def _threads(config: Config, module: TrainingModule, begin: Resumption) -> int:
    """Set the CPU threads of this process, and of the ranks that it starts."""
    num_threads = use_threads(
        config["accelerator"]["num_threads"] or begin.num_threads,
        num_params=sum(parameter.numel() for parameter in module.parameters()),
        batch_size=config["batch_size"],
        num_processes=module.replicas.size // config["accelerator"].get("num_nodes", 1),
    )
    if module.replicas.are_many:
        os.environ["OMP_NUM_THREADS"] = str(num_threads)  # else Lightning sets them
    return num_threads


@contextmanager
def _beside(imports: Callable[[], Any]) -> Iterator[None]:
    """Have something imported beside a training, if that takes long."""
    timer = Timer(IMPORTS_AFTER_S, imports)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()  # a process that ends in the midst of an import aborts


def train_batches(config: Config, dataset: Dataset, replicas: Replicas | None = None) -> Batches:
    """The batches of an epoch, in an order that the run's seed and the epoch decide."""
    return Batches(
        dataset.train,
        batch_size=config["batch_size"],
        num_parts=config["accumulate_grad_batches"],
        seed=config["seed"],
        replicas=replicas,
    )
