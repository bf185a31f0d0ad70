"""The built-in clamp as a ReLU."""

from __future__ import annotations

from torch import Tensor, nn


def clamp(x: Tensor) -> Tensor:
    """ReLU by the built-in clamp: `x: (*)` -> `(*)`, what is below 0 becomes 0.

    Beware at exactly 0: the slope is 1 up to torch 2.13 and 0 from 2.14
    (https://github.com/pytorch/pytorch/pull/191142); `torch.relu` has always had 0.

    >>> import torch
    >>> clamp(torch.tensor([-2.0, 0.5]))
    tensor([0.0000, 0.5000])
    """
    return x.clamp(min=0)


class Clamp(nn.Module):
    """`clamp` as a module: `x: (*)` -> `(*)`; its slope at 0 depends on the version of torch.

    >>> import torch
    >>> Clamp()(torch.tensor([-2.0, 0.5]))
    tensor([0.0000, 0.5000])
    """

    def forward(self, x: Tensor) -> Tensor:
        return clamp(x)
