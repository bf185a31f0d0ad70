"""Streams of random numbers, one a purpose: drawing more for one never moves another."""

from __future__ import annotations

from enum import IntEnum

import numpy as np

from primer.data.dataset import Array


class Stream(IntEnum):
    """What random numbers are for. The values are fixed: changing one changes every run of every seed."""

    SPLIT = 1
    ORDER = 2
    SYNTHETIC = 3


def generator(stream: Stream, *key: int) -> np.random.Generator:
    """Return a fresh generator that depends on `stream` and the ints `key` (each >= 0) only.

    >>> float(generator(Stream.SPLIT, 0).random()) == float(generator(Stream.SPLIT, 0).random())
    True
    >>> float(generator(Stream.SPLIT, 0).random()) == float(generator(Stream.ORDER, 0).random())
    False
    """
    # PCG64 by name: what numpy's default_rng() stands for may change between versions.
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([*key, stream])))


def epoch_order(num_samples: int, *, seed: int, epoch: int) -> Array:
    """Return the permutation of the rows that `epoch` visits: (num_samples,) int64.

    A pure function of its arguments, so that a resumed run, another number of devices and a fused
    group of runs all see the same rows in the same order.

    >>> epoch_order(5, seed=0, epoch=0)
    array([1, 2, 4, 3, 0])
    """
    return generator(Stream.ORDER, seed, epoch).permutation(num_samples).astype(np.int64, copy=False)
