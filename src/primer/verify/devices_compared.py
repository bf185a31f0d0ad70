"""Trainings on several numbers of devices beside the first of them: samples, losses, weights, a verdict."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor


SMALL = 1e-3  # chosen: a loss that fell to less of its largest value is compared relative to that


class Tolerance(NamedTuple):
    """The largest relative differences that are rounding, of a loss and of a weight tensor."""

    loss: float
    weight: float


@dataclass(frozen=True)
class OnDevices:
    """What a training on so many devices came to, beside the one on the first number of devices.

    Differences are the largest relative ones: of a loss, and of a weight tensor, by its norm.
    `first` says what differs first, None where nothing does; `error` is that of a run that failed.
    """

    num_devices: int
    num_steps: int = 0
    num_samples: int = 0
    has_same_samples: bool = False
    loss_difference: float = math.inf
    weight_difference: float = math.inf
    first: str | None = None
    error: str | None = None

    @property
    def verdict(self) -> str:
        """In a word: same, different or failed."""
        return "failed" if self.error else "different" if self.first else "same"


@dataclass(frozen=True)
class DevicesVerification:
    """What came of a config on several numbers of devices; `kind` of device: cpu or gpu."""

    trainings: tuple[OnDevices, ...]
    kind: str
    precision: str
    tolerance: Tolerance

    @property
    def exit_code(self) -> int:
        """0 where the training is the same on all of them, else 1."""
        return int(any(training.verdict != "same" for training in self.trainings))

    @property
    def verdict(self) -> str:
        """In a line, what differs first if something does."""
        others = [training for training in self.trainings if training.verdict != "same"]
        if not others:
            return f"the same on {devices_in_words(training.num_devices for training in self.trainings)}"
        numbers = devices_in_words(training.num_devices for training in others)
        return f"different on {numbers}: {others[0].first}"


@dataclass(frozen=True)
class Training:
    """What is compared of one run: losses by metric and step, the rows of each step, the final state."""

    losses: dict[tuple[str, int], float]
    samples: list[list[int]]
    weights: dict[str, Tensor]


def compared(trainings: dict[int, Training | str], tolerance: Tolerance) -> tuple[OnDevices, ...]:
    """Each training, by its number of devices, beside the first of them; text says how one failed."""
    (first_number, first), *_ = trainings.items()
    assert isinstance(first, Training)
    on_first = devices_in_words([first_number])
    return tuple(
        OnDevices(number, first=training, error=training)
        if isinstance(training, str)
        else _beside(training, first, tolerance, number, on_first)
        for number, training in trainings.items()
    )


def _beside(
    training: Training, first: Training, tolerance: Tolerance, number: int, on_first: str
) -> OnDevices:
    differing: list[tuple[int, str]] = []
    others_at = _other_samples_at(training.samples, first.samples)
    if others_at:
        differing.append((others_at, f"first at step {others_at}: other samples"))
    largest_loss = 0.0
    floors = _floors(first.losses)
    for (key, step), before in first.losses.items():
        value = training.losses.get((key, step), math.nan)
        difference = _relative(before, value, floors[key])
        largest_loss = max(largest_loss, difference)
        if difference > tolerance.loss:
            values = f"{before!r} on {on_first}, {value!r} on {number}"
            differing.append((step, f"first at step {step}: {key} is {values}"))
    largest_weight, name = _weight_difference(training.weights, first.weights)
    if largest_weight > tolerance.weight:
        differing.append((len(first.samples) + 1, f"in the final weights and buffers, most in {name}"))
    return OnDevices(
        number,
        num_steps=len(training.samples),
        num_samples=sum(map(len, training.samples)),
        has_same_samples=others_at is None,
        loss_difference=largest_loss,
        weight_difference=largest_weight,
        first=min(differing)[1] if differing else None,
    )


def _other_samples_at(samples: list[list[int]], first: list[list[int]]) -> int | None:
    """The first step whose rows are not those of the first training in their order, or are there twice.

    >>> _other_samples_at([[3, 1], [2]], [[3, 1], [2]]), _other_samples_at([[3, 1], [2, 2]], [[3, 1], [2, 2]])
    (None, 2)
    """
    for step, (own, others) in enumerate(zip_longest(samples, first), start=1):
        if own != others or len(set(own)) < len(own):
            return step
    return None


def _floors(losses: dict[tuple[str, int], float]) -> dict[str, float]:
    """What a difference of each metric is relative to, at least: near 0 a loss has fewer digits."""
    found = defaultdict[str, float](float)
    for (key, _), value in losses.items():
        if math.isfinite(value):
            found[key] = max(found[key], SMALL * abs(value))
    return found


def _relative(before: float, value: float, floor: float) -> float:
    """The difference relative to the larger of the two; infinite where one alone is not finite."""
    if before == value or (math.isnan(before) and math.isnan(value)):
        return 0.0
    if not (math.isfinite(before) and math.isfinite(value)):
        return math.inf
    return abs(before - value) / max(abs(before), abs(value), floor)


def _weight_difference(weights: dict[str, Tensor], first: dict[str, Tensor]) -> tuple[float, str]:
    """The largest difference of a weight tensor, its norm relative to that of the tensor, and which one.

    Not of each number: Adam moves a weight whose gradient is next to nothing as far as any other, to the
    side that rounding decides.
    """
    largest, where = 0.0, ""
    for name in sorted(first.keys() | weights.keys()):
        if name not in first or name not in weights or first[name].shape != weights[name].shape:
            return math.inf, name
        before, value = first[name].double().flatten(), weights[name].double().flatten()
        differs = (before != value) & ~(before.isnan() & value.isnan())
        if differs.any():
            difference = float((before - value)[differs].norm() / before[before.isfinite()].norm())
            difference = difference if math.isfinite(difference) else math.inf
            if difference > largest:
                largest, where = difference, name
    return largest, where


def devices_in_words(numbers: Iterable[int]) -> str:
    """How many devices, told.

    >>> devices_in_words([1, 2, 4]), devices_in_words([1])
    ('1, 2 and 4 devices', '1 device')
    """
    words = [str(number) for number in numbers]
    all_but_last = f"{', '.join(words[:-1])} and " if len(words) > 1 else ""
    return f"{all_but_last}{words[-1]} device{'' if words == ['1'] else 's'}"
