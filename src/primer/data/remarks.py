"""What a table was taken for where that may surprise: one line for each kind of surprise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from primer.data.columns import FEW_CATEGORIES, LEADING_ZEROS, is_numbers
from primer.data.sheet import Sheet
from primer.data.wording import listed, shown

if TYPE_CHECKING:
    import pandas as pd

MANY_CATEGORIES = 100  # chosen: so many are most columns of x
MANY_COPIES = 0.5  # chosen: from this share on, few test rows are new to the net
NUM_TRIED = 8  # chosen: rows that differ in these columns differ
EXACT = 2.0**53  # from here on, float64 has no place for every whole number
LONGEST_INT = 2.0**64  # beyond it, whole numbers are more likely measured than counted

AMONG = "numbers among text in {}; all are taken as categories"
CASES = "categories that differ in case or blanks only in {}; they are taken as different"
ZEROS = "digits with leading zeros in {}; they are taken as text"
MANY = "very many categories in {}; each is a column of x"
SAME = "the same in every row: {}; nothing can be learned from it"
COUNTER = "{} only counts the rows; leave it out with data.drop"
DATES = "numbers that look like dates, as 20240131, in {}; they are taken as plain numbers"
DIGITS = "whole numbers of more than 15 digits in {}; their last digits are lost"


def remarks(sheet: Sheet, features: pd.DataFrame, target: str, classes: Sequence[str]) -> tuple[str, ...]:
    """Return what a person should know of `sheet`, read as checked `features` and, if any, target `classes`.

    >>> import pandas as pd
    >>> sheet = Sheet("a.csv", pd.DataFrame({"doors": ["2", "3+", "2"], "y": [1.5, 3.5, 2.5]}), lines=None)
    >>> remarks(sheet, sheet.frame[["doors"]], "y", [])
    ("a.csv: numbers among text in doors ('2', '3+'); all are taken as categories",)
    """
    found: dict[str, list[str]] = {}
    columns = dict(features.items())
    for name, raw in sheet.frame.items():
        if name == target and classes:
            kinds = _of_text(raw, is_target=True) if not is_numbers(raw) else iter(())
        elif name != target and not is_numbers(columns[name]):
            kinds = _of_text(raw, is_target=False)
        else:
            kinds = _of_numbers(raw, raw if name == target else columns[name])
        for kind, example in kinds:
            found.setdefault(kind, []).append(f"{name}{example}")
    lines = [kind.format(listed(names)) for kind, names in found.items()]
    return tuple(f"{sheet.file}: {line}" for line in [*lines, *_of_header(sheet), *_of_rows(sheet)])


def _of_text(raw: pd.Series, *, is_target: bool) -> Iterator[tuple[str, str]]:
    import pandas as pd

    texts = pd.Series(raw.dropna().astype("str").unique(), dtype="str")
    numeric = pd.to_numeric(texts, errors="coerce").notna()
    if numeric.all() and (zeros := texts[texts.str.fullmatch(LEADING_ZEROS)]).size:
        yield ZEROS, _such_as(zeros.head(1))
    elif numeric.any() and not numeric.all():
        yield AMONG, _such_as([texts[numeric].iloc[0], texts[~numeric].iloc[0]])
    bare = texts.str.strip().str.casefold()
    if (twice := bare.duplicated(keep=False)).any():
        yield CASES, _such_as(texts[bare == bare[twice].iloc[0]].head(2))
    is_most = len(texts) > FEW_CATEGORIES and 2 * len(texts) > raw.notna().sum()
    if not is_target and (len(texts) > MANY_CATEGORIES or is_most):
        yield MANY, f" ({len(texts)})"
    if len(texts) == 1 and raw.notna().all():
        yield SAME, ""


def _of_numbers(raw: pd.Series, column: pd.Series) -> Iterator[tuple[str, str]]:
    values = column.to_numpy(np.float64, na_value=np.nan)
    values = values[~np.isnan(values)]
    least, most = values.min(), values.max()
    if least == most:
        yield SAME, ""
    elif (values == np.floor(values)).all():
        if len(values) == len(raw) and (np.diff(values) == 1).all():
            yield COUNTER, ""
        day, month = values % 100, values // 100 % 100
        is_day = (day >= 1) & (day <= 31) & (month >= 1) & (month <= 12)
        if least >= 19000101 and most <= 21001231 and is_day.all():
            yield DATES, ""
    largest = max(-least, most)
    if largest >= EXACT and (raw.dtype.kind != "f" or largest <= LONGEST_INT):
        yield DIGITS, ""


def _of_header(sheet: Sheet) -> Iterator[str]:
    import pandas as pd

    names = pd.Series(list(sheet.frame), dtype="str")
    if names.str.contains(".", regex=False).any() and pd.to_numeric(names, errors="coerce").notna().all():
        yield f"the header is all numbers: {listed(names)}; if that is a row, put a line of names above it"


def _of_rows(sheet: Sheet) -> Iterator[str]:
    num_rows = len(sheet.frame)
    for columns in (sheet.frame.columns[:NUM_TRIED], sheet.frame.columns):
        num_copies = int(sheet.frame.duplicated(list(columns)).sum())
        if num_copies < MANY_COPIES * num_rows:
            return
    yield f"{num_copies} of {num_rows} rows repeat another; the same row may be trained and tested on"


def _such_as(examples: Sequence[str] | pd.Series) -> str:
    return f" ({', '.join(shown(example) for example in examples)})"
