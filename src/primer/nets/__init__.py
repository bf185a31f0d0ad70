"""One net, written four ways: Linear, ReLU, Linear, from `(batch, in_features)` to `(batch, out_features)`.

All are built by `(in_features, out_features, activation, *, hidden_dim, bias=True)` and start from the same
weights under the same seed of torch: to switch the net is to switch how the gradient comes about, no more.
"""

from __future__ import annotations

from primer.nets.manual import Manual
from primer.nets.sequential import sequential
from primer.nets.tensors import Tensors
from primer.nets.two_layer import TwoLayer

__all__ = ["Manual", "Tensors", "TwoLayer", "sequential"]
