"""A fresh folder to sweep in, and processes that do not outlive their test."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from sweeping import Begin, sweep_in, with_faulty_net


@pytest.fixture
def sweep(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """`primer train -m` with these overrides, in `tmp_path`."""
    return partial(sweep_in, with_faulty_net(tmp_path))


@pytest.fixture
def begin() -> Iterator[Begin]:
    """`primer ARGUMENTS`, while it goes on."""
    begin = Begin()
    yield begin
    begin.end()
