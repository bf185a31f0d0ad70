"""The tables of the campaign `tables`, made by rules, and what each of them has to come to."""

from __future__ import annotations

import csv
import gzip
import io
import itertools
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from primer.data.splits import split_rows

SPLIT: dict[str, Any] = {"val_fraction": 0.2, "test_fraction": 0.2, "seed": 0}
NUM_ROWS = 60
DELIMITERS = ",;\t|"
QUOTINGS: dict[str, Any] = {"few": csv.QUOTE_MINIMAL, "all": csv.QUOTE_ALL}
ENCODINGS = {"utf-8": True, "utf-8-sig": True} | dict.fromkeys(  # True: is read
    ("utf-16", "utf-16-le", "utf-32", "latin-1", "cp1252", "mac-roman"), False
)
DATES = (
    *("%Y-%m-%d", "%d.%m.%Y", "%m/%d/%Y", "%d/%m/%y", "%Y/%m/%d", "%Y-%m-%dT%H:%M:%SZ", "%d.%m.%Y %H:%M"),
    *("%d %b %Y", "%b %d, %Y", "%d-%b-%y", "%B %Y", "%Y-%m", "%H:%M:%S", "%A %d %B %Y", "%I:%M %p"),
)
GAPS = {"", "NA", "NaN", "null", "nan", "None", "n/a"}
REFUSED = """
1,5|2,5;1.234,5|2.500,5;1,000|2,500;1 000|2 500;1'000|2'500;5%|7.5%;$5|$7.25;€5|€6;−5|−7;'1'|'2';1 €|2 €
1_000|2_000;inf|1;1e400|1;1e39|1;-Infinity|2;NA|;nan|None
"""
SILENT = """
1|2.5|-3|+4|.5|5.|1e3|1E-3;1||NA|NaN|null|2;1e-400|3; 1|2 ;True|False;TRUE|false;True||False;0|1;1.0|0.0
red|blue;yes|no;Y|N|;T|F;日本|ß|🦆;n/a|up|down;3-4|1-2;0x1F|0x2A;<b>|&x;=1+1|=A1;-|+;4 doors|2 doors; a|b
"""
SAID = {  # what has to be told of cells that are read
    "15 digits": "9007199254740993|1;123456789012345678901|7;9007199254740993||4;18446744073709551616|0",
    "case or blanks": "Yes|yes|no;red |red",
    "among text": "1|2|3+;True|1|0;1|?;1|2|x|3;1,5|2|many",
    "leading zeros": "007|008;01|02|12",
    "the same": "7;red;True",
}
HEADERS = (
    *(("Size", "size", "y"), ("日本", "a.b[0]", "y"), ('"a"\nb', "c;,|\td", "y"), ("1", "2", "y")),
    *(("Y", "_y", "y"), ("size__a", "size", "y"), ("True", "NA", "y"), ("Unnamed: 0", "a'b", "y")),
)
A_BIT = "a bit"  # said of a spoilt file, of which nothing is known but that it must not raise
NAMES = ("k" * 99_999, "a\nb\nc", "'", '"]', "\x1b[31m")  # that a message can't repeat as they are


class Case(NamedTuple):
    """A table: `right` has what each column comes to (None: it is refused), `said` a part of what is told."""

    kind: str
    content: bytes | None  # None: no file, its name is `suffix`
    right: dict[str, list[Any]] | None = None
    said: str = ""
    suffix: str = ".csv"
    task: str = "auto"


def dialects() -> Iterator[Case]:
    """Sound tables, in every encoding, with every delimiter, line end and way to quote."""
    columns = base() | {'a,b;"c\nd': [f'x{"y,;| "[row % 5]}\t{row % 2}"\n' for row in range(NUM_ROWS)]}
    for encoding, delimiter, end, (name, quoting) in itertools.product(
        ENCODINGS, DELIMITERS, ("\n", "\r\n", "\r"), QUOTINGS.items()
    ):
        content = text(columns, delimiter, end, quoting).encode(encoding)
        kind = f"{encoding} {delimiter!r} {end!r} quoted {name}"
        yield Case(kind, content, columns if ENCODINGS[encoding] else None)
        if encoding == "utf-8":
            packed = gzip.compress(content)
            yield Case(f"gz {kind}", packed, columns, suffix=".csv.gz")
            yield Case(f"cut gz {kind}", packed[: len(packed) // 2], suffix=".csv.gz")
            yield Case(f"spoilt gz {kind}", packed[:-9] + b"\0" + packed[-8:], suffix=".csv.gz")


def cells() -> Iterator[Case]:
    """A column of strange cells among sound ones."""
    kinds = [(cell, None, "") for cell in _split(REFUSED)] + [(cell, "read", "") for cell in _split(SILENT)]
    kinds += [(cell, "read", said) for said, lines in SAID.items() for cell in _split(lines)]
    kinds += [([date.strftime(form) for date in _dates(12)], None, "") for form in DATES]
    kinds += [([date.strftime("%Y%m%d") for date in _dates(12)], "read", "dates")]
    kinds += [
        ([f"name {n}" for n in range(60)], None, ""),
        ([f"w{n}" for n in range(40)], "read", "categories"),
    ]
    kinds += [([str(n) for n in range(1, 99)], "read", "number of the row"), (["x" * 200_000, "y"], None, "")]
    for (some, expected, said), delimiter in itertools.product(kinds, DELIMITERS):
        column = list(itertools.islice(itertools.cycle(some), NUM_ROWS))
        read = base() | {"bad": typed(column)}
        content = text(base() | {"bad": column}, delimiter).encode()
        yield Case(f"cells {delimiter!r} {some!r:.60}", content, read if expected else None, said)


def rows() -> Iterator[Case]:
    """Rows that repeat one another, and headers that may be rows, or that no message can repeat."""
    few, twice = base(20), {name: some * 3 for name, some in base(20).items()}
    words = {"size": ["a", "size"] * 30, "y": ["b", "y"] * 30}
    for delimiter in DELIMITERS:
        yield Case(f"repeated rows {delimiter!r}", text(twice, delimiter).encode(), twice, "rows repeat")
        some = {name: column + few[name] for name, column in base().items()}
        yield Case(f"a few repeated {delimiter!r}", text(some, delimiter).encode(), some)
        yield Case(f"header among words {delimiter!r}", text(words, delimiter).encode())
        for name, wrong in itertools.product(NAMES, ("", "1,5", "2024-01-31")):
            columns = base() | {name: [wrong] * NUM_ROWS}
            yield Case(f"{wrong!r} in {name!r:.9} {delimiter!r}", text(columns, delimiter).encode())


def targets() -> Iterator[Case]:
    """A strange column to predict."""
    told = {"yes|Yes|no": "case or blanks", "1|2|3+": "among text", "007|008": "leading zeros"}
    read = ["no|yes", "a|b|c|d", "0|1", "1.5|2.5", "True|False", "TRUE|false", "Y|N", " up|down", *told]
    refused = [
        "1,5|2,5",
        "1|",
        "|",
        "yes|no|NA",
        "7",
        "red",
        "inf|1",
        "1e400|1",
        "5%|6%",
        "2024-01-31|2024-02-01",
    ]
    for some, delimiter in itertools.product([*read, *refused], DELIMITERS):
        column = list(itertools.islice(itertools.cycle(some.split("|")), NUM_ROWS))
        values = typed(column)
        if some in ("True|False", "TRUE|false"):
            values = [str(value == 1.0) for value in values]
        elif some == "0|1":
            values = column
        content = text(base() | {"y": column}, delimiter).encode()
        right = base() | {"y": values} if some in read else None
        yield Case(f"target {delimiter!r} {some!r}", content, right, told.get(some, ""))
    large = [str(2**64 + row % 4) for row in range(NUM_ROWS)]
    yield Case(
        "large classes", text(base() | {"y": large}).encode(), base() | {"y": large}, task="classification"
    )
    lone = ["a", *["b", "c"] * (NUM_ROWS // 2)][:NUM_ROWS]
    yield Case("a class with one row", text(base() | {"y": lone}).encode())
    held_back = split_rows(NUM_ROWS, **SPLIT).val[:2]
    few = ["b" if row in held_back else "c" for row in range(NUM_ROWS)]
    yield Case("few of a class", text(base() | {"y": few}).encode(), base() | {"y": few}, "training")


def damages() -> Iterator[Case]:
    """A sound file, and what editors, disks and spreadsheets make of it."""
    for delimiter, end in itertools.product(DELIMITERS, ("\n", "\r\n")):
        whole = text(base(), delimiter, end)
        lines = whole.split(end)
        for kind, spoilt in _spoilt(lines, delimiter).items():
            yield Case(
                f"{kind} {delimiter!r} {end!r}", spoilt.replace("\n", end).encode("utf-8", "surrogateescape")
            )
        gaps = [f" {f'{delimiter} '.join(line.split(delimiter))}" for line in lines]
        for kind, sound in {
            "blank lines": "\n\n \n".join(lines),
            "no last line end": "\n".join(lines).rstrip(),
            "blanks after delimiters": "\n".join(gaps),
            "blanks before quotes": "\n".join(gaps).replace("solide", '"solide"'),
        }.items():
            yield Case(f"{kind} {delimiter!r} {end!r}", sound.replace("\n", end).encode(), base())
        for names in HEADERS:
            columns = dict(zip(names, base().values(), strict=True))
            yield Case(f"header {names!r} {delimiter!r}", text(columns, delimiter, end).encode(), columns)


def _spoilt(lines: list[str], delimiter: str) -> dict[str, str]:
    """What has to be refused."""
    head, rows = lines[0], lines[1:-1]
    whole, first, cut = "\n".join(lines), rows[0], rows[30].rpartition(delimiter)[0]
    names = head.split(delimiter)
    changed = {  # of one row in the middle
        "short": cut, "long": rows[30] + delimiter + "1", "trailing delimiter": rows[30] + delimiter,
        "open quote": '"' + rows[30], "quote within": rows[30].replace("solide", '"so"lide'),
        "backslash": rows[30].replace("solide", '"a \\"b\\""'), "NUL": rows[30] + "\0",
        "broken byte": rows[30].replace("solide", "s\udcfclide"), "comment": "# 12 rows follow",
        "repeated header": head, "byte order mark": "\ufeff" + rows[30], "quoted blanks": '"  "',
        "only delimiters": delimiter * 2, "shifted": delimiter.join(["", *rows[30].split(delimiter)[:2]]),
    }  # fmt: skip
    tops = {
        "no header": [], "comment first": ["# made by hand", head], "sep": [f"sep={delimiter}", head],
        "units": [head, delimiter.join(["m", "", "kg"])], "two headers": [head, head],
        "twice a name": [delimiter.join(["size", "size", "y"])], "no name": [delimiter.join(["", "a", "y"])],
        "blank name": [delimiter.join(["a", "\u00a0 ", "y"])], "one name more": [head + delimiter],
        "other target": [delimiter.join(["a", "b", "z"])],
        "two tables": [head, first, "", delimiter.join(names[::-1])],
    }  # fmt: skip
    ends = {
        "header only": "",
        "header only, no line end": "\n",
        "one row": f"\n{first}\n",
        "two rows": f"\n{first}\n{first}",
    }
    return {
        **{kind: "\n".join([head, *rows[:30], row, *rows[31:], ""]) for kind, row in changed.items()},
        **{kind: "\n".join([*top, *rows, ""]) for kind, top in tops.items()},
        **{kind: head + end for kind, end in ends.items()},
        "cut": whole[: whole.rindex(delimiter)],
        "trailing everywhere": whole.replace("\n", f"{delimiter}\n"),
    }


FAMILIES = (dialects, cells, rows, targets, damages)


def base(num_rows: int = NUM_ROWS) -> dict[str, list[Any]]:
    """A sound table: numbers, text, a target."""
    return {
        "size": [row * row / 8 for row in range(num_rows)],
        "kind": ["solide" if row % 2 == 0 else "flüssig" for row in range(num_rows)],
        "y": [row * 7 % 31 + 0.25 for row in range(num_rows)],
    }


def text(
    columns: dict[str, Any], delimiter: str = ",", end: str = "\n", quoting: Any = csv.QUOTE_MINIMAL
) -> str:
    """What a spreadsheet writes."""
    writer = csv.writer(file := io.StringIO(), delimiter=delimiter, lineterminator=end, quoting=quoting)
    writer.writerows([list(columns), *zip(*columns.values(), strict=True)])
    return file.getvalue()


def typed(some: Sequence[str]) -> list[Any]:
    """What cells are, if all are alike: numbers and gaps, booleans and gaps, else text."""
    bare = [cell.lstrip(" ") for cell in some]
    booleans = [{"true": 1.0, "false": 0.0}.get(cell.lower(), float("nan")) for cell in bare]
    if all(value == value or cell in GAPS for value, cell in zip(booleans, bare, strict=True)):
        return booleans
    try:
        if (
            sum(cell.isdigit() and len(cell) > 1 and cell[0] == "0" for cell in bare) < 2
            and "_" not in bare[0]
        ):
            return [float("nan") if cell in GAPS else float(cell) for cell in bare]
    except ValueError:
        pass
    return ["missing" if cell in GAPS else cell for cell in bare]


def _dates(number: int) -> list[datetime]:
    return [datetime(2020, 1, 1, 9, 30) + timedelta(days=35.21 * n) for n in range(number)]


def _split(lines: str) -> list[list[str]]:
    return [cell.split("|") for cell in lines.strip("\n").replace("\n", ";").split(";")]
