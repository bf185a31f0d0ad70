"""What a column holds, numbers or text, and whether every cell can be trusted."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from primer.data.dataset import Array
from primer.data.sheet import Sheet
from primer.data.wording import shown
from primer.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

NUMBERS_FROM = 0.9  # chosen: from this share of numbers on, the text cells of a column are mistakes
MAX_CATEGORIES = 1000  # chosen: each category is a column of x
FEW_CATEGORIES = 20  # chosen: so few are categories even when no two rows share one
NEARLY_ALL = 0.9  # chosen: with more distinct texts a row, a column names rows (an id, a remark)
MAX_NAME = 100  # chosen: a longer name isn't repeated in a message
MAX_ADVICE = 400  # chosen: a dozen names
# What Hydra takes for a name without quotes.
PLAIN_WORD = re.compile(r"(?!(?i:null|true|false|inf|nan)\b)[A-Za-z_]\w*", re.ASCII)
LARGEST = float(np.finfo(np.float32).max)  # x is float32
LEADING_ZEROS = r"\s*0\d+\s*"  # 007: digits that name something
NO_DIGIT = r"[\s,'’_%$€£¥]"  # what people and spreadsheets write into a number
MONTH = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?"
    r"|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)"
)
TIME = r"\d{1,2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?: ?[ap]m)?"
DATE = (
    rf"(?i)\s*(?:{TIME}|\d{{4}}-(?:0[1-9]|1[0-2])"  # a time of the day, a month
    r"|(?:\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.](?:\d{4}|\d{2}))(?:[T ].*)?"
    rf"|(?:[a-z]{{3,9}},? )?\d{{1,2}}[- .]*{MONTH}[-., ]*\d{{2,4}}|{MONTH}[-. ]*(?:\d{{1,2}},? *)?\d{{4}})"
)


def feature(sheet: Sheet, name: str) -> pd.Series:
    """Return column `name` as finite numbers (NaN: missing), as booleans without gaps, or as text.

    Raises DataError, with the row, for cells that would be learned as something they are not.

    >>> import pandas as pd
    >>> sheet = Sheet("a.csv", pd.DataFrame({"a": ["1", "2"], "b": ["red", None]}), lines=[2, 3])
    >>> feature(sheet, "a").tolist(), feature(sheet, "b").tolist()
    ([1, 2], ['red', nan])
    """
    if sheet.frame[name].isna().all():
        raise DataError(
            f"{sheet.file}: column {shown(name)} has no value in any row; {leave_out(name, sheet.dropped)}"
        )
    column = numbers_or_text(sheet, name, way_out=f", or {leave_out(name, sheet.dropped)}")
    if not is_numbers(column):
        _check_categories(sheet, name, column)
    return column


def is_numbers(column: pd.Series) -> bool:
    """Tell whether a checked column is numbers (booleans are 0 and 1) rather than text."""
    return column.dtype.kind in "biuf"


def has_leading_zeros(text: pd.Series) -> bool:
    """Tell whether digits in a text column name something, as 007 does; one such cell may be a slip."""
    return bool(text.str.fullmatch(LEADING_ZEROS).sum() >= 2)


def numbers_or_text(sheet: Sheet, name: str, *, way_out: str = "") -> pd.Series:
    """Return column `name` as numbers when all its cells are, else as text; DataError when nearly all are.

    `way_out` ends the messages: what else than correcting the cells can be done.
    """
    import pandas as pd

    column = sheet.frame[name]
    if column.dtype.kind == "O" and all(type(value) is bool for value in column.dropna()):
        column = column.astype(np.float64)  # booleans with gaps
    if not is_numbers(column):
        text = column.astype("str")
        if has_leading_zeros(text):
            return text
        parsed = pd.to_numeric(text, errors="coerce")
        wrong = np.flatnonzero((parsed.isna() & text.notna()).to_numpy())
        if len(wrong):
            _check_nearly_numbers(sheet, name, text, int(wrong[0]), way_out)
            _check_dates(sheet, name, text, way_out)
            return text
        column = parsed
    _check_finite(sheet, name, column)
    return column


def _check_nearly_numbers(sheet: Sheet, name: str, text: pd.Series, first_wrong: int, way_out: str) -> None:
    import pandas as pd

    # So that 1,5 and 1,000 and 5 % count as meant to be numbers.
    bare = text.str.replace(NO_DIGIT, "", regex=True).str.replace("−", "-", regex=False)
    meant = pd.to_numeric(bare, errors="coerce").notna().sum()
    if meant >= NUMBERS_FROM * text.notna().sum():
        value = text.iloc[first_wrong]
        hint = "write it with a decimal point and without commas" if "," in value else "correct the cell"
        if "," not in value and pd.notna(pd.to_numeric(bare.iloc[first_wrong], errors="coerce")):
            hint = "write it as digits only, as 1234.5 or -7"
        raise DataError(
            f"{sheet.file}: {sheet.at(first_wrong)}: column {shown(name)} holds numbers, but {shown(value)} "
            f"isn't one; {hint}{way_out}"
        )


def _check_finite(sheet: Sheet, name: str, column: pd.Series) -> None:
    values: Array = column.to_numpy(np.float64)
    wrong = np.flatnonzero(np.abs(values) > LARGEST)  # False for NaN
    if len(wrong):
        row = int(wrong[0])
        what = "is infinite" if np.isinf(values[row]) else f"is beyond 32-bit numbers ({LARGEST:.2g})"
        raise DataError(
            f"{sheet.file}: {sheet.at(row)}: column {shown(name)}: {shown(values[row])} {what}; "
            "correct the cell"
        )


def _check_dates(sheet: Sheet, name: str, text: pd.Series, way_out: str) -> None:
    dates = text.str.fullmatch(DATE, na=False).to_numpy(bool)
    if dates.sum() >= NUMBERS_FROM * text.notna().sum():
        row = int(np.flatnonzero(dates)[0])
        raise DataError(
            f"{sheet.file}: {sheet.at(row)}: column {shown(name)} holds dates or times "
            f"({shown(text.iloc[row])}); convert it to numbers (year, day of the year, hours){way_out}"
        )


def _check_categories(sheet: Sheet, name: str, text: pd.Series) -> None:
    count, distinct = int(text.notna().sum()), int(text.nunique())
    if distinct > MAX_CATEGORIES or (distinct > FEW_CATEGORIES and distinct > NEARLY_ALL * count):
        raise DataError(
            f"{sheet.file}: column {shown(name)} has {distinct} distinct texts in {count} rows "
            f"(first {shown(text.dropna().iloc[0])}): too many for categories; "
            f"{leave_out(name, sheet.dropped)}"
        )


def leave_out(name: str, dropped: Sequence[str] = ()) -> str:
    """Return what to do with a column that can't be used, in words, beside those that are left out already.

    >>> leave_out("id")
    'leave the column out with data.drop=[id]'
    >>> print(leave_out("b c", ["id", "null"]))
    leave the column out with 'data.drop=[id,"null","b c"]'
    """
    names = [*dropped, name]
    words = [each if PLAIN_WORD.fullmatch(each) else f'"{each}"' for each in names]
    override = f"data.drop=[{','.join(words)}]"
    is_short = len(name) <= MAX_NAME and len(override) <= MAX_ADVICE
    is_told = is_short and override.isprintable() and not {*"".join(names)} & {*"\"'\\"}
    override = f"'{override}'" if '"' in override else override  # as a shell takes it
    return f"leave the column out with {override if is_told else 'data.drop'}"
