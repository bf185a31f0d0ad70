"""What each rank gets of a batch, or of a split: its own rows, all of them together, in the batch's order."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from primer.data import Split
from primer.training.batches import EVALUATED_ROWS, Batches, Part, Whole
from primer.training.replicas import Replicas


def split_of(num_rows: int) -> Split:
    rows = np.arange(num_rows, dtype=np.float32)[:, None]
    return Split(rows, -rows)


def joined(parts: list[Part]) -> Tensor:
    return torch.cat([x for x, _, _ in parts]).flatten()


@given(
    num_rows=st.integers(1, 60),
    batch_size=st.integers(1, 70),
    size=st.integers(1, 6),
    num_parts=st.integers(1, 4),
    seed=st.none() | st.integers(0, 2**63 - 1),
)
def test_the_shares_of_a_batch_are_the_batch(
    num_rows: int, batch_size: int, size: int, num_parts: int, seed: int | None
) -> None:
    """Joined rank by rank and part by part they are one device's batch, in parts that all have rows."""
    split = split_of(num_rows)
    alone = Batches(split, batch_size=batch_size, seed=seed)
    shared = [
        Batches(split, batch_size=batch_size, num_parts=num_parts, seed=seed, replicas=Replicas(rank, size))
        for rank in range(size)
    ]
    for number in (0, 1):
        epochs = [list(batches.epoch(number)) for batches in (alone, *shared)]
        for whole, *shares in zip(*epochs, strict=True):
            parts = [part for share in shares for part in share]
            assert torch.equal(joined(parts), joined(whole))
            assert all(len(x) and torch.equal(y, -x) for x, y, _ in parts)
            assert {num for _, _, num in parts} == {len(joined(whole))}
            assert all(len(share) <= num_parts for share in shares)
            sizes = [sum(len(x) for x, _, _ in share) for share in shares]
            assert max(sizes) - min(sizes) <= num_parts


@given(num_rows=st.integers(1, 3 * EVALUATED_ROWS), size=st.integers(1, 5), can_be_cut=st.booleans())
def test_the_shares_of_a_split_are_the_split(num_rows: int, size: int, can_be_cut: bool) -> None:
    """In as many parts on each rank, of which none is too large to evaluate at once."""
    split = split_of(num_rows)
    shares = [Whole(split, can_be_cut=can_be_cut, replicas=Replicas(rank, size)) for rank in range(size)]
    parts = [part for share in shares for part in share]
    assert torch.equal(joined(parts), torch.arange(num_rows, dtype=torch.float32))
    assert all(torch.equal(y, -x) for x, y, _ in parts)
    assert {num for _, _, num in parts} == {num_rows}
    assert len({len(share) for share in shares}) == 1
    assert not can_be_cut or max(len(x) for x, _, _ in parts) <= EVALUATED_ROWS
