"""A two-layer net in which ranks of a run come to harm, once each, and other nets of our own."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import torch
from torch import Tensor, distributed, nn

from primer.ranks import rank_of_worker

NUM_STEPS, AT_CALL = 30, 19  # within the third epoch of iris


class HurtNet(nn.Module):
    """`faults` is what befalls each rank: nothing, a signal that it gets, or an exception.

    When it is made, in a step, or in the validation that follows the last step, as `at` says.
    """

    def __init__(
        self, in_features: int, out_features: int, activation: nn.Module, faults: list[str], at: str
    ) -> None:
        super().__init__()
        self.hidden, self.out = nn.Linear(in_features, 16), nn.Linear(16, out_features)
        self.activation, self.faults, self.at, self.calls = activation, faults, at, 0
        if at == "begin":
            self._hurt(rank_of_worker())

    def forward(self, x: Tensor) -> Tensor:
        self.calls += self.training
        now = {(AT_CALL, True): "step", (NUM_STEPS, False): "end"}.get((self.calls, self.training))
        if now == self.at and distributed.is_initialized():
            self._hurt(distributed.get_rank())
        out: Tensor = self.out(self.activation(self.hidden(x)))
        return out

    def _hurt(self, rank: int) -> None:
        fault, marker = dict(enumerate(self.faults)).get(rank, "none"), Path(f"hurt-{rank}")
        if fault == "none" or marker.exists():
            return
        marker.touch()
        if fault == "raise":
            raise ArithmeticError("of one rank")
        os.kill(os.getpid(), signal.Signals[fault])


class TellingNet(nn.Linear):
    """A net that leaves a file with the environment, and the token, that it was made with."""

    def __init__(
        self, in_features: int, out_features: int, activation: nn.Module, token: str = "none"
    ) -> None:
        super().__init__(in_features, out_features)
        Path(f"made-{os.getpid()}").write_text(json.dumps({"token": token, **os.environ}))


class NormedNet(nn.Sequential):
    """A net with a batch norm."""

    def __init__(self, in_features: int, out_features: int, activation: nn.Module) -> None:
        super().__init__(nn.BatchNorm1d(in_features), nn.Linear(in_features, out_features))


def weighted() -> nn.CrossEntropyLoss:
    """A loss that weighs the three classes of iris."""
    return nn.CrossEntropyLoss(torch.tensor([1.0, 2.0, 3.0]))


class ScaledNet(nn.Linear):
    """A net with a weight that is one number."""

    def __init__(self, in_features: int, out_features: int, activation: nn.Module) -> None:
        super().__init__(in_features, out_features)
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * super().forward(x)
