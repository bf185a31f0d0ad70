"""Runs of the command line that are watched while they go on, and after they have ended."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run
from runs import begun, primer, run_folders

from primer.tracking.journal import Record, read

NET = '''
"""A net that is slow, or that breaks."""
import time
from pathlib import Path
import torch

class Odd(torch.nn.Linear):
    def __init__(self, in_features, out_features, activation, nap, val_nap, breaks, eats):
        super().__init__(in_features, out_features)
        self.nap, self.val_nap, self.breaks, self.eats, self.calls = nap, val_nap, breaks, eats, 0

    def forward(self, x):
        if self.training:
            self.calls += 1
            time.sleep(self.nap if self.calls > 5 else 0)
            if self.calls == self.breaks:
                raise ArithmeticError(f"forward {self.calls}")
            if self.calls == self.eats:
                torch.ones(1 << 34)
        elif self.val_nap and len(x) > 2:
            Path("validating").touch()
            time.sleep(self.val_nap)
        return super().forward(x)
'''
ODD = "_target_: odd_nets.Odd\nnap: 0.03\nval_nap: 0\nbreaks: null\neats: null\n"
QUICK = ("net=odd", "data=iris", "max_epochs=null", "max_steps=2000", "tracking.log_model=false")
AS_MUCH_AS = "ulimit -v 12000000"  # KiB of addresses: the imports take 5 million of them


class Going:
    """A run of the command line: while it goes on, and what it left once it is over."""

    def __init__(self, cwd: Path, store: str, *overrides: str, first: str = "true") -> None:
        self.cwd, self.store, self.left = cwd, store, [0]
        (cwd / "conf" / "net").mkdir(parents=True)
        (cwd / "conf" / "net" / "odd.yaml").write_text(ODD)
        (cwd / "odd_nets.py").write_text(NET)
        where = (f"tracking.uri={store}", f"tracking.experiment={cwd.name}")
        self.run = begun("--config-dir", "conf", *QUICK, *where, *overrides, cwd=cwd, first=first)

    def until(self, is_so: Callable[[], Any], timeout: float = 120) -> Any:
        """Wait until something is so, and return it."""
        deadline = time.monotonic() + timeout
        while not (found := is_so()):
            assert time.monotonic() < deadline, (self.cwd, self.output())
            time.sleep(0.005)
        return found

    def output(self) -> str:
        """All that was printed; ends the run if it has not ended."""
        self.run.poll() is None and os.killpg(self.run.pid, signal.SIGKILL)
        return "".join(self.run.communicate())

    @property
    def folder(self) -> Path:
        """The run's folder."""
        (folder,) = run_folders(self.cwd)
        return folder

    def records(self, kind: str) -> list[Record]:
        """What the journal holds of a kind."""
        folders = run_folders(self.cwd)
        return [r for f in folders if (f / "journal").exists() for r in read(f) if r["kind"] == kind]

    def worker(self) -> int:
        """The worker's process id; 0 before it is there."""
        return worker_of(self.run.pid)

    def over(self) -> Going:
        """Wait for the end, and see what it left."""
        self.printed, self.complaint = self.run.communicate(timeout=120)
        self.exit_code = self.run.returncode
        self.left = self.processes()
        if "primer sync sends it" in self.printed:  # a busy machine: the end was not waited for
            self.sync()
        return self

    def sync(self) -> None:
        """`primer sync`."""
        done = primer("sync", cwd=self.cwd, env={"MLFLOW_TRACKING_URI": self.store})
        assert done.returncode == 0, done.stdout + done.stderr

    def processes(self) -> list[int]:
        """Those that work on it; not the dead ones that nobody asked about."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            state = _content(process / "stat").rpartition(b")")[2].split()
            if state and state[0] != b"Z" and bytes(self.folder) in _content(process / "cmdline"):
                found.append(int(process.name))
        return found

    def steps(self) -> list[int]:
        """The steps whose loss was recorded."""
        points = self.records("points")
        return [step for r in points if r["key"] == "train/loss" for step in r["steps"]]

    def stored(self) -> Run:
        """The run in MLflow, the only one."""
        client = MlflowClient(self.store)
        experiment = client.get_experiment_by_name(self.cwd.name)
        assert experiment is not None
        (run,) = client.search_runs([experiment.experiment_id])
        return run

    def artifacts(self) -> list[str]:
        """The files that MLflow has of it."""
        return [file.path for file in MlflowClient(self.store).list_artifacts(self.stored().info.run_id)]


def worker_of(controller: int) -> int:
    """The process id of a controller's worker; 0 before it is there."""
    for child in Path(f"/proc/{controller}/task/{controller}/children").read_text().split():
        if b"primer.worker" in _content(Path("/proc", child, "cmdline")):
            return int(child)
    return 0


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # it is gone
        return b""
