"""What the keys of `hydra.launcher` and `hydra.sweeper` mean: those of a sweep, not of a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from primer.config.schema import SCHEMAS, Part, key


@dataclass
class Launcher(Part):
    """How the jobs of a sweep are run."""

    on_failure: str = key("continue: the other jobs run; stop: none begins", one_of=("continue", "stop"))
    retries: int = key("times that a job goes on after a failure, from its last checkpoint", at_least=0)
    timeout_minutes: float | None = key("a job that takes longer has failed; null: none does", above=0)


@dataclass
class Local(Launcher):
    """On this machine."""

    workers: int | None = key("jobs at once, at most; null: as there are GPUs, else CPUs", at_least=1)
    gpus: list[str] | None = key("GPUs that jobs share out, by number or UUID; null: those there are")
    gpus_per_job: float = key("GPUs of a job; 0.5: two jobs at once on each", above=0)
    fuse: str = key(
        "auto: jobs that differ in seeds and numbers of the optimizer train as one; off: each alone",
        one_of=("auto", "off"),
    )
    max_fused: int = key("jobs that train as one, at most", at_least=1)


@dataclass
class Cluster(Launcher):
    """On machines that a scheduler chooses."""

    workers: int | None = key("jobs handed to the scheduler at once; null: up to 64", at_least=1)
    cpus_per_job: int = key("CPUs of a job", at_least=1)
    gpus_per_job: int = key("GPUs of a job", at_least=0)


@dataclass
class Ray(Cluster):
    address: str | None = key(
        "of the cluster; null: $RAY_ADDRESS, else the one of this machine, or a new one"
    )


@dataclass
class Slurm(Cluster):
    executor: str = key("slurm: sbatch; local: submitit's try on this machine", one_of=("slurm", "local"))
    limit_minutes: int = key("of a task; a job that needs more goes on in the next one", at_least=1)
    options: dict[str, str] = key("more options of sbatch: {partition: gpu, account: lab}")
    setup: list[str] = key("shell commands before a task, such as `module load cuda`")


@dataclass
class Optuna(Part):
    """How a search proposes the jobs of a sweep."""

    _recursive_: bool = key("whether Hydra builds the sampler; primer does")
    n_trials: int = key("jobs to propose", at_least=1)
    direction: str | None = key(
        "of the monitored metric; null: as the metric is meant", one_of=("minimize", "maximize")
    )
    seed: int = key("of the sampler", at_least=0)
    sampler: Any = key("what proposes: an Optuna sampler and its arguments")
    pruner: Any = key("what stops hopeless jobs: an Optuna pruner and its arguments")
    params: dict[str, str] = key("what is searched: KEY: interval(0.001,1), in Hydra's words for a sweep")


LAUNCHERS: dict[str, type] = {"local": Local, "ray": Ray, "slurm": Slurm}
SWEEPERS: dict[str, type] = {"optuna": Optuna}
ALL_SCHEMAS = {**SCHEMAS, "launcher": LAUNCHERS, "sweeper": SWEEPERS}
