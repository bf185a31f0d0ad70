"""What is to be learned: which task a target asks for, and its values as numbers or labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np

from primer.data.columns import is_numbers, numbers_or_text
from primer.data.dataset import Array, Task
from primer.data.sheet import Sheet
from primer.data.wording import did_you_mean, shown
from primer.errors import ConfigError, DataError

if TYPE_CHECKING:
    import pandas as pd

TASKS = ("auto", "regression", "classification")
MAX_INFERRED_CLASSES = 20  # chosen: whole numbers with more distinct values are quantities
ROWS_PER_CLASS = 10  # chosen: so many rows a distinct value on average, or whole numbers are quantities


class Target(NamedTuple):
    """A sound target: `y` is (rows, 1) float64 for regression, (rows,) int64 labels for classification."""

    task: Task
    y: Array
    classes: tuple[str, ...]


def read_target(sheet: Sheet, name: str, task: str) -> Target:
    """Return the target column `name`, read for `task`.

    "auto": text and booleans are classes; so are whole numbers with 2 distinct values, or with at most 20
    that have 10 rows each on average; other numbers are a regression. Raises DataError for a missing value,
    a constant target and a class with one row; ConfigError for a task that the values can't have.

    >>> import pandas as pd
    >>> sheet = Sheet("a.csv", pd.DataFrame({"y": ["no", "yes", "no", "yes"]}), lines=None)
    >>> read_target(sheet, "y", "auto")
    Target(task='classification', y=array([0, 1, 0, 1]), classes=('no', 'yes'))
    """
    if task not in TASKS:
        hint = did_you_mean(task, TASKS)
        raise ConfigError(f"data.task={task}: expected one of {', '.join(TASKS)}{hint}")
    _check_present(sheet, name)
    if task == "classification" and not is_numbers(sheet.frame[name]):
        column = sheet.frame[name].astype("str")  # as it is: a class may be named 3+ among 1 and 2
    else:
        column = numbers_or_text(sheet, name)
    if column.nunique() == 1:
        raise DataError(
            f"{sheet.file}: target {shown(name)} is {shown(column.iloc[0])} in all {len(column)} rows: "
            "nothing to learn"
        )
    decided = cast(Task, task) if task != "auto" else _infer_task(column)
    if decided == "classification":
        return _classification(sheet, name, column)
    if not is_numbers(column):
        import pandas as pd

        first = int(np.flatnonzero(pd.to_numeric(column, errors="coerce").isna())[0])
        raise ConfigError(
            f"data.task=regression: target {shown(name)} of {sheet.file} is text "
            f"({sheet.at(first)}: {shown(column.iloc[first])}); use data.task=classification"
        )
    return Target("regression", column.to_numpy(np.float64)[:, None], ())


def _check_present(sheet: Sheet, name: str) -> None:
    missing = np.flatnonzero(sheet.frame[name].isna().to_numpy())
    if len(missing):
        rows = "1 row" if len(missing) == 1 else f"{len(missing)} rows"
        raise DataError(
            f"{sheet.file}: {sheet.at(int(missing[0]))}: target {shown(name)} is missing ({rows} of "
            f"{len(sheet.frame)} in all); fill it in, or delete such rows"
        )


def _infer_task(column: pd.Series) -> Task:
    if column.dtype.kind == "f":
        return "regression"
    if column.dtype.kind in "iu":
        distinct = column.nunique()
        few = distinct <= MAX_INFERRED_CLASSES and distinct * ROWS_PER_CLASS <= len(column)
        return "classification" if distinct == 2 or few else "regression"
    return "classification"


def _classification(sheet: Sheet, name: str, column: pd.Series) -> Target:
    values, first, labels, counts = np.unique(
        column.to_numpy(), return_index=True, return_inverse=True, return_counts=True
    )
    single = np.flatnonzero(counts == 1)
    if len(single):
        example = f"{shown(values[single[0]])} ({sheet.at(int(first[single[0]]))})"
        found = f"class {example} of target {shown(name)} has only one row"
        if len(single) > 1:
            found = f"{len(single)} classes of target {shown(name)} have only one row each, first {example}"
        hint = "; data.task=regression learns numbers" if is_numbers(column) else ""
        raise DataError(f"{sheet.file}: {found}; add rows of it or delete it{hint}")
    return Target(
        "classification", labels.astype(np.int64, copy=False), tuple(str(value) for value in values)
    )
