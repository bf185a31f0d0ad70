"""MLflow's own page on the runs, on this machine only."""

from __future__ import annotations

import os
import sys

from primer.errors import ConfigError
from primer.redact import redacted_text
from primer.tracking.uri import SQLITE, sqlite_path, tracking_uri


def serve(port: int) -> None:
    """Become MLflow's server; it ends with Ctrl-C.

    Hosts are named one by one: MLflow's default list lets `10.evil.com` pass (measured, MLflow 3.17).
    """
    uri = tracking_uri(None)
    if uri.startswith("http"):
        print(f"$MLFLOW_TRACKING_URI is a server, which has the page: {redacted_text(uri)}")
        return
    if uri.startswith(SQLITE) and not sqlite_path(uri).exists():
        raise ConfigError(
            f"no runs here yet: {sqlite_path(uri)} does not exist; train one with `primer train`"
        )
    page = "experiments"
    if uri.startswith(SQLITE):  # MLflow's own first page is about traces, not about runs
        from primer.tracking.store import Store

        page = f"experiments/{Store(uri).newest_experiment()}/runs?workflowType=machine_learning"
    print(f"http://127.0.0.1:{port}/#/{page} (Ctrl-C ends it)", flush=True)
    hosts = f"localhost:{port},127.0.0.1:{port}"
    command = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", uri]
    command += ["--host", "127.0.0.1", "--port", str(port), "--allowed-hosts", hosts, "--workers", "1"]
    # the seven job processes that MLflow starts otherwise outlive it, and serve nothing that primer uses
    os.environ["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
    os.execv(sys.executable, command)
