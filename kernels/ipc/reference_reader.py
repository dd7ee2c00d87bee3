"""The plain twin of _reader.Rows: the same batches, and None for the same values."""

import struct
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from kernels.ipc import layout, templates
from kernels.ipc.layout import Message
from kernels.ipc.templates import SYMBOL, TEXT, Template

SPARE = 64  # bytes of padding that a column may bring along
_SIZE = 8  # before a buffer: what it is uncompressed
_INT32_MAX = 2**31 - 1
_FRAMES = {layout.FRAME: False, bytes.fromhex("04224d184040c0"): True}  # are its blocks linked?
_MOST = 255  # bytes of output that a byte of input can stand for
_LAST_LITERALS, _LAST_MATCH = 5, 12
_AS_IT_IS = 1 << 31


class _Other(Exception):  # noqa: N818
    """A value is not of the layout, or not sound."""


class _Opened(NamedTuple):
    rows: int
    buffers: list[bytes]
    end: int


class Rows:
    """Reads the streams of one schema; kinds: of each column, see templates."""

    def __init__(self, schema: pa.Schema, kinds: Sequence[int]) -> None:
        self._schema, self._kinds = schema, kinds
        self._head = schema.serialize().to_pybytes()
        self._templates = templates.of(schema, kinds)

    def read(self, values: Sequence[object]) -> pa.RecordBatch | None:
        """The rows of the values as one batch; None where one is not of this layout."""
        try:
            found = [self._columns(value) for value in values]
            if not found or sum(len(columns[0][0]) for columns in found) > _INT32_MAX:
                return None
            columns = zip(*found, strict=True)
            arrays = [
                _joined(kind, field.type, list(parts))
                for kind, field, parts in zip(self._kinds, self._schema, columns, strict=True)
            ]
        except (_Other, UnicodeDecodeError):
            return None
        return pa.RecordBatch.from_arrays(arrays, schema=self._schema)

    def _columns(self, value: object) -> list[tuple[list[object], list[bytes]]]:
        """Of each column the rows of one value, and the texts of their codes."""
        if isinstance(value, memoryview) and value.c_contiguous:
            value = bytes(value)
        if type(value) is not bytes or not value.startswith(self._head):
            raise _Other
        for template in self._templates:
            if messages := _messages(template, self._kinds, value, len(self._head)):
                break
        else:
            raise _Other
        *dictionaries, batch = messages
        texts = (_listed(message.buffers, message.rows, True) for message in dictionaries)
        buffers = iter(batch.buffers)
        return [_column(kind, batch.rows, buffers, texts) for kind in self._kinds]


def _messages(
    template: Template, kinds: Sequence[int], value: bytes, at: int
) -> list[_Opened] | None:
    """The messages of a value from `at` on; None where it is not of this template."""
    made = []
    for message in template.dictionaries:
        opened = _opened(message, [TEXT], value, at)
        if opened is None:
            return None
        made.append(opened)
        at = opened.end
    opened = _opened(template.batch, kinds, value, at)
    return [*made, opened] if opened and value[opened.end :] == layout.END else None


def _opened(message: Message, kinds: Sequence[int], value: bytes, at: int) -> _Opened | None:
    size = len(message.bytes)
    metadata = value[at : at + size]
    if len(metadata) < size:
        return None
    filled = bytearray(message.bytes)
    counts = [2 + (kind < 0) for kind in kinds]
    for place, width in (
        (message.body_bytes, 8),
        (message.rows, 8),
        (message.nodes, layout.NODE_BYTES * len(kinds)),
        (message.buffers, layout.BUFFER_BYTES * sum(counts)),
    ):
        filled[place : place + width] = metadata[place : place + width]
    if filled != metadata:
        return None
    (rows,) = struct.unpack_from("<q", metadata, message.rows)
    (body_bytes,) = struct.unpack_from("<q", metadata, message.body_bytes)
    nodes = struct.unpack_from(f"<{2 * len(kinds)}q", metadata, message.nodes)
    body = value[at + size : at + size + max(0, body_bytes)]
    if not 0 < rows < _INT32_MAX or nodes != (rows, 0) * len(kinds) or len(body) != body_bytes:
        return None
    buffers = _buffers(metadata, message.buffers, kinds, rows, body)
    return None if buffers is None else _Opened(rows, buffers, at + size + body_bytes)


def _buffers(
    metadata: bytes, at: int, kinds: Sequence[int], rows: int, body: bytes
) -> list[bytes] | None:
    """The buffers as they are in the body, each of a size that does for the rows."""
    made, used = [], 0
    for kind in kinds:
        least = kind * rows if kind > 0 else 4 * (rows + (kind < 0))
        bounds = [(0, 0), (least, least + SPARE), *[(0, _INT32_MAX)] * (kind < 0)]
        for number, (least, most) in enumerate(bounds):
            place, size = struct.unpack_from("<qq", metadata, at)
            at += layout.BUFFER_BYTES
            if place != used or not 0 <= size <= len(body) - used or (number == 0 and size):
                return None
            buffer = body[used : used + size]
            if number and (0 < size < _SIZE or not least <= _plain(buffer) <= most):
                return None
            used += size + -size % 8
            if used > len(body):
                return None
            if number:
                made.append(buffer)
    return made if used == len(body) else None


def _plain(buffer: bytes) -> int:
    """Bytes that a buffer stands for; -1: it cannot."""
    if not buffer:
        return 0
    (plain,) = struct.unpack_from("<q", buffer)
    if plain == layout.RAW:
        return len(buffer) - _SIZE
    return int(plain) if 0 < plain <= _MOST * (len(buffer) - _SIZE) else -1


def _unpacked(buffer: bytes) -> bytes:
    if not buffer or struct.unpack_from("<q", buffer)[0] == layout.RAW:
        return buffer[_SIZE:]
    return unframed(buffer[_SIZE:], _plain(buffer))


def _column(
    kind: int, rows: int, buffers: Iterator[bytes], texts: Iterator[list[bytes]]
) -> tuple[list[object], list[bytes]]:
    if kind < 0:
        return list[object](_listed([next(buffers), next(buffers)], rows, kind == TEXT)), []
    data = _unpacked(next(buffers))
    if kind != SYMBOL:
        return [data[kind * row : kind * (row + 1)] for row in range(rows)], []
    listed, codes = next(texts), np.frombuffer(data, "<i4", rows)
    if codes.min() < 0 or codes.max() >= len(listed):
        raise _Other
    return list[object](codes.tolist()), listed


def _listed(buffers: Sequence[bytes], rows: int, texts: bool) -> list[bytes]:
    ends = np.frombuffer(_unpacked(buffers[0]), "<i4", rows + 1).astype(np.int64)
    data = _unpacked(buffers[1])
    if ends[0] or (np.diff(ends) < 0).any() or ends[-1] > len(data):
        raise _Other
    listed = [data[start:end] for start, end in pairwise(ends.tolist())]
    if texts:
        for text in listed:
            text.decode()
    return listed


def _joined(
    kind: int, of: pa.DataType, parts: Sequence[tuple[list[object], list[bytes]]]
) -> pa.Array:
    rows = [row for column, _ in parts for row in column]
    if kind < 0:
        if sum(map(len, rows)) > _INT32_MAX:  # type: ignore[arg-type]
            raise _Other
        return pa.array(rows, pa.binary()).cast(of)
    if kind != SYMBOL:
        data = pa.py_buffer(b"".join(rows))  # type: ignore[arg-type]
        return pa.Array.from_buffers(of, len(rows), [None, data])
    known: list[bytes] = []
    codes: list[npt.NDArray[np.int32]] = []
    for column, texts in parts:
        code_of = np.array(_coded(known, texts), np.int32)
        codes.append(code_of[np.array(column, np.int32)])
    symbols = pa.array(known, pa.binary()).cast(pa.string())
    return pa.DictionaryArray.from_arrays(pa.array(np.concatenate(codes)), symbols)


def _coded(known: list[bytes], texts: list[bytes]) -> list[int]:
    """The code of each text; new ones are added. The first dictionary stands as it is."""
    if not known:
        known.extend(texts)
        return list(range(len(texts)))
    places: dict[bytes, int] = {}
    for place, text in enumerate(known):
        places.setdefault(text, place)
    codes, code = [], -1
    for text in texts:
        code += 1
        if code >= len(known) or known[code] != text:
            code = places.setdefault(text, len(known))
            if code == len(known):
                known.append(text)
        codes.append(code)
    return codes


def unframed(data: bytes, room: int) -> bytes:
    """A frame of LZ4 of exactly `room` bytes, in blocks of 64 KB."""
    linked = _FRAMES.get(data[: len(layout.FRAME)])
    if linked is None:
        raise _Other
    made, at = b"", len(layout.FRAME)
    while len(made) < room:
        head = int.from_bytes(data[at : at + 4], "little")
        block, part = head % _AS_IT_IS, min(layout.BLOCK_BYTES, room - len(made))
        at += 4
        if not 0 < block <= min(layout.BLOCK_BYTES, len(data) - at):
            raise _Other
        if head < _AS_IT_IS:
            made += unlz4_block(data[at : at + block], part, made if linked else b"")
        elif block == part:
            made += data[at : at + block]
        else:
            raise _Other
        at += block
    if data[at:] != layout.FRAME_END:
        raise _Other
    return made


def unlz4_block(data: bytes, room: int, before: bytes = b"") -> bytes:
    """A block of exactly `room` bytes, which may refer to what was made before it."""
    made, at = bytearray(before), 0
    stop = len(made) + room
    while at < len(data):
        token = data[at]
        literals, at = _length(token >> 4, data, at + 1)
        if literals > min(len(data) - at, stop - len(made)):
            raise _Other
        made += data[at : at + literals]
        at += literals
        if at == len(data):
            if len(made) != stop:
                raise _Other
            return bytes(made[len(before) :])
        if len(data) - at < 2 or stop - len(made) < _LAST_MATCH:
            raise _Other
        offset = int.from_bytes(data[at : at + 2], "little")
        match, at = _length(token & 15, data, at + 2)
        match += 4
        if not 0 < offset <= len(made) or match > stop - len(made) - _LAST_LITERALS:
            raise _Other
        again = bytes(made[-offset:])[:match]
        made += (again * (match // len(again) + 1))[:match]
    raise _Other


def _length(count: int, data: bytes, at: int) -> tuple[int, int]:
    """A count whose half of the token is `count`, and where it ends."""
    while count >= 15:
        if at >= len(data):
            raise _Other
        count += data[at]
        at += 1
        if data[at - 1] != 255:
            break
    return count, at
