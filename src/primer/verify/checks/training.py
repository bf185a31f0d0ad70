"""Does a net train with it as it does with the reference, and what does that cost?"""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from primer.verify.calling import as_module
from primer.verify.checks.memory import saved_by
from primer.verify.comparing import require_repeatable
from primer.verify.findings import Finding, failed, passed, skipped, warned
from primer.verify.subject import Call, Subject

SEEDS = (0, 1, 2)
NUM_STEPS, BATCH_SIZE, LR = 30, 64, 0.5  # chosen: by then the loss of a ReLU net has halved
GROWTH = 100.0  # chosen: times what one rounding of the first weights makes of the reference's losses
TIMES = 3.0  # chosen: of the reference; a chain of torch operations in Python is slower than that
SHAPE = (1000, 1000)  # chosen: more than caches hold, so that passes over memory count
BUDGET_S = 0.4  # chosen: of measuring
FLOAT32_BYTES = 4.0


def training_parity(subject: Subject) -> Finding:
    """Whether a small net on digits loses the same with it and with the reference, step by step."""
    check = "training_parity"
    if subject.reference is None or not subject.is_elementwise:
        return skipped(check, "needs a reference, and a function of one tensor that works entry by entry")
    require_repeatable(subject)
    tolerance = max(subject.spec.tolerance or 0.0, torch.finfo(torch.float32).eps)
    x, y = _digits()
    own = _losses(subject.at(torch.float32), x, y)
    reference, shaken = (_losses(subject.reference_at(torch.float32), x, y, by) for by in (1, 1 + tolerance))
    if not reference.isfinite().all() or _fall(reference) <= 0:
        return skipped(check, "the reference itself does not train there")
    return _compared(subject, own, reference, GROWTH * max(_deviation(shaken, reference), tolerance))


def _compared(subject: Subject, own: Tensor, reference: Tensor, allowed: float) -> Finding:
    check, against = "training_parity", subject.reference_name or "the reference"
    where = f"64-32-10 net on digits, {len(SEEDS)} seeds, {NUM_STEPS} steps of SGD"
    example = f"{where}: last loss {own[:, -1].mean():.4g}, with {against} {reference[:, -1].mean():.4g}"
    advice = "Compare answers and gradients first: the checks above say where they differ."
    numbers = {"fall": _fall(own), "reference_fall": _fall(reference)}
    if not own.isfinite().all():
        step = int((~own.isfinite()).any(0).nonzero()[0]) + 1
        sentence = f"The loss of a small net with it is not finite from step {step} on."
        return failed(check, sentence, example, advice, **numbers)
    if _fall(own) < _fall(reference) / 2:
        sentence = f"A net learns far less with it than with {against}."
        return failed(check, sentence, example, advice, **numbers)
    numbers["largest_deviation"] = deviation = _deviation(own, reference)
    if deviation == 0:
        return passed(check, f"A net trains as with {against}, bit for bit ({where}).", **numbers)
    told = f"losses differ by {deviation:.1g}, relative"
    if deviation <= allowed:
        sentence = f"A net trains as with {against}, but for rounding: {told} ({where})."
        return passed(check, sentence, **numbers)
    sentence = f"A net trains, but not as with {against}: {told}."
    return warned(check, sentence, example, f"{advice} It is fine where that is meant.", **numbers)


def _fall(losses: Tensor) -> float:
    """By how much the loss falls, on average of seeds."""
    return float((losses[:, 0] - losses[:, -5:].mean(1)).mean())


def _deviation(losses: Tensor, others: Tensor) -> float:
    return float(((losses - others).abs() / others.abs()).max())


def _digits() -> tuple[Tensor, Tensor]:
    """The digits that scikit-learn brings along: `(samples, 64)` between 0 and 1, and their classes."""
    from sklearn.datasets import load_digits  # a second to import

    x, y = load_digits(return_X_y=True)
    return torch.tensor(x, dtype=torch.float32) / 16, torch.tensor(y)


def _losses(call: Call, x: Tensor, y: Tensor, scale: float = 1.0) -> Tensor:
    """The losses of each seed, `(seeds, steps)`."""
    return torch.stack([_losses_of_seed(call, x, y, seed, scale) for seed in SEEDS])


def _losses_of_seed(call: Call, x: Tensor, y: Tensor, seed: int, scale: float) -> Tensor:
    """The loss of each step, `(steps,)`; weights begin as `seed` says, the first layer's times `scale`."""
    torch.manual_seed(seed)
    first, last = nn.Linear(64, 32), nn.Linear(32, 10)
    net = nn.Sequential(first, copy.deepcopy(as_module(call)), last)
    with torch.no_grad():
        first.weight.mul_(scale)
    weights = [weight for weight in net.parameters() if weight.requires_grad]
    optimizer = torch.optim.SGD(weights, lr=LR)
    losses = torch.zeros(NUM_STEPS)
    for step in range(NUM_STEPS):
        rows = torch.randint(len(x), (BATCH_SIZE,))
        loss = nn.functional.cross_entropy(net(x[rows]), y[rows])
        gradients = torch.autograd.grad(loss, weights, materialize_grads=True)
        for weight, gradient in zip(weights, gradients, strict=True):
            weight.grad = gradient
        optimizer.step()
        losses[step] = loss.detach()
    return losses


def cost(subject: Subject) -> Finding:
    """How long forward and backward take, and what is kept between them, beside the reference."""
    if not subject.is_elementwise:
        return skipped("cost", "measured for functions of one tensor that work entry by entry")
    calls = [subject.at(torch.float32)]
    if subject.reference is not None:
        calls.append(subject.reference_at(torch.float32))
    x = torch.randn(SHAPE, generator=torch.Generator().manual_seed(0)).requires_grad_()
    if not all(call(x).requires_grad for call in calls):
        return skipped("cost", "no gradient goes through it")
    seconds = _seconds(calls, x)
    kept = [_bytes_kept(call, x) / x.numel() for call in calls]
    pairs = zip(seconds, kept, strict=True)
    told = [f"{duration_s * 1e3:.1f} ms, {size:.3g} bytes kept" for duration_s, size in pairs]
    numbers = {"ms": seconds[0] * 1e3, "bytes_per_entry": kept[0]}
    if len(calls) == 1:
        return passed("cost", f"Forward and backward of a million entries: {told[0]} for each.", **numbers)
    against, times = subject.reference_name or "the reference", seconds[0] / seconds[1]
    numbers |= {"times": times, "reference_bytes_per_entry": kept[1]}
    beside = f"Forward and backward of a million entries: {told[0]} for each; {against}: {told[1]}"
    if times > TIMES:
        sentence = f"Forward and backward take {times:.1f} times as long as those of {against}."
        advice = "Every torch operation goes over the whole tensor: use fewer, or torch.compile the net."
        return warned("cost", sentence, beside, advice, **numbers)
    if kept[0] > TIMES * max(kept[1], FLOAT32_BYTES):
        sentence = f"It keeps {kept[0]:.3g} bytes an entry for its backward, {against} {kept[1]:.3g}."
        advice = "Save only what backward needs: one of input and output, or a mask as torch.bool."
        return warned("cost", sentence, beside, advice, **numbers)
    return passed("cost", f"{beside}.", **numbers)


def _seconds(calls: Sequence[Call], x: Tensor) -> list[float]:
    """The median of each, in rounds that take turns, so that a busy machine slows them all."""
    given, rounds = torch.ones_like(x), list[list[float]]()
    ends_at = time.perf_counter() + BUDGET_S
    while len(rounds) < 2 or time.perf_counter() < ends_at:
        durations = []
        for call in calls:
            begun_at = time.perf_counter()
            torch.autograd.grad(call(x), x, given)
            durations.append(time.perf_counter() - begun_at)
        rounds.append(durations)
    return [statistics.median(times) for times in zip(*rounds[1:], strict=True)]  # the first one warms up


def _bytes_kept(call: Call, x: Tensor) -> int:
    """What is kept for the backward, each piece of memory once, weights left out."""
    storages = [
        tensor.untyped_storage() for tensor in saved_by(call, (x,))[1] if not isinstance(tensor, nn.Parameter)
    ]
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())
