"""What records hold, as text."""

from __future__ import annotations

from typing import Any

MAX_NAMES, MAX_CHARS = 12, 40  # chosen: a line that is read at a glance


def text_of(value: Any) -> str:
    """A param's value as text.

    >>> text_of(True), text_of(0.1), text_of([1, 2])
    ('true', '0.1', '[1, 2]')
    """
    return str(value).lower() if isinstance(value, bool) else str(value)


def data_of(record: dict[str, Any]) -> str:
    """What a run learns from which columns, and how many rows there are, as its journal says.

    >>> rows = {"train": 70, "test": 30}
    >>> data_of({"name": "cars", "features": ["doors", "age"], "target": "price", "num_rows": rows})
    'cars: price from doors, age; 70 train, 30 test rows'
    """
    name, target, *names = (
        repr(text if len(text) <= MAX_CHARS else f"{text[: MAX_CHARS - 1]}…")[1:-1]
        for text in (record["name"], record["target"], *record["features"])
    )
    few = ", ".join(names)
    columns = few if len(names) <= MAX_NAMES else f"{len(names)} columns, {names[0]} to {names[-1]}"
    counts = ", ".join(f"{num_rows} {split}" for split, num_rows in record["num_rows"].items())
    return f"{name}: {target} from {columns}; {counts} rows"
