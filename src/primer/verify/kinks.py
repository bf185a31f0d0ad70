"""Where the slope of a function of one number jumps, found by looking at smaller and smaller differences."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

REACH, CELLS = 8.0, 1024  # chosen: where activations bend; a cell is 1/64
JUMP = 0.01  # chosen: of slopes, relative to the largest; smooth ones change by less over the last step
SMALLEST = 1e-6  # chosen: the last step: float64 differences over it are good to 1e-9


def kinks_of(call: Callable[[Tensor], Tensor]) -> tuple[float, ...]:
    """The inputs in [-8, 8] at which the slope of an elementwise float64 function jumps, or its value does.

    >>> kinks_of(torch.relu), kinks_of(torch.tanh), kinks_of(lambda x: (x - 0.25).abs())
    ((0.0,), (), (0.25,))
    """
    edges = torch.linspace(-REACH, REACH, CELLS + 1, dtype=torch.float64) + 1e-3 / 3  # none on a round number
    found: list[float] = []
    with torch.no_grad():
        slopes = _slopes(call, edges[:-1], edges[1:])
        scale = float(slopes.nan_to_num(0.0, 0.0, 0.0).abs().median()) + 1.0
        jumps = (slopes[1:] - slopes[:-1]).abs() > JUMP * scale
        for index in jumps.nonzero().flatten().tolist():
            kink = _narrowed(call, float(edges[index]), float(edges[index + 2]), scale)
            if kink is not None and not any(abs(kink - other) < 1e-4 for other in found):
                found.append(kink)
    return tuple(found)


def _slopes(call: Callable[[Tensor], Tensor], left: Tensor, right: Tensor) -> Tensor:
    return (call(right) - call(left)) / (right - left)


def _narrowed(call: Callable[[Tensor], Tensor], low: float, high: float, scale: float) -> float | None:
    """The place of the largest jump between two edges, where it stays one however near one looks."""
    while high - low > SMALLEST * 8:
        edges = torch.linspace(low, high, 17, dtype=torch.float64)
        slopes = _slopes(call, edges[:-1], edges[1:])
        jumps = (slopes[1:] - slopes[:-1]).abs().nan_to_num(0.0)
        index = int(jumps.argmax())
        if float(jumps[index]) <= JUMP * scale:
            return None
        low, high = float(edges[index]), float(edges[index + 2])
    return _placed(call, (low + high) / 2, high - low, scale)


def _placed(call: Callable[[Tensor], Tensor], middle: float, width: float, scale: float) -> float | None:
    """The kink near `middle`, where the slopes on its sides settle; else it is a pole, or no jump at all."""
    sides = torch.tensor([[-16, -8], [-8, -4], [4, 8], [8, 16]], dtype=torch.float64) * width + middle
    slopes = _slopes(call, sides[:, 0], sides[:, 1])
    apart = (slopes[0::2] - slopes[1::2]).abs()
    if not bool((apart <= JUMP * (scale + slopes[1::2].abs())).all()):
        return None
    left, right = sides[1, 1], sides[2, 0]
    ends = call(torch.stack([left, right]))
    jump, leap = (slopes[2] - slopes[1]).abs(), (ends[1] - ends[0] - slopes[1] * (right - left)).abs()
    if jump <= 8 * apart.max() and leap <= 8 * width * (scale + slopes.abs().max()) * 16:
        return None  # it only bends
    if abs(float(slopes[2] - slopes[1])) > JUMP * scale:  # where the two lines meet
        found = float((ends[1] - ends[0] + slopes[1] * left - slopes[2] * right) / (slopes[1] - slopes[2]))
    else:  # its value jumps
        low, high = float(left), float(right)
        for _ in range(60):
            half = (low + high) / 2
            value = call(torch.tensor([half], dtype=torch.float64))[0]
            is_left = bool((value - ends[0]).abs() < (value - ends[1]).abs())
            low, high = (half, high) if is_left else (low, half)
        found = high
    near = min((round(found * 64) / 64, round(found, 4)), key=lambda plain: abs(plain - found))
    return near if abs(near - found) < 1e-7 else found
