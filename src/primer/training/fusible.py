"""Whether nets can be trained as one: asked of the first batch, with what it would cost alone."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from primer.errors import CantFuse
from primer.training.batches import Batch
from primer.training.module import TrainingModule
from primer.training.randomness import random_states
from primer.training.stack import Stack

TOLERANCE = 1e-4  # chosen: far above rounding, far below any other arithmetic


def check_fusible(stack: Stack, batch: Batch) -> None:
    """Raise CantFuse where the members' nets, stacked, would not do what each does alone.

    What a net does is recorded once, so it may not change itself or draw random numbers in its forward.
    """
    module = stack.members[0]
    if not stack.names:
        raise CantFuse("the net has no weights")
    if any(True for _ in module.net.buffers()):
        raise CantFuse("the net has buffers, as batch norm")
    x, y, num_rows = batch[0]
    module.net.train()
    before, generators = _attributes(module.net), random_states()
    alone = torch.stack([_loss(one, x[n], y[n], num_rows) for n, one in enumerate(stack.members)])
    if _attributes(module.net) != before:
        raise CantFuse("the net changes itself in its forward")
    if not _are_same(random_states(), generators):
        raise CantFuse("the net draws random numbers, as dropout")
    try:
        losses = torch.cat([stack.gradients(cell, x, y, num_rows)[0] for cell in stack.cells])
    except Exception as error:  # whatever a net of the user's does under vmap
        raise CantFuse(
            f"vmap refuses the net: {type(error).__name__}: {str(error).splitlines()[0]}"
        ) from None
    if not torch.allclose(losses, alone, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True):
        raise CantFuse("the stacked nets answer otherwise than each alone")


def _loss(module: TrainingModule, x: Tensor, y: Tensor, num_rows: int) -> Tensor:
    module.net.train()
    with torch.no_grad():
        loss: Tensor = module.criterion(module.net(x), y, num_rows)
    return loss


def _attributes(net: nn.Module) -> list[dict[str, Any]]:
    """What a net remembers besides its weights."""
    return [
        {name: repr(value) for name, value in vars(module).items() if name not in ("_parameters", "_modules")}
        for module in net.modules()
    ]


def _are_same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return all(_are_same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return all(_are_same(*pair) for pair in zip(one, other, strict=True))
    return bool(one == other)
