"""Rows as the values of records: by partition, as Arrow streams, of a size that Kafka takes.

The bridge and the agents write through this module: kernels.ipc where it takes the topic's columns
and nothing is null, schemas.codec otherwise.
"""

from collections.abc import Sequence
from functools import partial

import numpy as np
import pyarrow as pa

from kernels.columns import numbers
from kernels.ipc import Writer, writable
from schemas import Topic
from schemas.codec import encode
from streams.fit import fits, fitting

Values = list[tuple[int, bytes]]  # (partition, value): one record each

# by name: hashing a schema at every output costs a good part of what its writer saves
_WRITERS: dict[str, Writer | None] = {}


def values(topic: Topic, rows: pa.RecordBatch, chosen: Sequence[int]) -> Values:
    """The rows by partition, each as the values of one record or of several in order.

    chosen: the partition of each text of the topic's partition column, or the one of all rows.
    """
    if rows.num_rows == 0:
        return []
    if (writer := _writer(topic)) is not None:
        by = topic.partition_by if len(set(chosen)) > 1 else None
        streams = writer.write(rows, by, chosen, max(chosen) + 1)
        if streams is not None and all(fits(value) for _, value in streams):
            return streams if by else [(chosen[0], value) for _, value in streams]
    return [
        (partition, value)
        for partition, part in _split(topic, rows, chosen)
        for value in fitting(part, partial(encode, topic))
    ]


def only_value(topic: Topic, rows: pa.RecordBatch) -> bytes:
    """All rows as one value, whatever its size."""
    writer = _writer(topic)
    streams = writer.write(rows) if writer is not None else None
    return streams[0][1] if streams else encode(topic, rows)


def _writer(topic: Topic) -> Writer | None:
    if topic.name not in _WRITERS:
        _WRITERS[topic.name] = Writer(topic.schema) if writable(topic.schema) else None
    return _WRITERS[topic.name]


def _split(
    topic: Topic, rows: pa.RecordBatch, chosen: Sequence[int]
) -> list[tuple[int, pa.RecordBatch]]:
    """Rows by partition, order kept within each."""
    if len(set(chosen)) == 1:
        return [(chosen[0], rows)]
    # 16 bits: numpy sorts those by counting
    partitions = np.array(chosen, np.int16)[numbers(rows.column(topic.partition_by).indices)]
    sizes = np.bincount(partitions).tolist()
    if max(sizes) == rows.num_rows:
        return [(int(partitions[0]), rows)]
    sorted_rows = rows.take(pa.array(np.argsort(partitions, kind="stable")))
    parts, at = [], 0
    for partition, size in enumerate(sizes):
        if size:
            parts.append((partition, sorted_rows.slice(at, size)))
        at += size
    return parts
