"""A fresh folder to sweep in."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from sweeping import sweep_in, with_faulty_net


@pytest.fixture
def sweep(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """`primer train -m` with these overrides, in `tmp_path`."""
    return partial(sweep_in, with_faulty_net(tmp_path))
