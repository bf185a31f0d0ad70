from __future__ import annotations

from itertools import combinations

import numpy as np

from primer.data.streams import Stream, generator


def test_streams_of_one_seed_are_unrelated() -> None:
    drawn = {stream: generator(stream, 0).standard_normal(1000) for stream in Stream}
    for one, other in combinations(Stream, 2):
        assert abs(np.corrcoef(drawn[one], drawn[other])[0, 1]) < 0.15


def test_the_largest_seed_is_a_seed() -> None:
    draws = {generator(Stream.SPLIT, seed).random() for seed in (0, 1, 2**32, 2**63 - 1)}
    assert len(draws) == 4
