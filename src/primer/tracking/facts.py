"""Where a run happened: the code's commit and changes, packages, machine; and what of it is other now."""

from __future__ import annotations

import getpass
import hashlib
import os
import platform
import re
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from primer.leaks import REDACTED, is_secret_key
from primer.redact import redacted_text
from primer.tracking import tags

PACKAGES = ("torch", "lightning", "numpy", "scikit-learn", "pandas", "torchmetrics", "torch-primer")
COMMIT = "mlflow.source.git.commit"
LARGEST_PATCH = 10_000_000  # chosen, in bytes: a larger one is data, not code

# Of a patch: where a file begins, one of settings, and a line of it, whose values need no quotes.
FILE = re.compile(r"^(?=diff --git )", re.MULTILINE)
SETTINGS = re.compile(r"diff --git .*(\.(ya?ml|ini|cfg|conf|toml|env|properties|json)|/\.env[\w.]*)\"?\n")
SETTING = re.compile(r"""([+ -]\s*(?:-\s+|export\s+)?["']?(?P<name>[\w.-]+)["']?\s*[:=]\s*)(?P<value>.*)""")


def host() -> str:
    """The name of this machine."""
    return platform.node()


def source_facts() -> dict[str, str]:
    """Tags that MLflow's page shows for who started a run, and with what."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container whose user has no name
        user = "unknown"
    return {"mlflow.user": user, "mlflow.source.name": "primer", "mlflow.source.type": "LOCAL"}


def git_facts() -> dict[str, str]:
    """Tags for the commit of the working directory and what is not committed; none outside git."""
    commit = _git("rev-parse", "HEAD")
    if commit is None:
        return {}
    facts = {COMMIT: commit.strip()}
    remote = _git("config", "--get", "remote.origin.url")
    if remote:
        facts["mlflow.source.git.repoURL"] = redacted_text(remote.strip())
    patch = _patch()
    digest = {tags.PATCH: hashlib.sha256(patch.encode()).hexdigest()[:16]} if patch else {}
    return facts | {tags.DIRTY: "true" if patch else "false"} | digest


def git_patch() -> str:
    """What is not committed in the working directory, as a patch without secrets; empty where all is."""
    patch = _patch()
    if len(patch) > LARGEST_PATCH:
        return ""
    files = [_without_settings(text) if SETTINGS.match(text) else text for text in FILE.split(patch)]
    return redacted_text("".join(files))


def _without_settings(text: str) -> str:
    """The patch of a file of settings without what stands after, or below, the name of a secret."""
    lines, depth = [], -1  # of the secret's name
    for line in text.splitlines(keepends=True):
        found = SETTING.match(line)
        indent = len(line[1:]) - len(line[1:].lstrip())
        is_below = depth >= 0 and indent > depth and line[:1] in "+- "
        if found and (is_below or is_secret_key(found["name"])):
            depth = depth if is_below else indent
            line = f"{found[1]}{REDACTED}\n" if found["value"].strip() else line
        elif is_below and line[1:].strip():
            line = f"{line[: indent + 1]}{REDACTED}\n"
        else:
            depth = -1
        lines.append(line)
    return "".join(lines)


def changed_since(commit: str) -> list[str]:
    """The files below the working directory's repository that differ from a commit: `+3 -1 src/net.py`.

    Empty where git does not know the commit.
    """
    if not re.fullmatch("[0-9a-f]{40}", commit):  # it may come from elsewhere: no option, no range
        return []
    numbers = _git("diff", "--numstat", "--no-ext-diff", commit) or ""
    rows = [line.split("\t") for line in numbers.splitlines()]
    return [f"+{added} -{removed} {file}" for added, removed, file in rows]


def _patch() -> str:
    return _git("diff", "HEAD", "--no-color", "--no-ext-diff") or ""


def _git(*arguments: str) -> str | None:
    try:
        # a network filesystem can make git slow; a run does not wait for it
        done = subprocess.run(
            ["git", *arguments], capture_output=True, text=True, errors="replace", timeout=5, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout


def num_cpus() -> int:
    """The CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def environment() -> dict[str, Any]:
    """Python, platform and the version of every installed package."""
    return {
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "machine": platform.machine(),
        "host": host(),
        "num_cpus": num_cpus(),
        "packages": _packages(tuple((entry, _changed_at(entry)) for entry in sys.path)),
    }


@cache
def _packages(places: tuple[tuple[str, float], ...]) -> dict[str, str]:
    """The version of each installed package; `places` are where, and when something there was changed."""
    found = [dist.metadata for dist in metadata.distributions()]  # each takes reading and parsing a file
    versions = {facts["Name"]: facts["Version"] for facts in found}
    return dict(sorted(versions.items(), key=lambda item: str(item[0]).lower()))


def _changed_at(path: str) -> float:
    try:
        return Path(path).stat().st_mtime
    except OSError:  # a zip that is gone, an empty word
        return 0.0


def drift(then: Mapping[str, str], environment_then: Mapping[str, Any]) -> dict[str, str]:
    """What changed since a run with these tags and this environment: name -> "OLD -> NEW".

    What the run did not write down is not compared.

    >>> drift(git_facts() | {tags.HOST: host()}, environment() | {"python": "3.0"})  # doctest: +ELLIPSIS
    {'python': '3.0 -> 3...'}
    """
    code, now = git_facts(), environment()
    packages = environment_then.get("packages", {})
    before_and_now = {
        "commit": (str(then.get(COMMIT))[:10], str(code.get(COMMIT))[:10]),
        "uncommitted": (then.get(tags.PATCH, "nothing"), code.get(tags.PATCH, "nothing")),
        "host": (then.get(tags.HOST, host()), host()),
        **{name: (environment_then.get(name), now[name]) for name in ("python", "machine", "num_cpus")},
        **{name: (packages.get(name), now["packages"].get(name)) for name in PACKAGES},
    }
    return {name: f"{old} -> {new}" for name, (old, new) in before_and_now.items() if old not in (None, new)}
