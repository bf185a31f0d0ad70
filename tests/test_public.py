"""What users call is documented, and every error says in a line or two what to do."""

from __future__ import annotations

import inspect
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

import primer
from primer import errors
from primer.stopping import StopSignal
from primer.tracking.journal import Journal

NAMES = [name for name in primer.__all__ if name not in ("__version__", *vars(errors))]
QUIET = ("doctor",)  # which raises nothing


@pytest.mark.parametrize("name", NAMES)
def test_a_public_name_is_documented(name: str) -> None:
    found = getattr(primer, name)
    text = inspect.getdoc(found) or ""
    assert ">>>" in text
    assert len(text.splitlines()[0]) > 20
    if inspect.isfunction(found) and name not in QUIET:
        assert "Raises" in text
        assert all(parameter.annotation for parameter in inspect.signature(found).parameters.values())


def _stop() -> None:
    with StopSignal(is_impatient=True):
        signal.raise_signal(signal.SIGTERM)


def _write() -> None:
    Path("full").mkdir()
    Path("full/journal").symlink_to("/dev/full")
    journal = Journal(Path("full"))
    try:
        journal.write("points", key="x", steps=[1], times=[1], values=[1.0])
    finally:
        with suppress(OSError):  # a device can't be synced
            journal.close()


RAISED: dict[str, tuple[Callable[[], object], str]] = {
    "UsageError": (
        lambda: primer.resume("nowhere"),
        "nowhere: no run folder, and no run of",
    ),
    "ConfigError": (
        lambda: primer.train("activation=custom_rel"),
        "activation=custom_rel: no such option; did you mean activation=custom_relu?",
    ),
    "SweepError": (lambda: primer.sweep("seed=0,x"), "job 1: seed=x: expected a whole number"),
    "DataError": (
        lambda: primer.train("data=table", "data.path=no.csv", "data.target=y"),
        "no.csv: no such file",
    ),
    "RunError": (lambda: primer.runs(where="data = 'iris'"), "http://127.0.0.1:1"),
    "JournalError": (_write, "full/journal: No space left on device"),
    "Stopped": (_stop, "stopped by SIGTERM"),
}


@pytest.mark.parametrize("name", RAISED)
def test_an_error_says_what_to_do(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """CantFuse is told by the plan of a sweep: see tests/sweep/test_own_nets.py."""
    monkeypatch.chdir(tmp_path)
    if name == "RunError":
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    call, words = RAISED[name]
    with pytest.raises(getattr(errors, name)) as raised:
        call()
    assert type(raised.value).__name__ == name
    assert words in str(raised.value)
    assert len(str(raised.value).splitlines()) <= 2
    assert not list(tmp_path.glob("outputs/*/*"))
