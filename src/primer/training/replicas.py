"""The processes that train one net together: each computes its share of a batch, and all have the sum.

Not torch's DistributedDataParallel: that averages over ranks, which is right for shares of one size alone,
looks for one backward a forward, and fails or hangs on weights that a rank's rows leave out. One call sums
the gradients of a step, a small one its loss and what the ranks have to agree on.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from torch import Tensor, distributed, nn

from primer.training.randomness import seed_generators
from primer.training.sharded import local

Wish = tuple[bool, bool]  # a signal asks the run to stop; it is time to save


class Replicas:
    """The ranks of a run, seen from one of them; most runs have one. `is_sharded`: weights are shared out.

    >>> Replicas().share(torch.arange(5), 2)
    (tensor([0, 1, 2]), tensor([3, 4]))
    >>> [Replicas(rank, 2).share(torch.arange(5), 1)[0].tolist() for rank in (0, 1)]
    [[0, 1, 2], [3, 4]]
    """

    def __init__(self, rank: int = 0, size: int = 1, *, is_sharded: bool = False) -> None:
        self.rank, self.size, self.is_sharded = rank, size, is_sharded
        self.wish: Callable[[], Wish] = lambda: (False, False)
        self._agreed: Tensor | None = None  # how many ranks had each wish, in the last step
        self.gradient_sum: Tensor | None = None  # of all entries of all ranks, where each has its own

    @property
    def are_many(self) -> bool:
        """Whether there is more than one, or the only one does as several would."""
        return self.size > 1 or self.is_sharded

    def share(self, rows: Tensor, num_parts: int) -> tuple[Tensor, ...]:
        """This rank's rows of a batch, in that many parts; some may be empty."""
        num_all = num_parts * self.size
        if num_all == 1:
            return (rows,)
        first = self.rank * num_parts
        return torch.tensor_split(rows, num_all)[first : first + num_parts]

    def sum_step(self, weights: Sequence[nn.Parameter], loss: Tensor) -> Tensor:
        """Sum the gradients of `weights` over all ranks, in place; returns the sum of their losses, a scalar.

        A weight that has no gradient on any rank is left without one.
        """
        there = [float(weight.grad is not None) for weight in weights]
        told = torch.tensor([*map(float, self.wish()), *there], dtype=torch.float64)
        numbers = [loss.detach().double(), self._gradient_sum(weights, loss)]
        told = torch.cat([torch.stack(numbers), told.to(loss.device, non_blocking=True)])
        works = [distributed.all_reduce(told, async_op=True)]
        if not self.is_sharded:  # else torch has done it
            for kind in dict.fromkeys(weight.dtype for weight in weights):  # in one order on all ranks
                works += self._sum([weight for weight in weights if weight.dtype == kind])
        for work in works:
            work.wait()
        if not all(there) and not self.is_sharded:
            for weight, num in zip(weights, told[4:].tolist(), strict=True):
                if num == 0:
                    weight.grad = None
        self._agreed = told[2:4]
        self.gradient_sum = told[1] if self.is_sharded else None
        return told[0].to(loss.dtype)

    def _gradient_sum(self, weights: Sequence[nn.Parameter], loss: Tensor) -> Tensor:
        """Of the entries that are this rank's alone."""
        own = [local(weight.grad).sum().double() for weight in weights if weight.grad is not None]
        return torch.stack(own).sum() if self.is_sharded and own else torch.zeros_like(loss).double()

    def _sum(self, weights: Sequence[nn.Parameter]) -> list[distributed.Work]:
        """Begin to sum the gradients of weights of one type: each becomes a view of one flat tensor."""
        given = [torch.zeros_like(weight) if weight.grad is None else weight.grad for weight in weights]
        flat = torch.cat([gradient.reshape(-1) for gradient in given])
        pieces = torch.split(flat, [weight.numel() for weight in weights])
        for weight, piece in zip(weights, pieces, strict=True):
            weight.grad = piece.view_as(weight)
        return [distributed.all_reduce(flat, async_op=True)]

    def agreed(self) -> Wish:
        """What any rank wished in the last step; the same on all of them."""
        if not self.are_many:
            return self.wish()
        if self._agreed is None:
            return False, False
        stop, save = self._agreed.tolist()
        return stop > 0, save > 0

    def total(self, values: Tensor) -> Tensor:
        """The sum over all ranks, in float64, on the CPU."""
        if not self.are_many:
            return values.double().cpu()
        # NCCL knows no others
        summed = values.double().to("cuda" if distributed.get_backend() == "nccl" else "cpu")
        distributed.all_reduce(summed)
        return summed.cpu()

    def share_buffers(self, buffers: Iterable[Tensor]) -> None:
        """Have all ranks go on with rank 0's, as a net that counts what it saw."""
        if self.are_many:
            for buffer in buffers:
                distributed.broadcast(buffer, src=0)

    def wait(self) -> None:
        """Wait for all ranks to come here."""
        if self.are_many:
            distributed.barrier()

    def seed(self, *key: int) -> None:
        """Seed this rank's generators by `key`, each rank's others: what they draw is for their own rows."""
        words = np.random.SeedSequence([*key, self.size, self.rank]).generate_state(1, np.uint64)
        seed_generators(int(words[0] >> np.uint64(1)))


def same_again() -> int:
    """A number that follows from the state of this process's generators, without drawing from them."""
    state = random.getstate()
    drawn = random.getrandbits(62)
    random.setstate(state)
    return drawn
