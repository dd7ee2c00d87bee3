"""The messages of a run as batches, so that a step and its outputs are paid for once a batch.

    for group in alike(messages, alone_to):          # what may become one batch
        rows = gather(topic, group)                  # one batch, or None: one by one then

Only what is in hand is joined. How the log falls into batches may differ at a replay, so a stage
says by `gathers` that its rows do not rest on it (README.md).
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import Any

import pyarrow as pa

from kernels.ipc import Reader, readable
from schemas import TOPICS, DecodeError, Topic
from schemas.codec import REGISTRY_OFFSET, check_headers, decode, header_map


class Message:
    """One record of a run, and what its headers say.

    registry_offset: of its stamp, -1 without one, None where that is no number.
    """

    __slots__ = ("headers", "offset", "record", "registry_offset")

    def __init__(self, record: Any) -> None:
        self.record = record
        self.offset: int = record.offset
        self.headers = header_map(record.headers)
        stamp = self.headers.get(REGISTRY_OFFSET, "-1")
        self.registry_offset = int(stamp) if stamp.removeprefix("-").isdecimal() else None

    @property
    def value(self) -> bytes | None:
        """A copy of its value."""
        return None if self.record.value is None else bytes(self.record.value)

    def rows(self, topic: Topic) -> pa.RecordBatch:
        """Its rows; DecodeError as decode() gives it, or for a stamp that is no number."""
        if self.registry_offset is None:
            stamp = self.headers[REGISTRY_OFFSET]
            raise DecodeError(f"{REGISTRY_OFFSET} is {stamp!r}", "send the offset as a number")
        rows = gather(topic, [self])
        return decode(topic, self.value, self.headers) if rows is None else rows


def alike(messages: Iterable[Message], alone_to: int) -> Iterator[list[Message]]:
    """Consecutive messages of one registry offset; up to offset `alone_to` each on its own."""
    group: list[Message] = []
    for message in messages:
        if group and (
            group[0].offset <= alone_to or message.registry_offset != group[0].registry_offset
        ):
            yield group
            group = []
        group.append(message)
    if group:
        yield group


def gather(topic: Topic, messages: Sequence[Message]) -> pa.RecordBatch | None:
    """The rows of all messages as one batch; None where one of them must be read by decode().

    Which says then what is wrong with it.
    """
    try:
        for message in messages:
            check_headers(topic, message.headers)
    except DecodeError:
        return None
    reader = _reader(topic.name)
    return reader and reader.read([message.record.value for message in messages])


@cache
def _reader(topic: str) -> Reader | None:
    schema = TOPICS[topic].schema
    return Reader(schema) if readable(schema) else None


def lengths(topic: Topic, messages: Sequence[Message]) -> list[int]:
    """How many rows each of these messages has, which were gathered before: one column is read."""
    one = topic.schema.get_field_index(topic.time_column)
    options = pa.ipc.IpcReadOptions(included_fields=[one], use_threads=False)
    counted = []
    for message in messages:
        with pa.ipc.open_stream(pa.py_buffer(message.record.value), options=options) as reader:
            counted.append(sum(batch.num_rows for batch in reader))
    return counted
