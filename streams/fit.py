"""Rows as records that Kafka takes: halves where one would be too large, and no foreign names."""

from collections.abc import Callable, Iterator

import pyarrow as pa

from streams.client import MAX_MESSAGE_BYTES

RECORD_MAX_BYTES = MAX_MESSAGE_BYTES - (1 << 20)  # headers and Kafka's own bytes come on top


def fits(value: bytes) -> bool:
    """Whether Kafka takes this value as one record."""
    return len(value) <= RECORD_MAX_BYTES


def fitting(rows: pa.RecordBatch, write: Callable[[pa.RecordBatch], bytes]) -> Iterator[bytes]:
    """The rows as one record, or in order as halves of them where it would be too large.

    A single row is one record whatever its size.
    """
    value = write(rows)
    if fits(value) or rows.num_rows < 2:
        yield value
        return
    half = rows.num_rows // 2
    for part in (rows.slice(0, half), rows.slice(half)):
        yield from fitting(own_symbols(part), write)


def own_symbols(rows: pa.RecordBatch) -> pa.RecordBatch:
    """The same rows without dictionary values that none of them has.

    A filtered or sliced batch keeps the whole dictionary, and with it the names in rows that are
    no longer there.
    """
    columns = [
        column.cast(pa.string()).dictionary_encode()
        if isinstance(column, pa.DictionaryArray)
        else column
        for column in rows.columns
    ]
    return pa.RecordBatch.from_arrays(columns, schema=rows.schema)
