"""A wall clock that jumps: `SOAK_CLOCK` holds AT:SECONDS,... with AT a time of the monotonic clock.

All processes of a command jump in the same moment, as they would with their machine.
"""

from __future__ import annotations

import os
import time

_real_time, _real_time_ns, _real_strftime = time.time, time.time_ns, time.strftime
_JUMPS = [tuple(map(float, jump.split(":"))) for jump in os.environ.get("SOAK_CLOCK", "").split(",") if jump]


def _shift() -> float:
    return sum(seconds for at, seconds in _JUMPS if time.monotonic() >= at)


def _time() -> float:
    return _real_time() + _shift()


def _time_ns() -> int:
    return _real_time_ns() + round(_shift() * 1e9)


def _strftime(form: str, *when: time.struct_time) -> str:
    return _real_strftime(form, *(when or (time.localtime(_time()),)))


if _JUMPS:
    time.time, time.time_ns, time.strftime = _time, _time_ns, _strftime
