"""Templates: a stream of a schema up to its numbers, as each of the writers lays it out.

The metadata of a message is the same for every batch of a schema but for some int64 (layout.py). So
whoever knows those bytes recognises a message by comparison, without a walk through a flatbuffer
that somebody else has made. Arrow's C++ lays the same tables out in another order: what it does is
learned from a stream that it has written.
"""

import struct
from collections.abc import Sequence
from typing import NamedTuple

import pyarrow as pa

from kernels.ipc import layout
from kernels.ipc.layout import Message

# a column's kind: bytes a value, or
SYMBOL, BYTES, TEXT = 0, -1, -2
_OPTIONS = pa.ipc.IpcWriteOptions(compression="lz4", use_threads=False)
_PREFIX = 8


class Template(NamedTuple):
    """Messages of one writer: of each dictionary in the order of the columns, then of the rows."""

    dictionaries: tuple[Message, ...]
    batch: Message


def of(schema: pa.Schema, kinds: Sequence[int]) -> tuple[Template, Template]:
    """What kernels.ipc.Writer makes of a schema, and what pyarrow does."""
    dictionaries = tuple(map(layout.dictionary_batch, range(kinds.count(SYMBOL))))
    buffers = sum(2 + (kind < 0) for kind in kinds)
    ours = Template(dictionaries, layout.record_batch(len(kinds), buffers))
    return ours, _of_arrow(schema)


def _of_arrow(schema: pa.Schema) -> Template:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema, options=_OPTIONS) as writer:
        writer.write_batch(
            pa.RecordBatch.from_arrays([_one(field.type) for field in schema], schema=schema)
        )
    stream = sink.getvalue().to_pybytes()
    at, messages = schema.serialize().size, []
    while at < len(stream) - len(layout.END):
        (size,) = struct.unpack_from("<i", stream, at + 4)
        message = _learned(stream[at : at + _PREFIX + size])
        (body,) = struct.unpack_from("<q", message.bytes, message.body_bytes)
        at += _PREFIX + size + body
        messages.append(message)
    return Template(tuple(messages[:-1]), messages[-1])


def _one(kind: pa.DataType) -> pa.Array:
    """One value that is not nothing: a flatbuffer leaves out what is 0."""
    if pa.types.is_dictionary(kind):
        return _one(kind.value_type).dictionary_encode()
    return pa.array(["a"] if kind in (pa.string(), pa.binary()) else [1], kind)


def _learned(message: bytes) -> Message:
    """The places of the numbers of a message: Message.fbs, its fields by number."""
    table = _followed(message, _PREFIX)
    header = _followed(message, _field(message, table, 2))
    if message[_field(message, table, 1)] == layout.DICTIONARY_BATCH:
        header = _followed(message, _field(message, header, 1))
    return Message(
        message,
        _field(message, table, 3),
        _field(message, header, 0),
        _followed(message, _field(message, header, 1)) + 4,
        _followed(message, _field(message, header, 2)) + 4,
    )


def _field(data: bytes, table: int, number: int) -> int:
    (back,) = struct.unpack_from("<i", data, table)
    (place,) = struct.unpack_from("<H", data, table - back + 4 + 2 * number)
    return int(table + place)


def _followed(data: bytes, at: int) -> int:
    (offset,) = struct.unpack_from("<I", data, at)
    return int(at + offset)
