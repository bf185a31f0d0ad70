"""Every exception that primer raises on purpose, as a tree.

    PrimerError
    ├── UsageError            the question was wrong: exit code 2, nothing is left behind
    │   ├── ConfigError       a switch, a key or a value of the config
    │   │   └── SweepError    the same of a sweep's jobs, a line for each
    │   └── DataError         a table or a file: which file, column, row
    ├── RunError              the answer is no: exit code 1
    │   └── JournalError      the run folder can't be written
    └── CantFuse              runs can't be trained as one; each is trained alone

    Stopped                   a signal asked for it, as KeyboardInterrupt: exit code 128 + its number

A message is one or two lines: where, what was found, what was expected, what to do.
"""

from __future__ import annotations

import signal


class PrimerError(Exception):
    """Base of all errors that primer raises on purpose."""

    exit_code = 1


class UsageError(PrimerError, ValueError):
    """The question was wrong; nothing is left behind and nothing was lost."""

    exit_code = 2


class ConfigError(UsageError):
    """A switch, a key or a value of the config is wrong."""


class SweepError(ConfigError):
    """Jobs of a sweep are wrong: a line for each fault, with the numbers of its jobs."""


class DataError(UsageError):
    """A table or a file can't be trained on as it is."""


class RunError(PrimerError):
    """A run ended without the answer that was asked for."""


class JournalError(RunError):
    """What happens in a run can't be written down, as on a full disk."""


class CantFuse(PrimerError):
    """Runs of a group can't be trained as one; nothing of them was begun, and each can be trained alone."""


class Stopped(BaseException):
    """A signal asked the run to stop; like KeyboardInterrupt, no `except Exception` may swallow it."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.exit_code = 128 + number


def first_line(error: BaseException) -> str:
    """What an error says, in a line; nothing where it says nothing."""
    return (str(error).strip().splitlines() or [""])[0]
