"""Batches: each row once an epoch, an order that only (seed, epoch) decide, parts that add up."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from primer.data import Split
from primer.training.batches import Batches, Legs, Whole
from primer.training.timetable import Timetable


def split_of(num_rows: int) -> Split:
    rows = np.arange(num_rows, dtype=np.float32)[:, None]
    return Split(rows, rows)


def seen(batches: Batches, epoch: int) -> list[float]:
    return [float(value) for batch in batches.epoch(epoch) for x, _, _ in batch for value in x.flatten()]


@given(
    num_rows=st.integers(1, 50),
    batch_size=st.integers(1, 60),
    num_parts=st.integers(1, 5),
    seed=st.integers(0, 2**63 - 1),
)
def test_each_row_once_in_batches_of_the_size_asked(
    num_rows: int, batch_size: int, num_parts: int, seed: int
) -> None:
    batches = Batches(split_of(num_rows), batch_size=batch_size, num_parts=num_parts, seed=seed)
    parts = [part for batch in batches.epoch(0) for part in batch]
    assert sorted(seen(batches, 0)) == list(range(num_rows))
    assert all(len(x) <= num_in_batch <= batch_size for x, _, num_in_batch in parts)
    assert sum(len(x) / num_in_batch for x, _, num_in_batch in parts) == pytest.approx(
        -(-num_rows // batch_size)
    )


def test_the_order_is_a_function_of_seed_and_epoch_alone() -> None:
    def order(seed: int, epoch: int) -> list[float]:
        return seen(Batches(split_of(100), batch_size=10, seed=seed), epoch)

    torch.manual_seed(1)
    first = order(0, 3)
    torch.manual_seed(2)
    assert order(0, 3) == first
    assert order(0, 4) != first
    assert order(1, 3) != first


def test_parts_do_not_change_which_rows_a_batch_has() -> None:
    whole = Batches(split_of(20), batch_size=8, seed=0).epoch(0)
    cut = Batches(split_of(20), batch_size=8, num_parts=2, seed=0).epoch(0)
    for batch, parts in zip(whole, cut, strict=True):
        assert [len(batch), len(parts)] == [1, 2]
        assert torch.equal(batch[0][0], torch.cat([x for x, _, _ in parts]))


def test_a_full_batch_is_not_shuffled() -> None:
    assert seen(Batches(split_of(9), batch_size=9, seed=0), 5) == list(range(9))


@pytest.mark.parametrize("step", [0, 1, 2, 3, 7])
def test_after_a_step_come_the_batches_that_would_have_come(step: int) -> None:
    batches = Batches(split_of(20), batch_size=8, seed=0)  # 3 steps an epoch
    undisturbed = [batch[0][0].tolist() for batch in islice(batches.after(0), 12)]
    assert [batch[0][0].tolist() for batch in islice(batches.after(step), 12 - step)] == undisturbed[step:]


@pytest.mark.parametrize(
    ("step", "has_val", "lengths"),
    [(0, True, [5, 5, 2]), (3, True, [2, 5, 2]), (3, False, [9]), (12, True, [])],
)
def test_a_leg_ends_where_a_validation_follows(step: int, has_val: bool, lengths: list[int]) -> None:
    timetable = Timetable(num_rows=20, batch_size=8, num_steps=12, val_every_n_steps=5)
    legs = Legs(Batches(split_of(20), batch_size=8, seed=0).after, timetable, step=step, has_val=has_val)
    assert legs.num_left == len(lengths)
    assert [len(list(leg)) for _ in lengths for leg in legs] == lengths


def test_evaluation_cuts_a_large_split_into_parts_of_one_batch() -> None:
    parts = list(Whole(split_of(10_000)))
    assert len(Whole(split_of(10_000))) == 3
    assert [num_rows for _, _, num_rows in parts] == [10_000] * 3
    assert torch.cat([x for x, _, _ in parts]).flatten().tolist() == list(range(10_000))
    assert [(len(x), num_rows) for x, _, num_rows in Whole(split_of(10_000), can_be_cut=False)] == [
        (10_000,) * 2
    ]


@pytest.mark.parametrize(
    ("max_epochs", "max_steps", "num_steps"), [(3, None, 12), (3, 5, 5), (3, 50, 12), (None, 7, 7)]
)
def test_a_run_ends_at_the_first_of_its_limits(
    max_epochs: int | None, max_steps: int | None, num_steps: int
) -> None:
    limits = {"max_epochs": max_epochs, "max_steps": max_steps}
    found = Timetable.of(100, batch_size=32, **limits, val_every_n_steps=3)
    assert found == Timetable(num_rows=100, batch_size=32, num_steps=num_steps, val_every_n_steps=3)
