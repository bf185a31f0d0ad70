"""A run's folder: created exclusively, never shared, never overwritten, and what it begins with."""

from __future__ import annotations

import json
import re
import shutil
import time
from pathlib import Path
from typing import Any

import yaml

from primer.config import config_hash, flat, group_name
from primer.errors import UsageError
from primer.tracking.facts import environment, git_facts, source_facts
from primer.tracking.journal import Journal
from primer.tracking.uri import without_password


def create_folder(name: str, root: Path | None = None) -> Path:
    """A new folder `outputs/DATE/TIME-name`, numbered when it is taken; absolute.

    >>> root = getfixture("tmp_path")
    >>> first, second = create_folder("lr=0.1 s0", root), create_folder("lr=0.1 s0", root)
    >>> first != second, first.name[7:14]
    (True, 'lr=0.1-')
    """
    root = Path.cwd() / "outputs" if root is None else root
    words = re.sub(r"[^\w=.+-]+", "-", name).strip("-.")[:60]
    for attempt in range(1, 10_000):
        number = f"-{attempt}" if attempt > 1 else ""
        folder = root / time.strftime("%Y-%m-%d") / f"{time.strftime('%H%M%S')}-{words}{number}"
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            if not folder.is_dir():
                raise UsageError(f"{folder.parent}: is in the way of the run folders") from None
            continue
        except OSError as error:
            raise UsageError(f"{root}: no run folder can be made there: {error.strerror}") from None
        return folder
    raise AssertionError("10,000 runs of one name in one second")


def discard(folder: Path) -> None:
    """Remove a run's folder, and the folders around it that only held this one."""
    shutil.rmtree(folder)
    for parent in folder.parents[:2]:
        try:
            parent.rmdir()
        except OSError:  # others are in it
            return


def write_header(folder: Path, config: dict[str, Any]) -> None:
    """`config.yaml`, `environment.json` and the journal's first record, before the worker starts."""
    tracking = config["tracking"]
    if tracking.get("uri"):
        config = config | {"tracking": tracking | {"uri": without_password(tracking["uri"])}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False, allow_unicode=True))
    facts = environment()
    (folder / "environment.json").write_text(json.dumps(facts, indent=2))
    tags = {
        "primer.config_hash": config_hash(config),
        "primer.group": group_name(config),
        "primer.folder": str(folder),
        **source_facts(),
        **git_facts(),
    }
    params = flat(config)
    del params["criterion"]  # told by the worker, which knows what `auto` came to
    with Journal(folder) as journal:
        journal.write("run", name=config["name"], params=params, tags=tags, time=time.time_ns() // 10**6)
