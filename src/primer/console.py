"""Where results are printed."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len
from rich.console import Console

UNLIMITED = 10_000  # columns of a file


def result_console() -> Console:
    """Standard output; where that is no terminal, tables are as wide as they need."""
    console = Console(highlight=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = UNLIMITED
    return console


def without_spare(
    columns: Sequence[str], rows: Sequence[Sequence[str]], spare: Sequence[str], width: int
) -> list[int]:
    """The places of the columns that fit a width: of `spare` ones, the first is left out first.

    >>> without_spare(["name", "age"], [["relu", "3 s"]], spare=["age"], width=8)
    [0]
    """
    places = list(range(len(columns)))
    sizes = [
        max(cell_len(text) for text in (name, *(row[at] for row in rows))) for at, name in enumerate(columns)
    ]
    for name in spare:
        if sum(sizes[at] + 2 for at in places) - 2 <= width:
            break
        places.remove(columns.index(name))
    return places
