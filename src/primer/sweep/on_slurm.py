"""Tasks on a Slurm cluster, by submitit; or on this machine, by submitit's local executor."""

from __future__ import annotations

import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from primer.errors import RunError, UsageError
from primer.sweep.cluster import Task
from primer.sweep.task import run_task

FOLDER = ".submitit"  # in the sweep's: scripts, arguments and logs of the tasks
LOOK_EVERY_S = 5.0  # chosen: between two looks at Slurm's queue, for all tasks together
A_YEAR = 60 * 24 * 365  # minutes: submitit's local executor has no way to say "no limit"


class SlurmCluster:
    """The cluster that this machine's Slurm commands reach.

    `settings` are the keys of `hydra.launcher`; `folder` is the sweep's.
    """

    def __init__(self, settings: dict[str, Any], folder: Path) -> None:
        self._settings, self._folder = settings, folder
        self._is_local = settings["executor"] == "local"
        self._queue = _Queue()
        self._lock = threading.Lock()

    def open(self) -> None:
        """Find submitit and Slurm's commands."""
        try:
            import submitit
        except ImportError:
            raise UsageError(
                "hydra/launcher=slurm: needs submitit: pip install 'torch-primer[slurm]'"
            ) from None
        if not self._is_local and shutil.which("srun") is None:
            raise UsageError(
                "hydra/launcher=slurm: no srun on this machine; expected a node of a Slurm cluster, or "
                "hydra.launcher.executor=local, which tries the same on this machine"
            )
        kind = submitit.LocalExecutor if self._is_local else submitit.SlurmExecutor
        self._executor: Any = kind(self._folder / FOLDER)
        self._executor.update_parameters(**self._parameters())

    def _parameters(self) -> dict[str, Any]:
        if self._is_local:
            return {"timeout_min": A_YEAR, "gpus_per_node": self._settings["gpus_per_job"]}
        options = {name.replace("_", "-"): value for name, value in self._settings["options"].items()}
        gpus = self._settings["gpus_per_job"]
        return {
            "time": self._settings["limit_minutes"],
            "cpus_per_task": self._settings["cpus_per_job"],
            "additional_parameters": options | ({"gres": f"gpu:{gpus}"} if gpus else {}),
            "setup": self._settings["setup"],
            "signal_delay_s": 60,  # before the limit: enough to save and leave
        }

    def submit(self, name: str, *arguments: Any) -> Task:
        """Put it into the queue; raises RunError where Slurm refuses it."""
        with self._lock:
            if self._is_local:
                job = self._executor.submit(run_task, *arguments)
                return _Task(job, job.done)
            self._executor.update_parameters(job_name=f"primer {name}")
            try:
                job = self._executor.submit(run_task, *arguments)
            except Exception as error:  # sbatch's own words, in submitit's exceptions
                raise RunError(f"sbatch: {_last_line(str(error))}") from None
            self._queue.add(job.job_id)
            return _Task(job, lambda: job.job_id not in self._queue)

    def close(self) -> None:
        """Nothing to do: the cluster is there without us."""


class _Queue:
    """Slurm's queue, looked at for all tasks together, so that its server has other things to do.

    Not by sacct, as submitit does: not every cluster keeps accounts, and they come late.
    """

    def __init__(self) -> None:
        self._ids: set[str] = set()
        self._looked_at = time.monotonic()
        self._lock = threading.Lock()

    def add(self, job_id: str) -> None:
        with self._lock:
            self._ids.add(job_id)

    def __contains__(self, job_id: str) -> bool:
        with self._lock:
            if time.monotonic() - self._looked_at > LOOK_EVERY_S:
                self._look()
                self._looked_at = time.monotonic()
            return job_id in self._ids

    def _look(self) -> None:
        if not self._ids:
            return
        command = ["squeue", "--noheader", "--format=%i", f"--jobs={','.join(sorted(self._ids))}"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        except subprocess.TimeoutExpired:
            return  # Slurm's server is busy: all is as it was
        if done.returncode == 0:
            self._ids = set(done.stdout.split())
        elif "Invalid job id" in done.stderr:  # the only one is gone from its memory
            self._ids = set()


class _Task:
    def __init__(self, job: Any, is_gone: Callable[[], bool]) -> None:
        self._job, self._is_gone = job, is_gone

    def is_done(self) -> bool:
        return self._job.paths.result_pickle.exists() or self._is_gone()

    def cancel(self) -> None:
        self._job.cancel(check=False)

    def error(self) -> str | None:
        """What the task returned or, where it died, the last line that it wrote."""
        paths = self._job.paths
        if paths.result_pickle.exists():
            outcome, result = self._job._get_outcome_and_result()
            return _last_line(result) if outcome == "error" else result
        log = paths.stderr.read_text(errors="replace") if paths.stderr.exists() else ""
        name = f"task {self._job.job_id} ended without a word"
        return f"{name}: {_last_line(log) or 'no log'} ({paths.stderr})"


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""
