"""The random data of "A PyTorch Primer", made from the seed."""

from __future__ import annotations

import numpy as np

from primer.data.dataset import NUM_EXAMPLE_ROWS, Dataset, Split, content_digest
from primer.data.streams import Stream, generator


def synthetic(*, num_samples: int, in_features: int, out_features: int, seed: int) -> Dataset:
    """Return standard normal `x` and `y` with nothing to learn but the rows themselves; train split only.

    >>> data = synthetic(num_samples=64, in_features=1000, out_features=10, seed=0)
    >>> data.train.x.shape, data.train.y.shape, data.val
    ((64, 1000), (64, 10), None)
    """
    import pandas as pd

    # float64, then cast: the float32 stream of numpy is another sequence of numbers.
    numbers = generator(Stream.SYNTHETIC, seed)
    x = numbers.standard_normal((num_samples, in_features)).astype(np.float32)
    y = numbers.standard_normal((num_samples, out_features)).astype(np.float32)
    features = tuple(f"x{column}" for column in range(in_features))
    return Dataset(
        name="primer",
        source=f"synthetic seed={seed}",
        task="regression",
        train=Split(x, y),
        val=None,
        test=None,
        features=features,
        target="y",
        classes=(),
        target_mean=np.zeros(out_features),
        target_scale=np.ones(out_features),
        preprocessor=None,
        example=pd.DataFrame(x[:NUM_EXAMPLE_ROWS], columns=list(features)),
        digest=content_digest(x.tobytes() + y.tobytes(), features, "y"),
    )
