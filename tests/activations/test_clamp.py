"""clamp is the built-in, whatever slope the running torch gives it at 0."""

from __future__ import annotations

import torch

from primer.activations import clamp


def test_is_the_built_in_clamp() -> None:
    x = torch.tensor([-1.0, -0.0, 0.0, 1.0, torch.inf, -torch.inf, torch.nan], requires_grad=True)
    (ours,) = torch.autograd.grad(clamp(x).sum(), x)
    (theirs,) = torch.autograd.grad(x.clamp(min=0).sum(), x)
    assert torch.equal(ours, theirs)
    torch.testing.assert_close(clamp(x), torch.relu(x), rtol=0, atol=0, equal_nan=True)


def test_slope_at_0_is_the_documented_one() -> None:
    x = torch.zeros(1, requires_grad=True)
    clamp(x).sum().backward()
    assert x.grad.item() == (1 if torch.__version__ < (2, 14) else 0)
