"""A two-layer net that ends its process, or its run, in the way that its config asks for."""

from __future__ import annotations

import os
import resource
import signal
import time
from pathlib import Path

from torch import Tensor, nn

AT_CALL = 6  # in the second epoch of iris


class FragileNet(nn.Module):
    """A net that many can be stacked of, whose first forward in training kills its process, or raises."""

    def __init__(self, in_features: int, out_features: int, activation: nn.Module, how: str) -> None:
        super().__init__()
        self.hidden, self.out = nn.Linear(in_features, 16), nn.Linear(16, out_features)
        self.activation, self.how = activation, how

    def forward(self, x: Tensor) -> Tensor:
        if self.training and is_first("fragile"):
            if self.how == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            raise MemoryError("as of one of them")
        out: Tensor = self.out(self.activation(self.hidden(x)))
        return out


class FaultyNet(nn.Module):
    def __init__(self, in_features: int, out_features: int, activation: nn.Module, fault: str) -> None:
        super().__init__()
        self.hidden, self.out = nn.Linear(in_features, 16), nn.Linear(16, out_features)
        self.activation, self.fault, self.calls = activation, fault, 0

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.out(self.activation(self.hidden(x)))
        self.calls += self.training
        if self.training:
            self.wait()
        return self.broken(out) if self.calls == AT_CALL and self.training else out

    def wait(self) -> None:
        if self.fault == "slow":
            time.sleep(0.05)
        if self.fault == "held" and self.calls >= AT_CALL:  # until it is let go; a signal ends the step
            deadline = time.monotonic() + 1
            while not Path("go").exists() and time.monotonic() < deadline:
                time.sleep(0.02)
        if self.fault == "left" and self.calls > AT_CALL and not Path("left-1").exists():
            time.sleep(1)  # for the signal to come

    def broken(self, out: Tensor) -> Tensor:
        if self.fault == "raise":
            raise ArithmeticError("one\nof many")
        if self.fault == "once" and is_first("once"):
            raise ArithmeticError("the first time")
        if self.fault == "kill" or (self.fault == "killed" and is_first("killed")):
            os.kill(os.getpid(), signal.SIGKILL)
        if self.fault == "orphaned" and is_first("orphaned"):
            os.kill(os.getppid(), signal.SIGKILL)
        if self.fault == "left":  # its scheduler wants the node; then it is killed in another
            if is_first("left-0"):
                os.kill(os.getppid(), signal.SIGTERM)
            elif is_first("left-1"):
                os.kill(os.getpid(), signal.SIGKILL)
        if self.fault == "memory":
            resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))
            return out.repeat(2**28, 1)
        if self.fault == "gpu":
            with Path("gpus").open("a") as file:
                file.write(os.environ.get("CUDA_VISIBLE_DEVICES", "none") + "\n")
        return out * float("nan") if self.fault == "nonfinite" else out


def is_first(name: str) -> bool:
    """Whether nobody asked before, in this process or in one that is gone."""
    try:
        Path(name).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True
