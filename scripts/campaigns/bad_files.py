"""Files of the campaign `tables` that are no tables, or very large ones."""

from __future__ import annotations

import gzip
import io
import itertools
from collections.abc import Iterator

import pandas as pd
from campaigns.bad_tables import A_BIT, NUM_ROWS, Case, base, text


def parquets() -> Iterator[Case]:
    """Parquet files, whole, cut and with a bit that is wrong."""
    columns = base() | {
        "flag": [row % 3 == 0 for row in range(NUM_ROWS)],
        "many": [2**53 + 1, 7] * (NUM_ROWS // 2),
    }
    columns |= {"gaps": [None, *(float(row % 5) for row in range(1, NUM_ROWS))]}
    frame = pd.DataFrame(columns).reindex(columns=[*(name for name in columns if name != "y"), "y"])
    frame.to_parquet(buffer := io.BytesIO())
    packed = buffer.getvalue()
    right = {
        name: [float("nan") if cell is None else cell for cell in cells] for name, cells in columns.items()
    }
    right |= {name: [float(cell) for cell in right[name]] for name in ("flag", "many")}
    for suffix in (".parquet", ".pq", ".PARQUET"):
        yield Case(f"parquet as {suffix}", packed, right, "15 digits", suffix)
    for part in range(1, 40):
        yield Case(f"parquet cut at {part}/40", packed[: len(packed) * part // 40], suffix=".parquet")
    for place in range(4, len(packed), 40):
        spoilt = packed[:place] + bytes([packed[place] ^ 16]) + packed[place + 1 :]
        yield Case(f"a bit of parquet at {place}", spoilt, right, A_BIT, suffix=".parquet")


def others() -> Iterator[Case]:
    """What is no table, or another kind of one than its name says."""
    pd.DataFrame(base()).to_parquet(buffer := io.BytesIO())
    packed, plain = buffer.getvalue(), text(base()).encode()
    junk = [
        b"",
        b"\xef\xbb\xbf",
        b"\r\n \n",
        b"\0" * 100,
        b"PK\3\4" + packed,
        b"<html><table>",
        b'{"size": [1], "y": [2]}',
    ]
    junk += [b"\x1f\x8b\x08", b"PAR1", b"PAR1" * 9, plain.replace(b",", b" "), gzip.compress(plain), packed]
    for content, suffix in itertools.product(junk, (".csv", ".tsv", ".parquet", ".csv.gz", ".xlsx", "")):
        is_right = (content, suffix) in [(gzip.compress(plain), ".csv.gz"), (packed, ".parquet")]
        if not is_right:
            yield Case(f"{content[:20]!r} as {suffix!r}", content, suffix=suffix)
    yield Case("csv as parquet", plain, suffix=".parquet")
    yield Case("commas in tsv", plain, suffix=".tsv")
    for name in (
        "nothing.csv",
        "no/where.csv",
        "~no_such_user/t.csv",
        "n" * 300 + ".csv",
        "",
        "~",
        "a\0b.csv",
        "/dev/null",
    ):
        yield Case(f"path {name!r:.20}", None, suffix=name)


def sizes() -> Iterator[Case]:
    """Too much of something."""
    wide = {f"c{at}": [(row * row * at % 20_011) / 4 for row in range(NUM_ROWS)] for at in range(3, 10_003)}
    wide |= {"y": base()["y"]}
    yield Case("10,000 columns", text(wide).encode(), wide)
    zeros = {name: cells if name == "y" else [0.0] * NUM_ROWS for name, cells in wide.items()}
    yield Case("10,000 columns of zeros", text(zeros).encode(), zeros, "the same")
    pd.DataFrame(wide).to_parquet(buffer := io.BytesIO())
    yield Case("10,000 columns of parquet", buffer.getvalue(), wide, suffix=".parquet")
    yield Case("10,000 columns, one short", text(wide).encode().replace(b",", b"", 1))
    yield Case("10,000 columns of one name", text(wide).encode().replace(b"c77,", b"c78,", 1))
    long = text(base(300_000), ";")
    yield Case("300,000 rows, one short", (long + "1;2").encode())
    for size, quote in itertools.product((100_000, 10_000_000), ("", '"')):
        cell = quote + "x" * size + quote
        named = {"x" * min(size, 10**6) if name == "kind" else name: some for name, some in base().items()}
        yield Case(
            f"a name of {size}",
            text(base()).replace("kind", cell).encode(),
            named if size < 131_072 else None,
        )
        yield Case(f"cell of {size} among numbers", text(base()).replace("3.125", cell).encode())
        yield Case(f"target of {size}", text(base()).replace("0.25\n", f"{cell}\n").encode())
        yield Case(
            f"blanks of {size}",
            text(base()).replace("kind", "kind" + " " * size).encode(),
            base() if size < 131_072 else None,
        )
    yield Case("a quote that never ends", ("size,kind,y\n" + '"1,a,2\n' * 1_000_000).encode())
