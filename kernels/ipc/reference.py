"""The plain twin of _core.Streams: the same bytes, from rows as Python lists."""

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from kernels.ipc import layout

_LEAST = 64  # a smaller buffer is not worth a frame
_TABLE_BITS, _FEWEST_BITS = 12, 6
_FARTHEST = 65_535
_TAIL, _LITERAL_TAIL = 16, 8  # bytes of a block that no match begins in, that no match ends in
_KEY, _LEAST_MATCH = 8, 4
_PATIENCE = 5
_MIX = 0x9E3779B97F4A7C15


class Streams:
    """Writes the batches of one schema; widths: bytes a value of each column, 0 = texts by code."""

    def __init__(self, schema: bytes, widths: Sequence[int]) -> None:
        self._schema, self._widths = schema, widths

    def write(
        self, batch: pa.RecordBatch, by: int, chosen: npt.NDArray[np.int32], parts: int
    ) -> list[tuple[int, bytes]] | None:
        """[(part, stream)] of the parts that have rows; None where a text is null."""
        columns = batch.columns
        if any(
            not width and (column.null_count or column.dictionary.null_count)
            for column, width in zip(columns, self._widths, strict=True)
        ):
            return None
        part_of = [0] * batch.num_rows
        if by >= 0:
            part_of = [int(chosen[code]) for code in columns[by].indices.to_pylist()]
        for part in part_of:
            if not 0 <= part < parts:
                raise IndexError(f"a text is of part {part} of {parts}")
        rows_of: dict[int, list[int]] = {}
        for row, part in enumerate(part_of):
            rows_of.setdefault(part, []).append(row)
        return [(part, self._stream(batch.take(rows_of[part]))) for part in sorted(rows_of)]

    def lines(self, parts: Sequence[npt.NDArray[Any]], texts: Any) -> bytes:
        """One stream of the lines of all parts; `texts`: symbols.Texts of their codes."""
        rows = np.concatenate(parts)
        columns = []
        names = rows.dtype.names or ()
        for name, width in zip(names, self._widths, strict=True):
            numbers = rows[name].tolist()
            if width:
                columns.append(pa.array(rows[name]))
                continue
            if not all(0 <= code < len(texts.names) for code in numbers):
                raise IndexError(f"a row names a text beyond the {len(texts.names)} of its table")
            named = pa.array([texts.names[code] for code in numbers], pa.string())
            columns.append(named.dictionary_encode())
        return self._stream(pa.RecordBatch.from_arrays(columns, names=list(names)))

    def _stream(self, rows: pa.RecordBatch) -> bytes:
        messages, buffers, dictionary = [self._schema], [], 0
        nulls = [column.null_count for column in rows.columns]
        for column, width in zip(rows.columns, self._widths, strict=True):
            if width:
                given = column.to_pylist()
                values = [0 if value is None else value for value in given]
                kind = "d" if column.type == pa.float64() else "iq"[width // 8]
                buffers.append(_valid(given) if column.null_count else b"")
                buffers.append(_buffer(struct.pack(f"<{len(values)}{kind}", *values), width))
                continue
            texts = list(dict.fromkeys(column.to_pylist()))
            code = {text: place for place, text in enumerate(texts)}
            codes = [code[text] for text in column.to_pylist()]
            buffers += [b"", _buffer(struct.pack(f"<{len(codes)}i", *codes), 4)]
            letters = [text.encode() for text in texts]
            ends = np.cumsum([0, *map(len, letters)], dtype="<i4").tobytes()
            parts = [b"", _buffer(ends, 4), _buffer(b"".join(letters), 4)]
            message = layout.dictionary_batch(dictionary)
            messages.append(_filled(message, len(texts), [0], parts))
            dictionary += 1
        count = len(self._widths)
        message = layout.record_batch(count, 2 * count)
        return b"".join([*messages, _filled(message, rows.num_rows, nulls, buffers), layout.END])


def _valid(values: Sequence[object]) -> bytes:
    """A bit of each row, the first the lowest of its byte: 0 where it is null."""
    bits = [value is not None for value in values]
    return _buffer(np.packbits(bits, bitorder="little").tobytes(), 4)


def _filled(
    message: layout.Message, rows: int, nulls: Sequence[int], buffers: Sequence[bytes]
) -> bytes:
    """nulls: of each node."""
    made, body = bytearray(message.bytes), b""
    for number, buffer in enumerate(buffers):
        at = message.buffers + layout.BUFFER_BYTES * number
        struct.pack_into("<qq", made, at, len(body), len(buffer))
        body += buffer + bytes(-len(buffer) % 8)
    for number, count in enumerate(nulls):
        struct.pack_into("<qq", made, message.nodes + layout.NODE_BYTES * number, rows, count)
    struct.pack_into("<q", made, message.rows, rows)
    struct.pack_into("<q", made, message.body_bytes, len(body))
    return bytes(made) + body


def _buffer(data: bytes, width: int) -> bytes:
    """A buffer as it stands in a body: an LZ4 frame where that is smaller, else as it is."""
    if not data:
        return b""
    room = len(data) - len(data) // 16 - len(layout.FRAME_END)
    framed = layout.FRAME
    for at in range(0, len(data), layout.BLOCK_BYTES):
        block = data[at : at + layout.BLOCK_BYTES]
        left = min(room - len(framed) - 4, len(block))
        made = lz4_block(block, width, left) if len(data) >= _LEAST and left > 0 else None
        if made is None:
            return struct.pack("<q", layout.RAW) + data
        framed += struct.pack("<I", len(made)) + made
    return struct.pack("<q", len(data)) + framed + layout.FRAME_END


def lz4_block(data: bytes, width: int, room: int) -> bytes | None:
    """One block of LZ4 whose matches begin and end with a word; None where `room` does not do."""
    bits = _FEWEST_BITS
    while bits < _TABLE_BITS and width << bits < len(data):
        bits += 1
    table: dict[int, int] = {}
    made, at, anchor, misses = b"", 0, 0, 0
    while at <= len(data) - _TAIL:
        key = data[at : at + _KEY]
        slot = (int.from_bytes(key, "little") * _MIX & 2**64 - 1) >> (64 - bits)
        seen = table.get(slot)
        table[slot] = at
        if seen is None or at - seen > _FARTHEST or data[seen : seen + _KEY] != key:
            kept = _ending(data, at) if width == 8 and at else 0
            if kept:
                literals = data[anchor : at + 8 - kept]
                if room - len(made) < len(literals) + len(literals) // 255 + 5:
                    return None
                made += _sequence(literals, kept - _LEAST_MATCH) + struct.pack("<H", 8)
                at += 8
                anchor = at
                continue
            at += width * (1 + (misses >> _PATIENCE))
            misses += 1
            continue
        match = _KEY
        for step in (_KEY, width):
            last = len(data) - _LITERAL_TAIL - step
            while at + match <= last and _same(data, at + match, seen + match, step):
                match += step
        literals = data[anchor:at]
        if room - len(made) < len(literals) + len(literals) // 255 + match // 255 + 5:
            return None
        made += _sequence(literals, match - _LEAST_MATCH)
        made += struct.pack("<H", at - seen) + _length(match - _LEAST_MATCH)
        at += match
        anchor, misses = at, 0
    literals = data[anchor:]
    if room - len(made) < len(literals) + len(literals) // 255 + 2:
        return None
    return made + _sequence(literals, 0)


def _ending(data: bytes, at: int) -> int:
    """In how many bytes, 4 to 7, the 8 at `at` end like the 8 before them; 0: fewer, or all."""
    kept = 0
    while kept < 8 and data[at + 7 - kept] == data[at - 1 - kept]:
        kept += 1
    return kept if _LEAST_MATCH <= kept < 8 else 0


def _same(data: bytes, one: int, other: int, size: int) -> bool:
    return data[one : one + size] == data[other : other + size]


def _sequence(literals: bytes, match: int) -> bytes:
    token = min(15, len(literals)) << 4 | min(15, match)
    return bytes([token]) + _length(len(literals)) + literals


def _length(count: int) -> bytes:
    """What of a count is beyond the 15 of its half of the token."""
    if count < 15:
        return b""
    return b"\xff" * ((count - 15) // 255) + bytes([(count - 15) % 255])
