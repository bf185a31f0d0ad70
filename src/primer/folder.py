"""A run's folder: created exclusively, held by one run at a time, never overwritten."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shlex
import shutil
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml

from primer.config import config_hash, flat, group_name
from primer.errors import UsageError
from primer.files import ROOT, SWEEP_FILE, check_plain, write_atomically
from primer.redact import redacted, redacted_text
from primer.tracking import tags
from primer.tracking.facts import environment, git_facts, git_patch, host, source_facts
from primer.tracking.journal import NAME, Journal, reserve_room
from primer.tracking.mark import forget_key, mark_of
from primer.tracking.uri import uri_of
from primer.yaml_text import from_yaml, to_yaml

SILENT_FOR_S = 60  # chosen: a run on another machine whose journal is still for so long is dead


def create_folder(name: str, root: Path | None = None) -> Path:
    """A new folder `outputs/DATE/TIME-name`, numbered when it is taken; absolute.

    >>> root = getfixture("tmp_path")
    >>> first, second = create_folder("lr=0.1 s0", root), create_folder("lr=0.1 s0", root)
    >>> first != second, first.name[7:14]
    (True, 'lr=0.1-')
    """
    root = Path.cwd() / ROOT if root is None else root
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
    """Remove the folder of a run that never began, and below `outputs` what was made for it alone.

    One that was named by somebody stays, empty.
    """
    root = Path.cwd() / ROOT
    if root not in folder.parents:
        for path in folder.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        return
    shutil.rmtree(folder)
    with suppress(OSError):  # others are in them
        folder.parent.rmdir()
        forget_key()
        root.rmdir()


def write_header(
    folder: Path,
    config: dict[str, Any],
    extra_tags: dict[str, str] | None = None,
    job: dict[str, Any] | None = None,
) -> None:
    """`config.yaml`, `environment.json` and the journal's first record, before the worker starts.

    `job` says of which sweep it is one.
    """
    write_config(folder, config)
    fields: dict[str, Any] = {"job": job} if job else {}
    fields["tags"] = tags_of(folder, config) | (extra_tags or {})
    begin_journal(folder, config, name=config["name"], params=params_of(config), **fields)


def begin_journal(folder: Path, config: dict[str, Any], **fields: Any) -> None:
    """The facts and the journal's first record of a run, or of a sweep, which goes where `config` says."""
    write_facts(folder)
    reserve_room(folder)
    tracking, run_id = config["tracking"], uuid.uuid4().hex
    uri = redacted_text(uri_of(config)) if tracking else None
    with Journal(folder) as journal:
        journal.write(
            "run",
            id=run_id,
            time=time.time_ns() // 1_000_000,
            cwd=str(Path.cwd()),
            experiment=tracking.get("experiment"),
            uri=uri,
            mark=mark_of(run_id, uri) if uri else None,
            points=tracking.get("points"),
            **fields,
        )


def write_config(folder: Path, config: dict[str, Any]) -> None:
    """The frozen config, without secrets."""
    text = to_yaml(redacted(config))
    write_atomically(folder / "config.yaml", text.encode())


def read_config(folder: Path) -> dict[str, Any]:
    """The frozen config of a run's folder; raises UsageError where there is none."""
    if is_sweep(folder):
        raise UsageError(f"{folder}: is a sweep; expected one of its jobs, such as {folder.name}/0")
    try:
        config = from_yaml((folder / "config.yaml").read_text())
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UsageError(f"{folder / 'config.yaml'}: can't be read: {error}") from None
    if not isinstance(config, dict) or not {"typed", "switches", "tracking"} <= config.keys():
        raise UsageError(f"{folder / 'config.yaml'}: is no config of a run")
    return config


def is_sweep(folder: Path) -> bool:
    """Whether it is the folder of a sweep, which has runs below it."""
    return (folder / SWEEP_FILE).exists()


def write_facts(folder: Path) -> None:
    """`environment.json`, and `uncommitted.patch` if there is something that git has not committed."""
    (folder / "environment.json").write_text(json.dumps(environment(), indent=2))
    patch = git_patch()
    if patch:
        (folder / "uncommitted.patch").write_text(patch)


def read_environment(folder: Path) -> dict[str, Any]:
    """The packages and the machine that a run was begun with; empty where they are not known any more."""
    try:
        facts = json.loads((folder / "environment.json").read_text())
    except (OSError, ValueError, RecursionError):
        return {}
    return facts if isinstance(facts, dict) and isinstance(facts.get("packages", {}), dict) else {}


def params_of(config: dict[str, Any]) -> dict[str, Any]:
    """What MLflow keeps as the run's params; its criterion is told by the worker, which knows the data."""
    params: dict[str, Any] = redacted(flat(config))
    del params["criterion"]
    return params


def tags_of(folder: Path, config: dict[str, Any]) -> dict[str, str]:
    """What MLflow keeps as the run's tags, of the config and of the place where it runs."""
    return {
        tags.CONFIG_HASH: config_hash(config),
        tags.GROUP: group_name(config),
        **({} if "trust" in config else command_tag(**config["typed"])),  # of one from elsewhere it is gone
        **place_tags(folder),
    }


def command_tag(
    overrides: Sequence[str], config_dir: str | None, *, is_sweep: bool = False
) -> dict[str, str]:
    """What to type for a run or a sweep, without secrets.

    >>> command_tag(["data=iris", "seed=1,2"], None, is_sweep=True)
    {'primer.command': 'primer train -m data=iris seed=1,2'}
    """
    place = [] if config_dir is None else ["--config-dir", config_dir]
    words = ["primer", "train", *(["-m"] if is_sweep else []), *place, *redacted(list(overrides))]
    return {tags.COMMAND: shlex.join(words)}


def place_tags(folder: Path) -> dict[str, str]:
    """What MLflow keeps of the folder, the machine and the code."""
    return {tags.FOLDER: str(folder), tags.HOST: host(), **source_facts(), **git_facts()}


@contextmanager
def held(folder: Path, *, within_s: float = 1.0) -> Iterator[int]:
    """Hold a run's folder for this process and those that inherit the descriptor it gives.

    Raises UsageError while another process holds it, and where files in it are links: who holds it writes.
    Who only asks whether a run is alive lets go at once. The system lets go when the last of them dies.
    """
    try:
        descriptor = os.open(folder / NAME, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW)
    except OSError:
        check_plain(folder)
        raise
    deadline = time.monotonic() + within_s
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise UsageError(f"{folder}: is still running") from None
                time.sleep(0.05)
        check_plain(folder)  # only now: whoever held it wrote, and files came and went
        yield descriptor
    finally:
        os.close(descriptor)


def is_running(folder: Path, started_on: str) -> bool:
    """Whether a process still works on the run, which was started on the machine of that name."""
    with (folder / NAME).open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    if started_on == host():
        return False
    return time.time() - (folder / NAME).stat().st_mtime < SILENT_FOR_S
