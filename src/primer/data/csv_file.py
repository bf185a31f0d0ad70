"""Text tables: every line is counted before pandas, which repairs ragged rows silently, may read them."""

from __future__ import annotations

import csv
import io
import re
from array import array
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from primer.data.columns import has_leading_zeros
from primer.data.sheet import Sheet, columns_to_read
from primer.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

DELIMITERS = ",;\t|"  # in this order when several fit


def read_csv(file: str, content: bytes, *, target: str, drop: Sequence[str], delimiter: str | None) -> Sheet:
    """Read UTF-8 text, its first line the header; `delimiter` None: the one that splits the header most.

    Cells such as "", NA, NaN, null and None are missing; blanks before a cell are no part of it.
    Raises DataError with the line.

    >>> sheet = read_csv("a.csv", b"id;size;price\\n1;;2.5\\n", target="price", drop=["id"], delimiter=None)
    >>> sheet.frame.to_dict("records"), sheet.at(0)
    ([{'size': nan, 'price': 2.5}], 'line 2')
    """
    if b"\0" in content:
        raise DataError(
            f"{file}: holds NUL bytes, so it isn't UTF-8 text; save it as UTF-8 (UTF-16 isn't read)"
        )
    header, delimiter = _header(file, content, delimiter)
    kept = columns_to_read(file, header, target, drop)
    lines = _lines(file, content, delimiter, header)
    if not lines:
        raise DataError(f"{file}: has a header but no rows")

    frame = _frame(content, header, delimiter, kept)
    if len(frame) != len(lines):  # the two parsers part only at a lone quoted blank
        raise DataError(f"{file}: a line holds nothing but quoted blanks; delete it")
    if re.search(rb"[\s\"%b]0\d" % re.escape(delimiter.encode()), content):  # reading all twice is dear
        _keep_leading_zeros(frame, content, header, delimiter)
    return Sheet(file, frame, lines, drop)


def _frame(
    content: bytes, header: list[str], delimiter: str, columns: list[str], dtype: str | None = None
) -> pd.DataFrame:
    import pandas as pd

    return pd.read_csv(
        io.BytesIO(content),
        sep=delimiter,
        names=header,
        header=0,
        usecols=columns,
        index_col=False,
        encoding="utf-8-sig",
        dtype=dtype,  # None: by the cells
        skipinitialspace=True,
        low_memory=False,  # in one piece: by pieces, one column may get several types
    )


def _keep_leading_zeros(frame: pd.DataFrame, content: bytes, header: list[str], delimiter: str) -> None:
    """Put back the text of columns where 007 was read as 7: such digits are a name, not a number."""
    whole = [name for name in header if name in frame and frame[name].dtype.kind in "iuf"]
    texts = _frame(content, header, delimiter, whole, dtype="str") if whole else frame
    for name in whole:
        if has_leading_zeros(texts[name]):
            frame[name] = texts[name]


def _header(file: str, content: bytes, delimiter: str | None) -> tuple[list[str], str]:
    best: list[str] = []
    chosen, problem = ",", None
    for candidate in delimiter or DELIMITERS:
        try:
            _, fields = next(_rows(file, content, candidate), (1, []))
        except DataError as error:  # quotes that make no sense with this delimiter may with another
            problem = problem or error
            continue
        if len(fields) > len(best):
            best, chosen = fields, candidate
    if problem and len(best) < 2:
        raise problem
    if not best:
        raise DataError(f"{file}: is empty")
    return [name.strip() for name in best], chosen


def _lines(file: str, content: bytes, delimiter: str, header: list[str]) -> array[int]:
    """Return the line on which each row begins; raise DataError at one of another width, or at a header."""
    width = len(header)
    lines = array("q")
    for line, row in _rows(file, content, delimiter):
        if len(row) != width:
            fields = f"{len(row)} field" if len(row) == 1 else f"{len(row)} fields"
            raise DataError(f"{file}: line {line} has {fields}, expected {width} as in the header")
        if lines and row[0].strip() == header[0] and [name.strip() for name in row] == header:
            raise DataError(f"{file}: line {line} is the header once more; delete it")
        lines.append(line)
    return lines[1:]


def _rows(file: str, content: bytes, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield (first line, fields) of each row that isn't blank, the header included."""
    text = io.TextIOWrapper(io.BytesIO(content), encoding="utf-8-sig", newline="")
    reader = csv.reader(text, delimiter=delimiter, strict=True, skipinitialspace=True)
    line = 1
    try:
        for row in reader:
            if row and (len(row) > 1 or row[0].strip(" \t")):  # pandas skips what is blank, too
                yield line, row
            line = reader.line_num + 1
    except csv.Error as error:
        hint = "check its quotes"
        if "field limit" in str(error):
            hint = f"a quote that isn't closed, or a cell of more than {csv.field_size_limit():,} characters"
        raise DataError(f"{file}: line {line} can't be read: {error} ({hint})") from None
    except UnicodeDecodeError:
        raise DataError(_undecodable(file, content)) from None


def _undecodable(file: str, content: bytes) -> str:
    try:
        content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        return f"{file}: line {line} isn't UTF-8 (byte 0x{content[error.start]:02x}); save the file as UTF-8"
    raise AssertionError("decoded in one piece, but not in pieces")
