"""What a worker does once its data are sound: build the parts, fit, test the best, save it as a model.

Imports torch and Lightning, five seconds of it, so `worker` imports this last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from threading import Timer
from typing import Any

from primer.data import Dataset
from primer.parts import (
    Config,
    due_of,
    fixed_length_of,
    keep_model,
    make_module,
    model_saver,
    recorder_of,
    timetable_of,
    trainer_of,
    watch_of,
)
from primer.stopping import StopSignal
from primer.tracking.journal import Journal
from primer.training.batches import Batches, Legs, Whole
from primer.training.checkpointer import Checkpointer
from primer.training.compiled import Compiler
from primer.training.forking import write_first_checkpoint
from primer.training.resumption import resumption
from primer.training.trainer import on_its_device, use_threads

IMPORTS_AFTER_S = 2.0  # chosen: a second of imports would be most of a short training


def fit(config: Config, dataset: Dataset, folder: Path, journal: Journal, stop: StopSignal) -> None:
    """Train what the config names on `dataset`, and leave checkpoints, points and model in `folder`.

    Goes on from the newest whole checkpoint that is there.
    """
    timetable = timetable_of(config, dataset)
    module = make_module(config, dataset, timetable.num_steps)
    write_first_checkpoint(folder / "checkpoints", module, timetable)
    begin = resumption(folder, journal, timetable, fixed_length=fixed_length_of(config))
    num_params = sum(parameter.numel() for parameter in module.parameters())
    asked = config["accelerator"]["num_threads"] or begin.num_threads
    num_threads = use_threads(asked, num_params=num_params, batch_size=config["batch_size"])
    recorder, watch = recorder_of(config, journal, begin), watch_of(config, dataset, folder)
    due = due_of(config, begin.timetable, stop)
    checkpointer = Checkpointer(folder / "checkpoints", recorder, begin.timetable, due, watch)
    looking: list[Any] = [recorder.guard, recorder, *([watch] if watch else []), checkpointer]
    batches = train_batches(config, dataset)
    if config.get("compile"):
        looking.append(Compiler(lambda: next(batches.after(begin.step)), journal))
    legs = Legs(batches.after, begin.timetable, step=begin.step, has_val=bool(watch))
    trainer = trainer_of(config, folder, looking, num_legs=legs.num_left)
    batches.place(on_its_device(trainer))
    facts = {"num_steps": begin.timetable.num_steps, "num_threads": num_threads, "step": begin.step}
    journal.write("start", **facts, num_params=num_params, device=str(trainer.strategy.root_device))
    can_be_cut = module.criterion.can_be_cut
    val_batches = Whole(dataset.val, can_be_cut=can_be_cut) if dataset.val else None
    has_model = bool(config["tracking"].get("log_model"))
    with _beside(model_saver) if has_model else nullcontext():
        trainer.fit(module, legs, val_batches, ckpt_path=begin.checkpoint)
    stop.obey_at_once()
    if watch:
        watch.take_best(module)
    if dataset.test is not None:
        trainer.test(module, Whole(dataset.test, can_be_cut=can_be_cut), verbose=False)
    recorder.write_summary()
    if has_model:
        keep_model(model_saver(), folder, module.net, dataset, journal)
        stop.obey()  # where somebody else's `except:` swallowed it


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


def train_batches(config: Config, dataset: Dataset) -> Batches:
    """The batches of an epoch, in an order that the run's seed and the epoch decide."""
    num_parts = config["accumulate_grad_batches"]
    return Batches(dataset.train, batch_size=config["batch_size"], num_parts=num_parts, seed=config["seed"])
