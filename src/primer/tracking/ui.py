"""MLflow's own page on the runs, on this machine only."""

from __future__ import annotations

import errno
import os
import socket
import sys
from typing import TYPE_CHECKING

from primer.direction import Watched, rank, watched
from primer.errors import UsageError
from primer.redact import redacted_text
from primer.tracking.trouble import asking
from primer.tracking.uri import tracking_uri

if TYPE_CHECKING:
    from mlflow.entities import Run


NUM_BEST = 5  # chosen: runs whose curves can be told apart on one page


def serve(port: int, sweep: str | None = None) -> None:
    """Become MLflow's server; it ends with Ctrl-C. Prints what to open: of a sweep its saved view.

    Hosts are named one by one: MLflow's default list lets `10.evil.com` pass (measured, MLflow 3.17).
    """
    uri = tracking_uri(None)
    if uri.startswith("http"):
        print(f"$MLFLOW_TRACKING_URI is a server, which has the page: {redacted_text(uri)}")
        for line in links(uri, redacted_text(uri), sweep) if sweep else []:
            print(line)
        return
    check_free(port)
    for line in links(uri, f"http://127.0.0.1:{port}", sweep):
        print(line)
    print("Ctrl-C ends it", flush=True)
    hosts = f"localhost:{port},127.0.0.1:{port}"
    os.environ["MLFLOW_BACKEND_STORE_URI"] = uri  # not an argument: `ps` would show a database's password
    os.environ["MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE"] = "false"  # whatever a server's environment says
    os.environ.pop("MLFLOW_SERVER_CORS_ALLOWED_ORIGINS", None)
    command = [sys.executable, "-m", "mlflow", "ui", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--allowed-hosts", hosts, "--workers", "1"]
    # the seven job processes that MLflow starts otherwise outlive it, and serve nothing that primer uses
    os.environ["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
    os.execv(sys.executable, command)


def check_free(port: int) -> None:
    """Raise UsageError for a port that somebody listens on: the server would end without an exit code."""
    with socket.socket() as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does
        try:
            tried.bind(("127.0.0.1", port))
        except (OSError, OverflowError) as error:
            reason = "is taken" if getattr(error, "errno", None) == errno.EADDRINUSE else "can't be used"
            raise UsageError(f"--port {port}: {reason}; expected another, such as --port 5001") from None


def links(uri: str, base: str, sweep: str | None) -> list[str]:
    """What to open in MLflow's page at `base`: its own first page is about traces, not about runs.

    Of a sweep, which is a run's id: its saved view, and the page that compares its best runs.
    """
    from primer.tracking.reading import jobs_of, open_existing
    from primer.tracking.view import compare_link, curves_link, key_of, view_link

    with asking(uri):
        store = open_existing(uri)
        if sweep is None:
            return [f"{base}/#/experiments/{store.newest_experiment()}/runs?workflowType=machine_learning"]
        run = store.run(sweep)
        jobs = jobs_of(store, run) if run else []
    if run is None or not jobs:
        raise UsageError(f"--sweep {sweep}: MLflow has no sweep of that id")
    experiment_id = str(run.info.experiment_id)
    jobs = sorted(jobs, key=lambda job: rank(*_watched(job)))
    best = [str(job.info.run_id) for job in jobs[:NUM_BEST]]
    return [
        f"sweep   {view_link(base, experiment_id, key_of(sweep))}",
        f"best {len(best)}  {compare_link(base, experiment_id, best)}",
        f"curves  {curves_link(base, experiment_id, best, _watched(jobs[0])[0])}",
    ]


def _watched(job: Run) -> Watched:
    return watched(job.data.metrics, str(job.data.params.get("monitor", "val/loss")))
