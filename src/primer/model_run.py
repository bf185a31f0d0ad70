"""A run that is to be repeated: its config, points and facts, from its folder or from a tracking store."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from primer.config.trust import read_foreign
from primer.config.wording import shown
from primer.errors import UsageError
from primer.files import FORK, bring_fork
from primer.finding import header_of
from primer.folder import read_config, read_environment
from primer.tracking.journal import points_of, read
from primer.tracking.shipment import id_of
from primer.tracking.tags import FORKED_FROM
from primer.tracking.uri import tracking_uri


@dataclass(frozen=True)
class ModelRun:
    """What a run was: enough to run it again and to compare."""

    run_id: str | None
    config: dict[str, Any]
    points: dict[tuple[str, int], float]
    tags: dict[str, str]
    environment: dict[str, Any]
    digest: str | None
    fork: Path | None = None  # the checkpoint that it began with
    num_fused: int | None = None  # runs that trained as one, this one among them

    def bring_checkpoint(self, folder: Path) -> None:
        """Let a new run begin as this one did."""
        if self.fork:
            bring_fork(self.fork, folder)


def model_from_folder(folder: Path) -> ModelRun:
    """One's own run, from its folder."""
    header_of(folder)
    records = read(folder)
    begun = [record for record in records if record["kind"] in ("run", "resume")]
    digests = [record["digest"] for record in records if record["kind"] == "data"]
    starts = [record for record in records if record["kind"] == "start"]
    config = read_config(folder)
    fork = folder / "checkpoints" / FORK
    return ModelRun(
        run_id=id_of(folder),
        config=_with_threads(config, starts[-1]["num_threads"] if starts else None),
        points=points_of(records),
        tags=begun[-1]["tags"],
        environment=read_environment(folder),
        digest=digests[-1] if digests else None,
        fork=fork if fork.exists() else None,
        num_fused=next((record["num_fused"] for record in starts if "num_fused" in record), None),
    )


def model_from_store(run_id: str, *, trust: Sequence[str]) -> ModelRun:
    """What a tracking store says of a run: not to be trusted."""
    from primer.tracking.store import Store

    store = Store(tracking_uri(None))
    tags = store.tags(run_id)
    if tags is None:
        raise UsageError(f"{shown(run_id)}: no run folder, and no run of that id in the store")
    if FORKED_FROM in tags:
        raise UsageError(f"{run_id}: began with a checkpoint, which only its folder has; expected the folder")
    with tempfile.TemporaryDirectory() as place:
        config_file = store.fetch(run_id, "config.yaml", Path(place))
        store.fetch(run_id, "environment.json", Path(place))
        if config_file is None:
            raise UsageError(f"{run_id}: has no config.yaml; it is no run of primer's, or did not end")
        tracking = {"uri": None, "experiment": store.experiment_of(run_id), "log_model": True, "points": 1000}
        config = read_foreign(config_file.read_text(errors="replace"), tracking, trust=trust)
        environment = read_environment(Path(place))
    num_threads, num_fused = (_count(tags.get(f"primer.{name}", "")) for name in ("num_threads", "num_fused"))
    return ModelRun(
        run_id=run_id,
        config=_with_threads(config, num_threads),
        points=store.points(run_id),
        tags=tags,
        environment=environment,
        digest=store.digest(run_id),
        num_fused=num_fused,
    )


def _count(text: str) -> int | None:
    """A tag of a store as a small number, if it is one."""
    return int(text) if re.fullmatch("[0-9]{1,6}", text) else None


def _with_threads(config: dict[str, Any], num_threads: int | None) -> dict[str, Any]:
    """The config with the number of threads that it came to: how a sum is shared out changes its rounding."""
    accelerator = config["accelerator"]
    if num_threads and accelerator.get("num_threads") is None:
        accelerator = accelerator | {"num_threads": num_threads}
    return config | {"accelerator": accelerator}
