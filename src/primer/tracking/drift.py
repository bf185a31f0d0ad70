"""What is not as it was when a run was begun: its code, its packages, its machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from primer.tracking.facts import COMMIT, changed_since, environment, git_facts, host
from primer.tracking.tags import HOST, PATCH

PACKAGES = ("torch", "lightning", "numpy", "scikit-learn", "pandas", "torchmetrics", "torch-primer")


def drift(tags: Mapping[str, str], environment_then: Mapping[str, Any]) -> dict[str, str]:
    """What changed since a run with these tags and this environment: name -> "OLD -> NEW".

    What the run did not write down is not compared.

    >>> drift(git_facts() | {HOST: host()}, environment() | {"python": "3.0"})  # doctest: +ELLIPSIS
    {'python': '3.0 -> 3...'}
    """
    code, now = git_facts(), environment()
    packages = environment_then.get("packages", {})
    before_and_now = {
        "commit": (str(tags.get(COMMIT))[:10], str(code.get(COMMIT))[:10]),
        "uncommitted": (tags.get(PATCH, "nothing"), code.get(PATCH, "nothing")),
        "host": (tags.get(HOST, host()), host()),
        **{name: (environment_then.get(name), now[name]) for name in ("python", "machine", "num_cpus")},
        **{name: (packages.get(name), now["packages"].get(name)) for name in PACKAGES},
    }
    return {name: f"{old} -> {new}" for name, (old, new) in before_and_now.items() if old not in (None, new)}


def changed_files(tags: Mapping[str, str]) -> list[str]:
    """The files that are not as in the commit of a run with these tags, as `+3 -1 src/net.py`."""
    return changed_since(tags.get(COMMIT, ""))
