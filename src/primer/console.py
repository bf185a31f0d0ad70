"""Where results are printed."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

UNLIMITED = 10_000  # columns of a file


def result_console() -> Console:
    """Standard output; where that is no terminal, tables are as wide as they need."""
    console = Console(highlight=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = UNLIMITED
    return console


def fitting_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[Text]],
    words: Sequence[str],
    spare: Sequence[str],
    width: int,
) -> Table:
    """A table that fits a width: of the `spare` columns, the first is left out first.

    Columns of `words` are wrapped where they must be; the others are numbers.

    >>> table = fitting_table(["name", "age"], [[Text("relu"), Text("3 s")]], ["name"], ["age"], width=8)
    >>> [column.header for column in table.columns]
    ['name']
    """
    places = list(range(len(columns)))
    sizes = [max(cell.cell_len for cell in (Text(columns[at]), *(row[at] for row in rows))) for at in places]
    for name in spare:
        if sum(sizes[at] + 2 for at in places) - 2 <= width:
            break
        places.remove(columns.index(name))
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in (columns[at] for at in places):
        is_text = column in words
        table.add_column(column, justify="left" if is_text else "right", no_wrap=not is_text, overflow="fold")
    for row in rows:
        table.add_row(*(row[at] for at in places))
    return table
