from __future__ import annotations

from primer.data import synthetic
from primer.data.dataset import content_digest


def test_a_repr_fits_a_line_of_a_notebook() -> None:
    data = synthetic(num_samples=64, in_features=1000, out_features=10, seed=0)
    assert "1000 features -> 10 outputs" in repr(data)
    assert "64 train / 0 val / 0 test rows" in repr(data)
    assert repr(data.train) == "Split(64 rows, 1000 features)"


def test_the_digest_knows_content_features_and_target() -> None:
    digests = {
        content_digest(b"1,2", ["a", "b"], "y"),
        content_digest(b"1,3", ["a", "b"], "y"),
        content_digest(b"1,2", ["ab"], "y"),
        content_digest(b"1,2", ["a"], "by"),
        content_digest(b"1,2", ["a", "b"], "z"),
    }
    assert len(digests) == 5
    assert all(len(digest) == 16 for digest in digests)
