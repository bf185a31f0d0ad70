"""A whole net from a config against finite differences of its loss, in float64, weight by weight."""

from __future__ import annotations

import importlib.metadata
import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from primer.config import compose
from primer.config.targets import build
from primer.data import Dataset
from primer.errors import ConfigError
from primer.parts import make_module
from primer.verify.calling import weights_of
from primer.verify.calls import calls_in
from primer.verify.findings import Finding, Verification, failed, passed, warned
from primer.verify.functions import source_hash

NUM_ROWS = 8  # chosen: enough that units of each sign are met, few enough that all is quick
STEPS = (1e-5, 1e-6, 1e-7)  # of finite differences: a kink that lies within one of them does not in another
TOLERANCE = 1e-5  # chosen: relative; float64 differences over these steps are good to 1e-7
NUM_DIRECTIONS = 3  # of each weight


def verify_net(overrides: Sequence[str], *, config_dir: str | Path | None = None) -> Verification:
    """Check the net and criterion of a config; raises ConfigError where they do not fit together."""
    begun_at = time.perf_counter()
    config = compose([*overrides, "accelerator=cpu", "precision=64"], config_dir=config_dir)
    dataset: Dataset = build(config["data"], "data")
    module = make_module(config, dataset, num_steps=1)
    x, y = (torch.from_numpy(rows[:NUM_ROWS]) for rows in (dataset.train.x, dataset.train.y))
    rows = x.double(), y.double() if y.is_floating_point() else y
    if not any(True for _ in module.net.parameters()):
        raise ConfigError(f"net={config['switches']['net']}: has no weights to check")
    module.net.eval()  # one function, not one of random numbers
    loss, weights = partial(module.loss_of, *rows, len(x)), weights_of(module.net)
    functions = tuple(calls_in(loss))
    findings = (_finite(loss, len(x)), _repeats(loss), _used(loss, weights), _gradients(loss, weights))
    return Verification(
        name=f"net={config['switches']['net']}",
        reference="finite differences",
        declared={"functions": [function.__name__ for function in functions]} if functions else {},
        source_hash=source_hash([type(module.net), *functions]),
        versions={"torch": importlib.metadata.version("torch")},
        seconds=time.perf_counter() - begun_at,
        findings=findings,
    )


def _finite(loss: Callable[[], Tensor], num_rows: int) -> Finding:
    value = float(loss().detach())
    if math.isfinite(value):
        return passed("finite", f"The loss of {num_rows} rows is a number.", loss=value)
    advice = "Look at the net's answers for these rows, layer by layer."
    return failed("finite", f"The loss of the first rows is {value}.", None, advice)


def _repeats(loss: Callable[[], Tensor]) -> Finding:
    if torch.equal(loss(), loss()):
        return passed("determinism", "The same rows give the same loss twice.")
    advice = "In eval() a net should draw no random numbers and remember nothing of earlier rows."
    return failed("determinism", "The same rows give another loss the second time.", None, advice)


def _used(loss: Callable[[], Tensor], weights: dict[str, Tensor]) -> Finding:
    found = torch.autograd.grad(loss(), list(weights.values()), allow_unused=True)
    unused = [name for name, gradient in zip(weights, found, strict=True) if gradient is None]
    if not unused:
        return passed("weights_used", f"All {len(weights)} weights have a part in the loss.")
    advice = "Leave them out, or see whether they are meant to be used."
    sentence = f"{', '.join(unused[:3])}: no part in the loss, so training never changes them."
    return warned("weights_used", sentence, None, advice)


def _gradients(loss: Callable[[], Tensor], weights: dict[str, Tensor]) -> Finding:
    """Each weight's gradient along random directions, against differences of the loss along them."""
    largest, worst = 0.0, ""
    for name, weight in weights.items():
        difference = _difference(loss, weight)
        if difference > largest:
            largest, worst = difference, name
    if largest <= TOLERANCE:
        sentence = f"The gradient of every weight is the slope of the loss, to {largest:.1e} of its size."
        return passed("gradients", sentence, largest_difference=largest)
    if largest == math.inf:
        sentence = f"The gradient of {worst} has entries that are no finite numbers."
        advice = "Look at the backward that it goes through: what does it divide by, or multiply?"
        return failed("gradients", sentence, None, advice)
    sentence = f"The gradient of {worst} differs from the slope of the loss by {largest:.1e} of its size."
    advice = "Verify the custom function that it goes through alone: primer verify package.Function."
    return failed("gradients", sentence, None, advice, largest_difference=largest)


def _difference(loss: Callable[[], Tensor], weight: Tensor) -> float:
    """The largest relative difference along some directions, at the step where it is smallest."""
    (gradient,) = torch.autograd.grad(loss(), weight, allow_unused=True)
    if gradient is not None and not bool(gradient.isfinite().all()):
        return math.inf
    generator = torch.Generator().manual_seed(0)
    worst = 0.0
    for _ in range(NUM_DIRECTIONS):
        direction = torch.randn(weight.shape, dtype=weight.dtype, generator=generator)
        direction /= direction.norm()
        slope = 0.0 if gradient is None else float((gradient * direction).sum())
        size = max(1e-6, 0.0 if gradient is None else float(gradient.norm()))
        measured = [_slope(loss, weight, direction, step) for step in STEPS]
        worst = max(worst, min(abs(slope - other) for other in measured) / size)
    return worst


@torch.no_grad()
def _slope(loss: Callable[[], Tensor], weight: Tensor, direction: Tensor, step: float) -> float:
    before = weight.clone()
    ends = []
    for sign in (1, -1):
        weight.copy_(before + sign * step * direction)
        ends.append(float(loss()))
    weight.copy_(before)
    return (ends[0] - ends[1]) / (2 * step)
