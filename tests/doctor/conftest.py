"""What the tests of `primer doctor` look at."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from faulty_server import MlflowServer

from primer.tracking.store import Store

DATABASE = "mlflow.db"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Each test's own working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database as MLflow makes it."""
    path = tmp_path_factory.mktemp("migrated") / DATABASE
    Store(f"sqlite:///{path}")
    return path


@pytest.fixture
def database(migrated: Path, here: Path) -> Path:
    """The database of this test's directory."""
    return Path(shutil.copy(migrated, here / DATABASE))


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, migrated: Path) -> Iterator[MlflowServer]:
    """An MLflow server."""
    folder = tmp_path_factory.mktemp("server")
    shutil.copy(migrated, folder)
    with MlflowServer(folder) as server:
        yield server
