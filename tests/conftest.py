"""Runs that are dear, shared by the tests that read them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from runs import Trained

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ.pop("MLFLOW_TRACKING_URI", None)  # the tests' runs belong to the tests


@pytest.fixture(scope="session")
def default_run(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """`primer train`, with nothing switched."""
    return Trained(tmp_path_factory.mktemp("default"))


@pytest.fixture(scope="session")
def article_run(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """`primer train experiment=primer/tensors`: 500 steps, tracked."""
    return Trained(tmp_path_factory.mktemp("article"), "experiment=primer/tensors")


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Debian's chromium, driven by playwright."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no chromium here: apt-get install chromium")
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="no playwright here: pip install playwright"
    )
    with playwright.sync_playwright() as driver:
        launched = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])  # CI is root
        yield launched
        launched.close()
