"""Where results are printed."""

from __future__ import annotations

from rich.console import Console

UNLIMITED = 10_000  # columns of a file


def result_console() -> Console:
    """Standard output; where that is no terminal, tables are as wide as they need."""
    console = Console(highlight=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = UNLIMITED
    return console
