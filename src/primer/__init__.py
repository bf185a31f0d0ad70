"""Change one switch of a training, get one tracked run that can be trusted, compared and repeated.

    >>> import primer
    >>> result = primer.train("data=iris", "activation=custom_relu")  # doctest: +SKIP
    >>> result.status, result.metrics["test/accuracy"]  # doctest: +SKIP
    ('FINISHED', 0.9565217391304348)

Importing it is cheap: neither torch nor MLflow is loaded until a run starts, and torch never in the
process that calls `train` (a worker process trains).
"""

from primer.compare.ask import compare, runs
from primer.doctor import doctor
from primer.errors import ConfigError, DataError, PrimerError, RunError, UsageError
from primer.reproduce import reproduce
from primer.result import RunResult
from primer.run import train
from primer.sweep.launch import sweep
from primer.sweep.result import SweepResult
from primer.sweep.resume import resume
from primer.sync import sync
from primer.verify.ask import verify
from primer.verify.devices import verify_devices

__version__ = "0.1.0"

__all__ = [
    "ConfigError",
    "DataError",
    "PrimerError",
    "RunError",
    "RunResult",
    "SweepResult",
    "UsageError",
    "__version__",
    "compare",
    "doctor",
    "reproduce",
    "resume",
    "runs",
    "sweep",
    "sync",
    "train",
    "verify",
    "verify_devices",
]
