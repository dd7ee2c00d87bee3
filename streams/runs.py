"""What a fetch brought of one partition: its records, and the runs of them that are one event.

    records = records_of(tp, fetched)        # kernels.records: one walk over the fetched bytes
    for run in runs_of(records): ...         # consecutive records, no hole within one

A record's value is a view of the fetched bytes, which live as long as one of their records does; of
its headers those are kept that an agent asks for.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

from aiokafka import ConsumerRecord
from faust.types import TP

from kernels.records import Records, read_headers
from schemas.codec import REGISTRY_OFFSET

# What one event costs is paid once a run: up to 1 MB of small messages.
RUN_BYTES = 1 << 20
RUN_RECORDS = 64
# But a batch of more than some 40,000 rows leaves the cache of a core, which costs more than it
# saves. Rows are what a message has beyond its schema and texts, about 32 KB.
RUN_ROW_BYTES = 400 << 10
TEXT_BYTES = 32 << 10

HEADERS = ("content-type", "ce_type", REGISTRY_OFFSET)  # that gather.Message reads
_CREATE_TIME = 0

_headers_of = lru_cache(256)(read_headers)  # a producer writes the same ones in every record


def records_of(tp: TP, fetched: Records) -> list[Any]:
    """The fetched records as aiokafka's, in order; values are views, keys bytes."""
    codes, distinct = fetched.header_codes(HEADERS)
    headers = [_headers_of(entries) for entries in distinct]
    view = memoryview(fetched.buffer)
    places = zip(
        fetched.offset.tolist(),
        fetched.timestamp_ms.tolist(),
        fetched.value_at.tolist(),
        fetched.value_size.tolist(),
        codes.tolist(),
        strict=True,
    )
    records = []
    for row, (offset, timestamp_ms, at, size, code) in enumerate(places):
        value, key = view[at : at + size] if size >= 0 else None, fetched.key(row)
        key_size = len(key) if key is not None else -1
        records.append(
            ConsumerRecord(
                tp.topic,
                tp.partition,
                offset,
                timestamp_ms,
                _CREATE_TIME,
                key,
                value,
                None,
                key_size,
                size,
                headers[code],
            )
        )
    return records


def runs_of(records: Sequence[Any]) -> Iterator[list[Any]]:
    """One partition's records, in order, as runs: no hole within one, and none too large."""
    run: list[Any] = []
    size = row_bytes = 0
    for record in records:
        more = max(0, record.serialized_value_size)  # -1: no value
        more_rows = max(0, more - TEXT_BYTES)
        if run and (
            record.offset != run[-1].offset + 1
            or len(run) == RUN_RECORDS
            or size + more > RUN_BYTES
            or row_bytes + more_rows > RUN_ROW_BYTES
        ):
            yield run
            run, size, row_bytes = [], 0, 0
        run.append(record)
        size += more
        row_bytes += more_rows
    if run:
        yield run
