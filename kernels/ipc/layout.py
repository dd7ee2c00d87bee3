"""Layout: the metadata of Arrow's IPC messages as bytes, with the places of what changes.

A message is

    0xFFFFFFFF | size of the metadata i32 | metadata, a flatbuffer | body: buffers, 8-byte aligned

and a message's metadata for given counts of nodes and buffers differs from batch to batch in some
int64 alone. So the flatbuffer is laid out here once, and the loops fill in the numbers:

    Message     version V5, header, bodyLength
    header      RecordBatch, or DictionaryBatch (id) around one
    RecordBatch length, nodes [length, null count], buffers [offset, length], compression LZ4_FRAME

Source: Arrow's columnar format, Message.fbs and Schema.fbs; flatbuffers' internals. Little-endian.
"""

import struct
from typing import NamedTuple

END = b"\xff\xff\xff\xff\0\0\0\0"  # what ends a stream
NODE_BYTES = BUFFER_BYTES = 16
# LZ4's frame around independent blocks of up to 64 KB without checksums, and its end; larger blocks
# cost each reader as much fresh memory
FRAME = bytes.fromhex("04224d18604082")
FRAME_END = bytes(4)
BLOCK_BYTES = 64 << 10
RAW = -1  # in place of a buffer's size: it follows as it is

_V5 = 4
DICTIONARY_BATCH, _RECORD_BATCH = 2, 3


class Message(NamedTuple):
    """A message up to its body, and where its int64 stand: numbers are places in `bytes`."""

    bytes: bytes
    body_bytes: int
    rows: int
    nodes: int
    buffers: int


def record_batch(nodes: int, buffers: int) -> Message:
    """The message of a record batch."""
    return _message(_RECORD_BATCH, b"", 36, nodes, buffers)


def dictionary_batch(dictionary: int) -> Message:
    """The message of the texts of one dictionary: validity, offsets, data."""
    #          vtable of 2 slots: id, data | to the vtable; data; id
    between = struct.pack("<HHHHi", 8, 16, 8, 4, 0)  # 4 bytes of it are padding up to the table
    table = struct.pack("<iIq", 12, 80 - 52, dictionary)
    return _message(DICTIONARY_BATCH, between + table, 64, 1, 3)


def _message(header: int, around: bytes, at: int, nodes: int, buffers: int) -> Message:
    """`around`: what stands between the message's table and the batch's vtable at `at`."""
    table = at + 12 + (-(at + 12) % 8)  # of the batch: its int64 are aligned
    compression = table + 24  # a vtable without slots, then a table without fields
    node_at = compression + 8 + 8
    node_at += -node_at % 8
    nodes_end = node_at + NODE_BYTES * nodes
    buffer_at = nodes_end + 8
    first = 48 if around else table  # the table that the message's header is
    message = b"".join(
        [
            struct.pack("<I", 16),
            # vtable: version, header_type, header, bodyLength
            struct.pack("<HHHHHH", 12, 20, 16, 18, 4, 8),
            struct.pack("<iIqhBx", 12, first - 20, 0, _V5, header),
            around,
            # vtable: length, nodes, buffers, compression
            struct.pack("<HHHHHH", 12, 24, 8, 4, 16, 20),
            bytes(table - at - 12),
            struct.pack("<iI", table - at, node_at - 4 - (table + 4)),
            struct.pack("<q", 0),
            struct.pack("<II", buffer_at - 4 - (table + 16), compression + 4 - (table + 20)),
            struct.pack("<HHi", 4, 4, 4),
            bytes(node_at - 4 - (compression + 8)),
            struct.pack("<I", nodes),
            bytes(NODE_BYTES * nodes),
            struct.pack("<II", 0, buffers),
            bytes(BUFFER_BYTES * buffers),
        ]
    )
    prefix = struct.pack("<Ii", 0xFFFFFFFF, len(message))
    places = (24, table + 8, node_at, buffer_at)
    return Message(prefix + message, *(len(prefix) + place for place in places))
