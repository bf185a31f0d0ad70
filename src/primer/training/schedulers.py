"""Learning rates over time, each a pure function of the step, so that a resumed run goes on exactly."""

from __future__ import annotations

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from primer.errors import ConfigError


def constant(optimizer: Optimizer) -> None:
    """The learning rate stays as it is: there is no scheduler."""


def step(optimizer: Optimizer, *, step_size: int, gamma: float) -> LambdaLR:
    """Every `step_size` optimizer steps the learning rate is multiplied by `gamma`."""
    return LambdaLR(optimizer, lambda step: gamma ** (step // step_size))


def cosine(optimizer: Optimizer, num_steps: int, *, final_factor: float) -> LambdaLR:
    """Half a cosine from the learning rate to `final_factor` of it, over `num_steps` optimizer steps.

    Source: Loshchilov and Hutter, SGDR, 2017, without restarts.
    """
    return warmup_cosine(optimizer, num_steps, warmup_steps=0, final_factor=final_factor)


def warmup_cosine(
    optimizer: Optimizer, num_steps: int, *, warmup_steps: int, final_factor: float
) -> LambdaLR:
    """A linear rise over `warmup_steps` optimizer steps, then half a cosine over the rest.

    >>> import torch
    >>> weights = [torch.nn.Parameter(torch.zeros(1))]
    >>> rate = warmup_cosine(torch.optim.SGD(weights, lr=1.0), 10, warmup_steps=4, final_factor=0.0)
    >>> [round(rate.lr_lambdas[0](step), 2) for step in (0, 3, 4, 7, 10)]
    [0.25, 1.0, 1.0, 0.5, 0.0]
    """
    if warmup_steps >= num_steps:
        raise ConfigError(f"scheduler.warmup_steps={warmup_steps}: the run has only {num_steps} steps")

    def factor(step: int) -> float:
        if step < warmup_steps:
            return (step + 1) / warmup_steps
        share = min(1.0, (step - warmup_steps) / (num_steps - warmup_steps))
        return final_factor + (1 - final_factor) * (1 + math.cos(math.pi * share)) / 2

    return LambdaLR(optimizer, factor)
