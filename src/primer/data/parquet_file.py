"""Parquet tables: plain columns of numbers, booleans and text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from primer.data.columns import leave_out
from primer.data.sheet import Sheet, columns_to_read
from primer.data.wording import shown
from primer.errors import DataError


def read_parquet(file: str, content: bytes, *, target: str, drop: Sequence[str]) -> Sheet:
    """Read a Parquet file; a pandas index in it is no column. Raises DataError with the column."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        source = pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True)
        schema = source.schema_arrow
        index = _index_columns(schema)  # once: it is read from JSON that grows with the columns
        header = [name for name in schema.names if name not in index]
        kept = columns_to_read(file, header, target, drop)
        types = {name: _plain_type(file, name, schema.field(name).type, drop) for name in kept}
        # select() as well: read() takes "a.b" for a column of that name and for the field b of a struct a.
        table = source.read(columns=kept).select(kept).cast(pa.schema(types))
        table.validate(full=True)  # else text that isn't UTF-8 is found by whoever looks at it
        frame = table.to_pandas(ignore_metadata=True)
    except DataError:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:  # ValueError: metadata that is no JSON
        reason = str(error).partition("\n")[0][:200]
        raise DataError(f"{file}: isn't a Parquet file that can be read: {reason}") from None
    if not len(frame):
        raise DataError(f"{file}: has columns but no rows")
    return Sheet(file, frame, lines=None, dropped=drop)


def _index_columns(schema: Any) -> list[str]:
    """Return the columns that hold the index of the DataFrame that was written: names, not measurements."""
    written = schema.pandas_metadata
    described = written.get("index_columns") if isinstance(written, dict) else None
    return [name for name in described or [] if isinstance(name, str)]  # a dict describes a range: no column


def _plain_type(file: str, name: str, kind: Any, drop: Sequence[str]) -> Any:
    """Return the type to read column `name` as: dictionaries as their values, decimals as floats."""
    import pyarrow as pa

    is_a = pa.types
    if is_a.is_dictionary(kind):
        return _plain_type(file, name, kind.value_type, drop)
    if is_a.is_decimal(kind) or is_a.is_float16(kind):
        return pa.float64()
    if is_a.is_integer(kind) or is_a.is_floating(kind) or is_a.is_boolean(kind) or is_a.is_null(kind):
        return kind
    if is_a.is_string(kind) or is_a.is_large_string(kind) or is_a.is_string_view(kind):
        return pa.large_string()
    what = f"is of type {kind}, which is no number and no text"
    if is_a.is_temporal(kind):
        what = f"holds dates or times ({kind})"
    raise DataError(f"{file}: column {shown(name)} {what}; convert it to numbers, or {leave_out(name, drop)}")
