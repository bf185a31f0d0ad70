"""What a worker does for a group of runs: as `fitting` for one, with their nets trained as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path
from typing import Any

from primer.config.identity import settings_of
from primer.data import Dataset, Split
from primer.errors import CantFuse
from primer.gating import pass_gate
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
from primer.tracking.journal import Journal, warn_once
from primer.training.batches import Legs, StackedBatches, StackedWhole
from primer.training.checkpoint import Checkpoints, VerifiedCheckpointIO
from primer.training.fused import FusedModule
from primer.training.fusible import check_fusible
from primer.training.member import Member
from primer.training.randomness import random_states
from primer.training.resumption import Resumption, resumption
from primer.training.spans import Earlier
from primer.training.stack import Stack
from primer.training.timetable import Timetable
from primer.training.trainer import on_its_device, use_threads


@dataclass(frozen=True)
class Run:
    """A run of a group: its frozen config, its data and what is to be told of them, folder and journal."""

    config: Config
    dataset: Dataset
    facts: dict[str, Any]
    folder: Path
    journal: Journal


def fit_together(runs: list[Run], stop: StopSignal) -> None:
    """Train runs that differ in what can be stacked, and leave of each what it would leave alone.

    Raises CantFuse, before anything is written, where they can't be trained as one.
    """
    runs.sort(key=_settings)
    _check_sizes(runs)
    config, dataset = runs[0].config, runs[0].dataset
    timetable = timetable_of(config, dataset)
    begins = _begins(runs, timetable)
    step = min((begin.step for begin in begins if not begin.is_over), default=timetable.num_steps)
    members = [_member(run, begin) for run, begin in zip(runs, begins, strict=True)]
    places = [(run.folder, run.journal) for run in runs]
    pass_gate(config.get("verification", "off"), members[0].module, dataset, places)
    facts = {"num_steps": timetable.num_steps, "step": step, **_threads(config, members[0])}
    batches = _train_batches(runs)
    legs = Legs(batches.after, timetable, step=step, has_val=dataset.val is not None)
    trainer = trainer_of(config, runs[0].folder, [], num_legs=legs.num_left)
    for member in members:
        trainer.precision_plugin.convert_module(member.module)
    device = trainer.strategy.root_device
    modules, earlier = [member.module for member in members], _go_on(members, begins)
    stack = Stack(modules, _spans(runs), earlier, has_cells=device.type == "cpu")
    fused = FusedModule(stack, members, timetable, due_of(config, timetable, stop), step=step)
    for module in (stack, *modules):
        module.to(device)
    batches.place(on_its_device(trainer))
    check_fusible(stack, list(islice(batches.after(0), 2)))
    for run in runs:
        run.journal.write("data", **run.facts)
        warn_once(run.journal, run.dataset.notes)
        run.journal.write("start", **facts, device=str(device), num_fused=len(runs))
    trainer.fit(fused, legs, _whole([run.dataset.val for run in runs], members[0]))
    stop.obey_at_once()
    for _, member in fused.finished():
        if member.watch:
            member.watch.take_best(member.module)
    stack.take_weights()
    if dataset.test is not None:
        trainer.test(fused, _whole([run.dataset.test for run in runs], members[0]), verbose=False)
    _end(runs, members, stop)


def _threads(config: Config, member: Member) -> dict[str, int]:
    """Set the CPU threads that a net of this size takes; what is to be told of both."""
    num_params = sum(parameter.numel() for parameter in member.module.parameters())
    asked = config["accelerator"]["num_threads"]
    num_threads = use_threads(asked, num_params=num_params, batch_size=config["batch_size"])
    return {"num_params": num_params, "num_threads": num_threads}


def _end(runs: list[Run], members: list[Member], stop: StopSignal) -> None:
    """The last of each run: its summary, and its model."""
    saver = None
    for run, member in zip(runs, members, strict=True):
        if member.error is None:
            member.recorder.write_summary()
            if run.config["tracking"].get("log_model"):
                saver = saver or model_saver()
                keep_model(saver, run.folder, member.module.net, run.dataset, run.journal)
                stop.obey()
            run.journal.write("done")


def _settings(run: Run) -> str:
    """What members whose optimizer is one have in common; sorted by it, they are neighbours."""
    return settings_of(run.config)


def _spans(runs: list[Run]) -> list[range]:
    spans, start = [], 0
    for _, group in groupby(runs, key=_settings):
        spans.append(range(start, start := start + len(list(group))))
    return spans


def _check_sizes(runs: list[Run]) -> None:
    sizes = {
        (run.dataset.in_features, run.dataset.out_features, *(len(split or ()) for split in _splits(run)))
        for run in runs
    }
    if len(sizes) > 1:
        raise CantFuse("their data have other numbers of rows or columns")


def _splits(run: Run) -> tuple[Split | None, ...]:
    return run.dataset.train, run.dataset.val, run.dataset.test


def _begins(runs: list[Run], timetable: Timetable) -> list[Resumption]:
    """Where the runs go on: after the last step that all have saved that have steps left."""
    begins = [
        resumption(run.folder, run.journal, timetable, fixed_length=fixed_length_of(run.config))
        for run in runs
    ]
    step = min((begin.step for begin in begins if not begin.is_over), default=0)
    for number, run in enumerate(runs):
        if begins[number].step > step and not begins[number].is_over:
            begins[number] = resumption(run.folder, run.journal, timetable, fixed_length=None, at_most=step)
    if any(begin.step != step and not begin.is_over for begin in begins):
        raise CantFuse("their newest checkpoints are of other steps")
    return begins


def _go_on(members: list[Member], begins: list[Resumption]) -> list[Earlier] | None:
    """Have members take up their checkpoints, if they have any."""
    if not any(begin.checkpoint for begin in begins):
        return None
    earlier = []
    for member, begin in zip(members, begins, strict=True):
        if begin.checkpoint is None:
            raise CantFuse("some have a checkpoint, others have none")
        content = VerifiedCheckpointIO().load_checkpoint(begin.checkpoint, map_location="cpu")
        member.is_training = not begin.is_over
        earlier.append(Earlier(member.go_on(content), member.is_training))
    return earlier


def _member(run: Run, begin: Resumption) -> Member:
    module = make_module(run.config, run.dataset, begin.timetable.num_steps)
    return Member(
        module,
        recorder_of(run.config, run.journal, begin),
        watch_of(run.config, run.dataset, run.folder),
        Checkpoints(run.folder / "checkpoints"),
        random_states(),
    )


def _train_batches(runs: Sequence[Run]) -> StackedBatches:
    config = runs[0].config
    return StackedBatches(
        [run.dataset.train for run in runs],
        batch_size=config["batch_size"],
        num_parts=config["accumulate_grad_batches"],
        seeds=[run.config["seed"] for run in runs],
    )


def _whole(splits: Sequence[Split | None], member: Member) -> StackedWhole | None:
    there = [split for split in splits if split is not None]
    return StackedWhole(there, can_be_cut=member.module.criterion.can_be_cut) if there else None
