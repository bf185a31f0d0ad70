"""Whether nets can be trained as one: asked of the first batch, with what it would cost alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from primer.errors import CantFuse, first_line
from primer.training.batches import Batch, Part
from primer.training.module import TrainingModule
from primer.training.randomness import random_states
from primer.training.snapshot import difference, snapshot
from primer.training.stack import Stack

HOOKS = ("_backward_hooks", "_backward_pre_hooks", "_post_accumulate_grad_hooks")  # of tensors and modules
TOLERANCE = 1e-4  # chosen: far above rounding, far below any other arithmetic


def check_fusible(stack: Stack, batches: Sequence[Batch]) -> None:
    """Raise CantFuse where the members' nets, stacked, would not do what each does alone.

    What the first one's net and criterion do is recorded once, for all: they may not differ in more than
    weights, change themselves or draw random numbers, nor change a tensor in place. Losses and gradients are
    compared for each of some batches.
    """
    _check_weights(stack)
    for module in stack.members:
        module.net.train()
    before, generators = snapshot(_recorded(stack.members[0])), random_states()
    for module in stack.members[1:]:
        if path := difference(before, snapshot(_recorded(module))):
            raise CantFuse(f"they differ in more than weights: {path}")
    alone = [_alone(stack, batch[0]) for batch in batches]
    if path := difference(before, snapshot(_recorded(stack.members[0]))):
        raise CantFuse(f"what they compute changes in training: {path}")
    if difference(snapshot(generators), snapshot(random_states())) is not None:
        raise CantFuse("the net draws random numbers, as dropout")
    for batch, expected in zip(batches, alone, strict=True):
        try:
            found = _stacked(stack, batch[0])
        except CantFuse:
            raise
        except Exception as error:  # whatever a net of the user's does under vmap
            message = f"the nets can't be stacked: {type(error).__name__}: {first_line(error)}"
            raise CantFuse(message) from None
        if not all(map(_are_close, found, expected)):
            raise CantFuse("the stacked nets answer otherwise than each alone")


def _check_weights(stack: Stack) -> None:
    net = stack.members[0].net
    if not stack.names:
        raise CantFuse("the net has no weights")
    if not all(weight.requires_grad for weight in net.parameters()):
        raise CantFuse("some weights of the net are frozen")
    if any(True for _ in net.buffers()):
        raise CantFuse("the net has buffers, as batch norm")
    holders = [*net.parameters(), *net.modules()]
    if any(getattr(holder, name, None) for holder in holders for name in HOOKS):
        raise CantFuse("the net has hooks on its gradients")


def _recorded(module: TrainingModule) -> dict[str, Any]:
    """What is recorded of a member for all of them."""
    return {"net": module.net, "criterion": module.criterion}


def _alone(stack: Stack, part: Part) -> list[Tensor]:
    """The losses of all members, and the gradients of each of their weights, as each computes them alone."""
    x, y, num_rows = part
    found = []
    for number, module in enumerate(stack.members):
        module.net.train()
        with torch.enable_grad():
            loss = module.loss_of(x[number], y[number], num_rows)
            gradients = torch.autograd.grad(loss, list(module.net.parameters()), materialize_grads=True)
        found.append([loss.detach(), *gradients])
    return [torch.stack(values) for values in zip(*found, strict=True)]


def _stacked(stack: Stack, part: Part) -> list[Tensor]:
    """The same, as the stack computes them."""
    found = []
    for cell in stack.cells:
        losses, gradient = stack.gradients(cell, *part)
        found.append([losses, *stack.layout.weights(gradient.clone())])
    return [torch.cat(values) for values in zip(*found, strict=True)]


def _are_close(one: Tensor, other: Tensor) -> bool:
    """Whether values agree, but for what is small beside the member's largest; (members, ...)."""
    one, other = one.reshape(len(one), -1), other.reshape(len(other), -1)
    largest = other.abs().nan_to_num(0.0, 0.0, 0.0).amax(1, keepdim=True)
    is_close = (one - other).abs() <= TOLERANCE * (largest + TOLERANCE)
    overflows = ~(one.isfinite() & other.isfinite())  # where it does may differ
    return bool((is_close | overflows).all())
