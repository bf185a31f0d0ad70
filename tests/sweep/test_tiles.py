"""Which jobs of a sweep train as one: alike in all but what can be stacked, in as many cuts as slots."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from primer.config import Composer
from primer.sweep.plan import plan
from primer.sweep.tiles import MAX_FUSED, Tile, tiles_of, told

SWEPT = ["optimizer.lr", "seed", "activation", "on_nonfinite"]


def tiled(
    root: Path, overrides: Sequence[Sequence[str]], num_slots: int = 1, max_fused: int = MAX_FUSED
) -> list[Tile]:
    """The tiles of jobs with these options."""
    jobs = plan(
        overrides,
        first=0,
        folder=root,
        subdir=lambda number, _: str(number),
        switched=SWEPT,
        composer=Composer(),
    )
    return tiles_of(jobs, num_slots=num_slots, max_fused=max_fused)


def numbers(tiles: Sequence[Tile]) -> list[list[int]]:
    """The numbers of the jobs of each."""
    return [[job.number for job in tile.jobs] for tile in tiles]


def grid(**values: Sequence[str]) -> list[list[str]]:
    """Each combination, in the order of a sweep; `__` is a dot."""
    keys = [key.replace("__", ".") for key in values]
    return [
        [f"{key}={value}" for key, value in zip(keys, some, strict=True)]
        for some in itertools.product(*values.values())
    ]


RATES = grid(seed=["0", "1", "2"], optimizer__lr=["0.1", "0.2"])


@pytest.mark.parametrize(
    ("num_slots", "max_fused", "expected"),
    [
        (1, MAX_FUSED, [[0, 2, 4, 1, 3, 5]]),
        (2, MAX_FUSED, [[0, 2, 4], [1, 3, 5]]),
        (4, MAX_FUSED, [[0, 2], [4, 1], [3, 5]]),  # of two jobs at least
        (1, 4, [[0, 2, 4], [1, 3, 5]]),
        (1, 5, [[0, 2, 4], [1, 3, 5]]),
        (1, 2, [[0, 2], [4, 1], [3, 5]]),
        (2, 6, [[0, 2, 4], [1, 3, 5]]),
    ],
)
def test_jobs_of_one_optimizer_stay_together(
    tmp_path: Path, num_slots: int, max_fused: int, expected: list[list[int]]
) -> None:
    tiles = tiled(tmp_path, RATES, num_slots, max_fused)
    assert numbers(tiles) == sorted(expected, key=lambda some: some[0])
    assert {tile.alone for tile in tiles} == {None}


def test_what_is_not_stacked_keeps_jobs_apart(tmp_path: Path) -> None:
    others = [["activation=tanh"], ["batch_size=7"], ["scheduler=cosine"], ["optimizer=sgd"], ["data=iris"]]
    jobs = [
        [],
        *others,
        ["seed=5"],
        ["data.seed=5"],
        ["optimizer.betas=[0.8,0.9]"],
        ["scheduler=cosine", "seed=1"],
    ]
    found = {tuple(sorted(some)) for some in numbers(tiled(tmp_path, jobs))}
    assert found == {(0, 6, 7, 8), (1,), (2,), (3, 9), (4,), (5,)}
    assert told(tiled(tmp_path, [["seed=0"], ["data=iris"]]), SWEPT) == [
        "2 alone: no other run has its shape"
    ]


ALONE = {
    "on_nonfinite=skip": "on_nonfinite=skip",
    "compile=true": "compile=true",
    "accelerator.precision=bf16-mixed": "accelerator.precision=bf16-mixed",
    "accelerator=ddp_cpu": "accelerator=ddp_cpu is several processes",
}


@pytest.mark.parametrize("override", ALONE)
def test_what_keeps_a_job_alone(tmp_path: Path, override: str) -> None:
    tiles = tiled(tmp_path, [[override, "seed=0"], ["seed=1"], [override, "seed=2"], ["seed=3"]])
    assert numbers(tiles) == [[0], [1, 3], [2]]
    assert told(tiles, SWEPT)[1:] == [f"2 alone: {ALONE[override]}"]


def test_as_many_as_asked_and_as_fit_the_memory(tmp_path: Path) -> None:
    one = tiled(tmp_path, RATES, 3, 1)
    assert numbers(one) == [[0], [1], [2], [3], [4], [5]]
    assert {tile.alone for tile in one} == {"hydra.launcher.max_fused=1"}
    assert len(tiled(tmp_path, grid(seed=[str(seed) for seed in range(MAX_FUSED + 1)]))) == 2
    rows = tmp_path / "rows.csv"
    table = [[*words, "data=table", f"data.path={rows}", "data.target=y"] for words in RATES]
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for size, num_slots, num_tiles in ((100, 1, 1), (memory // 5, 1, 3), (memory // 5, 2, 6), (memory, 1, 6)):
        with rows.open("wb") as file:
            file.truncate(size)  # sparse
        assert len(tiled(tmp_path, table, num_slots)) == num_tiles


def test_a_plan_in_words(tmp_path: Path) -> None:
    jobs = grid(
        activation=["relu", "tanh"],
        on_nonfinite=["stop", "skip"],
        optimizer__lr=["0.1", "0.2"],
        seed=["0", "1"],
    )
    assert told(tiled(tmp_path, jobs, num_slots=2), SWEPT) == [
        "4 runs train as one, in 2 processes: activation=relu on_nonfinite=stop",
        "4 runs train as one, in 2 processes: activation=tanh on_nonfinite=stop",
        "8 alone: on_nonfinite=skip",
    ]
    assert told(tiled(tmp_path, RATES), SWEPT) == ["6 runs train as one"]
    (tile,) = tiled(tmp_path, [["seed=0"], ["seed=1"]])
    for job in tile.jobs:
        job.config["net"]["_target_"] = "own_nets.Own"
    assert told([tile], SWEPT)[1:] == [
        "if what net=two_layer computes can be stacked, which is asked before they train"
    ]
    assert told([Tile((job,)) for job in tile.jobs], SWEPT) == ["2 alone: no other run has its shape"]
