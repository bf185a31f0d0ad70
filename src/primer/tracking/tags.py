"""The tags that primer sets on a run in MLflow, beside MLflow's own, and which records say them."""

from __future__ import annotations

from typing import Any

from primer.tracking.journal import Record

ID = "primer.id"  # the journal's, which a run is found by
FOLDER = "primer.folder"
HOST = "primer.host"
COMMAND = "primer.command"  # what to type for it
CONFIG_HASH = "primer.config_hash"
GROUP = "primer.group"  # everything but the seed
SWEEP = "primer.sweep"  # the run of the sweep that it is a job of
PARENT = "mlflow.parentRunId"  # the same, as MLflow nests runs
FUSED = "primer.num_fused"  # runs that it trained as one with, itself among them
COUNTS = "primer.counts"  # of a sweep: how its jobs ended
PRUNED = "primer.pruned"  # a search stopped it, being hopeless
DIRTY = "primer.git.dirty"
PATCH = "primer.git.patch"  # digest of what is not committed
FORKED_FROM = "primer.forked_from"  # the run, and the checkpoint, that this one began with
REPRODUCES = "primer.reproduces"  # the run that this one repeats
VERIFICATION = "primer.verification"  # + .FUNCTION: the verdict on a custom Function that the run uses
WARNING = "primer.warning"
ERROR = "primer.error"
NONFINITE = "primer.nonfinite"
DRIFT = "primer.drift."  # + what changed before a run was resumed: OLD -> NEW
SHIPPED = "primer.shipped"  # bytes of the journal that have arrived


def params_in(record: Record) -> dict[str, Any]:
    """What was chosen, and what was found to fit the data."""
    if record["kind"] in ("run", "resume"):
        return dict(record["params"])
    return {"criterion": record["criterion"]} if record["kind"] == "data" else {}


def tags_in(record: Record) -> dict[str, Any]:
    """What a record says about the run as a whole."""
    if record["kind"] == "start":
        names = ("num_params", "device", "num_threads", "num_fused")  # of which FUSED is one
        return {f"primer.{name}": str(record[name]) for name in names if name in record}
    if record["kind"] == "verification":
        return {f"{VERIFICATION}.{record['function']}": record["verdict"]}
    if record["kind"] == "warning":
        return {WARNING: record["message"]}
    if record["kind"] in ("resume", "tags"):
        return dict(record["tags"])
    if record["kind"] == "end" and record["error"]:
        return {ERROR: record["error"]}
    return {}
