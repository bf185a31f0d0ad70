"""A database is created whole or not at all."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

# Forks what has MLflow imported, and kills it ever later while it creates the database.
KILLED = """
import os, signal, sys, time
from primer.tracking.store import Store

uri = sys.argv[1]
for delay in (0.05, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2):
    child = os.fork()
    if child == 0:
        Store(uri)
        os._exit(0)
    time.sleep(delay)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
store = Store(uri)
print(store.experiment("mine"), sorted(os.listdir(".")))
"""


def test_a_kill_while_the_database_is_created_costs_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED, "sqlite:///mlflow.db"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("1 ")
    assert ".new" not in done.stdout
