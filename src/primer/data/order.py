"""The order in which an epoch visits the training rows."""

from __future__ import annotations

import numpy as np

from primer.data.dataset import Array
from primer.data.streams import Stream, generator


def epoch_order(num_samples: int, *, seed: int, epoch: int) -> Array:
    """Return the permutation of the rows that `epoch` visits: (num_samples,) int64.

    A pure function of its arguments, so that a resumed run, another number of devices and a fused
    group of runs all see the same rows in the same order.

    >>> epoch_order(5, seed=0, epoch=0)
    array([1, 2, 4, 3, 0])
    """
    return generator(Stream.ORDER, seed, epoch).permutation(num_samples).astype(np.int64, copy=False)
