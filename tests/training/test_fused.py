"""Runs trained as one: each is what it is alone, touches no other, and goes on after a kill."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from resuming import SERVER, newest, unlike
from torch import Tensor

from primer import worker
from primer.config import compose
from primer.tracking.journal import Journal, points_of, read
from primer.training.batches import Batch
from primer.training.fused import FusedModule
from primer.training.stack import _cells

SETTINGS = {
    "sgd": ("optimizer=sgd", "optimizer.lr=0.1,0.01"),
    "momentum": ("optimizer=sgd", "optimizer.momentum=0.9", "optimizer.lr=0.05,0.01"),
    "adam": ("optimizer=adam", "optimizer.lr=0.01,0.001"),
    "adamw": ("optimizer=adamw", "optimizer.weight_decay=0.1,0.3"),
    "rmsprop": ("optimizer=rmsprop", "optimizer.momentum=0.5", "optimizer.lr=0.003,0.001"),
}


def begin(folder: Path, *overrides: str) -> Path:
    """A run folder as the controller leaves it to a worker."""
    folder.mkdir(parents=True)
    config = compose([*overrides, "tracking=off"])
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    with Journal(folder) as journal:
        journal.write("run", id="0", time=0)
    return folder


def variants(*overrides: str, seeds: Sequence[int] = (0, 1)) -> list[list[str]]:
    """Overrides of each run: for each seed one with each value of the key that has two."""
    (swept,) = [text for text in overrides if "," in text]
    key, _, values = swept.partition("=")
    fixed = [text for text in overrides if text != swept]
    return [[*fixed, f"{key}={value}", f"seed={seed}"] for seed in seeds for value in values.split(",")]


def together(root: Path, runs: Sequence[Sequence[str]], kill_at: int | None = None) -> tuple[list[Path], int]:
    """Train runs as one in a process of their own; their folders, and its exit code."""
    folders = [root / str(number) for number in range(len(runs))]
    for folder, overrides in zip(folders, runs, strict=True):
        if not folder.exists():
            begin(folder, *overrides)
    process = SERVER.Process(target=_train, args=(folders, kill_at))
    process.start()
    process.join()
    assert process.exitcode is not None
    return folders, process.exitcode


def _train(folders: Sequence[Path], kill_at: int | None) -> None:
    with (folders[0] / "worker.log").open("ab") as log:
        os.dup2(log.fileno(), 2)
    if kill_at is not None:
        take_steps = FusedModule._take_steps

        def step_or_die(self: FusedModule, batches: list[Batch]) -> None:
            take_steps(self, batches)
            if self.step >= kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

        FusedModule._take_steps = step_or_die  # type: ignore[method-assign]
    sys.exit(worker.main_together(folders, [{}] * len(folders)))


def alone(folder: Path, *overrides: str) -> Path:
    """The same run, trained alone in this process."""
    worker.main(begin(folder, *overrides) / "config.yaml")
    return folder


def largest_difference(one: Path, other: Path) -> float:
    """Of all points, relative, and of all weights; infinite where they have not the same."""
    mine, theirs = points_of(read(one)), points_of(read(other))
    if mine.keys() != theirs.keys():
        return float("inf")
    weights = [state["state_dict"] for state in (newest(one), newest(other))]
    apart = [float((weights[0][key] - weights[1][key]).abs().max()) for key in weights[0] if "net." in key]
    return max(*apart, *(abs(mine[key] - theirs[key]) / max(abs(theirs[key]), 1e-9) for key in mine))


@pytest.mark.parametrize("activation", ["relu", "custom_relu", "gelu"])
@pytest.mark.parametrize("data", ["digits", "diabetes"])
@pytest.mark.parametrize("settings", SETTINGS)
def test_in_float64_each_is_what_it_is_alone(
    settings: str, data: str, activation: str, tmp_path: Path
) -> None:
    common = (f"data={data}", f"activation={activation}", "accelerator.precision=64", "max_epochs=null")
    runs = variants(*common, "max_steps=200", *SETTINGS[settings])
    folders, exit_code = together(tmp_path / "together", runs)
    assert exit_code == 0, (folders[0] / "worker.log").read_text()
    for number, overrides in enumerate(runs):
        other = alone(tmp_path / f"alone-{number}", *overrides)
        assert largest_difference(folders[number], other) < 1e-10


KINDS = {
    "scheduler": ("optimizer=sgd", "scheduler=warmup_cosine", "scheduler.warmup_steps=3,9"),
    "clipped": ("optimizer=sgd", "optimizer.lr=0.1,1", "gradient_clip_val=0.3"),
    "parts": ("accumulate_grad_batches=3", "optimizer.lr=0.01,0.001"),
    "early": ("optimizer=sgd", "optimizer.lr=0.5,4", "patience=2", "val_every_n_steps=3"),
    "batches": ("batch_size=7", "optimizer.lr=0.01,0.001"),
    "nets": ("net=manual", "optimizer.lr=0.01,0.001"),
    "nonfinite": ("data=diabetes", "optimizer=sgd", "optimizer.lr=0.01,1e19"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_in_float32_each_is_what_it_is_alone_within_rounding(kind: str, tmp_path: Path) -> None:
    runs = variants("data=iris", "max_epochs=9", *KINDS[kind])
    folders, exit_code = together(tmp_path / "together", runs)
    assert exit_code == 0, (folders[0] / "worker.log").read_text()
    for number, overrides in enumerate(runs):
        other = alone(tmp_path / f"alone-{number}", *overrides)
        if "optimizer.lr=1e19" in overrides:
            (error,), (expected,) = (
                [record["message"] for record in read(folder) if record["kind"] == "error"]
                for folder in (folders[number], other)
            )
            assert error == expected
            assert points_of(read(folders[number])).keys() == points_of(read(other)).keys()
        else:
            assert largest_difference(folders[number], other) < 1e-4


def test_one_that_diverges_leaves_the_others_as_they_would_be_without_it(tmp_path: Path) -> None:
    common = ("data=diabetes", "optimizer=sgd", "max_epochs=9")
    fine = [[*common, "optimizer.lr=0.01", f"seed={seed}"] for seed in range(3)]
    with_it, _ = together(tmp_path / "with", [*fine, [*common, "optimizer.lr=1e19", "seed=3"]])
    without, _ = together(tmp_path / "without", [*fine, [*common, "optimizer.lr=0.001", "seed=3"]])
    for one, other in zip(with_it[:3], without[:3], strict=True):
        assert unlike(one, other) == []
    kinds = [record["kind"] for record in read(with_it[3])]
    assert kinds[-1] == "error"
    assert [read(folder)[-1]["kind"] for folder in with_it[:3]] == ["done"] * 3


@pytest.mark.parametrize("step", [1, 23, 60])
def test_killed_and_resumed_together_is_as_if_undisturbed(step: int, tmp_path: Path) -> None:
    runs = variants(
        *("data=iris", "batch_size=16", "max_epochs=null", "max_steps=60", "checkpoint_every_n_steps=5"),
        *("optimizer=adam", "optimizer.lr=0.1,0.01", "scheduler=cosine", "val_every_n_steps=4", "patience=6"),
    )
    undisturbed, exit_code = together(tmp_path / "undisturbed", runs)
    assert exit_code == 0, (undisturbed[0] / "worker.log").read_text()
    _, exit_code = together(tmp_path / "killed", runs, kill_at=step)
    assert exit_code == -signal.SIGKILL
    folders, exit_code = together(tmp_path / "killed", runs)
    assert exit_code == 0, (folders[0] / "worker.log").read_text()
    for one, other in zip(folders, undisturbed, strict=True):
        assert unlike(one, other) == []


def test_one_of_them_goes_on_alone(tmp_path: Path) -> None:
    runs = variants("data=iris", "max_epochs=9", "checkpoint_every_n_steps=5", "optimizer.lr=0.1,0.01")
    undisturbed, _ = together(tmp_path / "undisturbed", runs)
    folders, exit_code = together(tmp_path / "killed", runs, kill_at=23)
    assert exit_code == -signal.SIGKILL
    assert worker.main(folders[0] / "config.yaml") == 0
    assert largest_difference(folders[0], undisturbed[0]) < 1e-4
    assert not [record for record in read(folders[0]) if record["kind"] == "warning"]


def test_a_checkpoint_is_that_of_the_run_alone(tmp_path: Path) -> None:
    runs = variants("data=iris", "max_epochs=2", "optimizer=sgd", "optimizer.momentum=0.9,0.5")
    folders, _ = together(tmp_path / "together", runs)
    mine, theirs = newest(folders[0]), newest(alone(tmp_path / "alone", *runs[0]))
    assert list(_outline(mine)) == list(_outline(theirs))
    best = [torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True) for folder in folders]
    assert [content.keys() for content in best] == [{"net", "val/loss"}] * 4


def _outline(node: Any, place: str = "") -> Iterator[str]:
    """The keys of a checkpoint, with the shape of what is there."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield from _outline(value, f"{place}.{key}")
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from _outline(value, f"{place}[{index}]")
    else:
        yield f"{place} {tuple(node.shape) if isinstance(node, Tensor) else type(node).__name__}"


def test_large_nets_are_computed_in_cells_and_are_what_they_are_alone(tmp_path: Path) -> None:
    """The net of the article: of twelve a cache holds some, and their products are oneDNN's."""
    runs = [["experiment=primer/two_layer", "max_steps=40", "net.bias=true", f"seed={n}"] for n in range(12)]
    folders, exit_code = together(tmp_path / "together", runs)
    assert exit_code == 0
    (start,) = [record for record in read(folders[0]) if record["kind"] == "start"]
    assert len(_cells(12, 8 * start["num_params"])) > 1
    for number in (0, 11):
        mine = alone(tmp_path / f"alone_{number}", *runs[number])
        assert largest_difference(mine, folders[number]) < 1e-4
