"""What a check came to, and how it is told."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.text import Text

from primer.summary import relative

MAX_LISTED = 3  # chosen: folders in a line
INDENT = 15


@dataclass(frozen=True)
class Finding:
    """What one check came to; `advice` is what to do about it."""

    name: str
    is_healthy: bool
    text: str
    advice: str | None = None


def show(findings: list[Finding]) -> None:
    """Print the findings, and below the unhealthy ones what to do."""
    console = Console(highlight=False, soft_wrap=True)
    # wrapped beside the names on a terminal; whole lines for whatever reads them otherwise
    width = max(console.width - 1, 40) if console.is_terminal else 1_000_000
    for finding in findings:
        mark, style = ("ok", "green") if finding.is_healthy else ("!!", "bold red")
        advice = "" if finding.is_healthy else finding.advice or ""
        for head, text in ((f"{mark} {finding.name}", finding.text), ("", advice)):
            lines = textwrap.wrap(text, width - INDENT, break_on_hyphens=False)
            shown = f"{head:<{INDENT}}" + f"\n{'':{INDENT}}".join(lines)
            if lines:  # a name of a folder may be what this output can't write
                shown = shown.encode(console.encoding, "backslashreplace").decode(console.encoding)
                console.print(Text.assemble((shown[:INDENT], style), shown[INDENT:]))


def listed(items: Sequence[Path | str]) -> str:
    """The first of them, and how many there are beside."""
    shown = ", ".join(str(relative(item) if isinstance(item, Path) else item) for item in items[:MAX_LISTED])
    return shown + (f" and {len(items) - MAX_LISTED} more" if len(items) > MAX_LISTED else "")
