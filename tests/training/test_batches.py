"""Batches: each row once an epoch, an order that only (seed, epoch) decide, parts that add up."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from primer.data import Split
from primer.training.batches import Batches


def split_of(num_rows: int) -> Split:
    rows = np.arange(num_rows, dtype=np.float32)[:, None]
    return Split(rows, rows)


def seen(batches: Batches, epoch: int) -> list[float]:
    batches.sampler.set_epoch(epoch)
    return [float(value) for x, _, _ in batches for value in x.flatten()]


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
    parts = list(batches)
    assert len(parts) == len(batches)
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
    whole = [set(x.flatten().tolist()) for x, _, _ in Batches(split_of(20), batch_size=8, seed=0)]
    cut = list(Batches(split_of(20), batch_size=8, num_parts=2, seed=0))
    joined = [
        set(cut[i][0].flatten().tolist()) | set(cut[i + 1][0].flatten().tolist()) for i in range(0, 6, 2)
    ]
    assert joined == whole


def test_a_full_batch_is_not_shuffled() -> None:
    assert seen(Batches(split_of(9), batch_size=9, seed=0), 5) == list(range(9))


def test_evaluation_cuts_a_large_split_into_parts_of_one_batch() -> None:
    batches = Batches.whole(split_of(10_000))
    assert [num_rows for _, _, num_rows in batches] == [10_000] * 3
    assert seen(batches, 1) == list(range(10_000))
