"""A table as it lies in its file: typed columns, and where in the file each row is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from primer.data.wording import did_you_mean, listed, shown
from primer.errors import DataError

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class Sheet:
    """The kept columns of a file whose shape is sound; what is in the cells isn't checked yet."""

    file: str  # the file's name, as messages begin with it
    frame: pd.DataFrame
    lines: Sequence[int] | None  # the 1-based line in the file of each row; None: the file has no lines
    dropped: Sequence[str] = ()  # the columns that data.drop names already

    def at(self, row: int) -> str:
        """Return where a person finds 0-based `row`: "line 12" of a text file, "row 11" of a Parquet file."""
        return f"row {row + 1}" if self.lines is None else f"line {self.lines[row]}"


def columns_to_read(file: str, header: Sequence[str], target: str, drop: Sequence[str]) -> list[str]:
    """Return the names of `header` without `drop`, in the file's order.

    Raises DataError for a header that names a column twice or not at all, for an unknown name in `target`
    or `drop`, and when no feature is left.

    >>> columns_to_read("houses.csv", ["id", "area", "price"], target="price", drop=["id"])
    ['area', 'price']
    """
    for number, name in enumerate(header, start=1):
        if not name:
            raise DataError(
                f"{file}: column {number} has no name in the header; name it, or delete it "
                "(pandas writes such a column for its index, unless told index=False)"
            )
    twice = [name for name, count in Counter(header).items() if count > 1]
    if twice:
        places = " and ".join(str(n) for n, name in enumerate(header, start=1) if name == twice[0])
        raise DataError(f"{file}: columns {places} are both named {shown(twice[0])}; rename one of them")
    for name in [target, *drop]:
        if name not in header:
            key = "" if name == target else "data.drop: "
            hint = did_you_mean(name, header)
            raise DataError(f"{file}: {key}no column {shown(name)}{hint} (columns: {listed(header)})")
    if target in drop:
        raise DataError(f"{file}: the target {shown(target)} is listed in data.drop; take it out of the list")
    kept = [name for name in header if name not in drop]
    if kept == [target]:
        raise DataError(
            f"{file}: no column is left to learn {shown(target)} from (columns: {listed(header)})"
        )
    return kept
