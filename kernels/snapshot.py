"""Snapshot: a kernel's state as bytes, columns narrowed, packed one after the other and compressed.

    version u8 | parameters k x i64 | rows u32 | texts u32 | raw size u64 | zstd( body )
    body   = text lengths i32[texts] | texts utf-8 | column 0 | column 1 | ...
    column = smallest value i64 | bytes a value u8: 0, 1, 2, 4 or 8 | (value - smallest)[rows]

Little-endian. Within a state most columns are one value or span little, so that a narrow column is
a quarter of the rows before anything is compressed.
"""

import os
import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from schemas.errors import DecodeError

# level 1: half of lz4's size at the same speed on metering columns
_CODEC = pa.Codec("zstd", compression_level=1)
_SIZES = struct.Struct("<IIQ")
_COLUMN = struct.Struct("<qB")

Column = tuple[int, int, bytes]  # smallest value, bytes a value, the values less the smallest


class Snapshot(NamedTuple):
    """Parameters, texts and rows of a state."""

    parameters: tuple[int, ...]
    names: list[str]
    rows: npt.NDArray[Any]


def pack(version: int, snapshot: Snapshot) -> bytes:
    """The snapshot as bytes; equal snapshots give equal bytes."""
    texts = [name.encode() for name in snapshot.names]
    lengths = np.array([len(text) for text in texts], "<i4").tobytes()
    columns = _narrowed(snapshot.rows)
    packed = [part for low, width, data in columns for part in (_COLUMN.pack(low, width), data)]
    body = b"".join([lengths, *texts, *packed])
    count = len(snapshot.parameters)
    head = struct.pack(f"<B{count}q", version, *snapshot.parameters)
    compressed = _CODEC.compress(body, asbytes=True)
    return head + _SIZES.pack(len(snapshot.rows), len(texts), len(body)) + bytes(compressed)


def _narrowed(rows: npt.NDArray[Any]) -> Sequence[Column]:
    if os.environ.get("GRIDLOOM_PURE") == "1":
        return narrowed(rows)
    from kernels._core import narrowed as compiled

    columns: Sequence[Column] = compiled(rows)
    return columns


def narrowed(rows: npt.NDArray[Any]) -> Sequence[Column]:
    """Each field of the rows in as few bytes a value as hold its span; the twin of _core's."""
    columns: list[Column] = []
    for name in _names(rows.dtype):
        column = rows[name].astype(np.int64)
        low = int(column.min(initial=2**63 - 1)) if len(column) else 0
        span = int(column.max()) - low if len(column) else 0
        width = 0 if span == 0 else next(w for w in (1, 2, 4, 8) if span < 1 << 8 * w)
        data = (column.view(np.uint64) - np.int64(low).view(np.uint64)) if width else column[:0]
        columns.append((low, width, data.astype(f"<u{width or 8}").tobytes()))
    return columns


def unpack(version: int, parameters: int, dtype: np.dtype[Any], dumped: bytes) -> Snapshot:
    """What `pack` wrote; another version is refused with DecodeError."""
    if not dumped or dumped[0] != version:
        raise DecodeError(
            f"state of version {dumped[0] if dumped else 'none'}, this code reads {version}",
            "replay the source topic from its start, or run the version that wrote it",
        )
    head = struct.Struct(f"<B{parameters}q")
    given = head.unpack_from(dumped)[1:]
    count, texts, size = _SIZES.unpack_from(dumped, head.size)
    compressed = memoryview(dumped)[head.size + _SIZES.size :]
    body = bytes(_CODEC.decompress(compressed, decompressed_size=size, asbytes=True))
    at = 4 * texts
    names = []
    for length in np.frombuffer(body, "<i4", texts).tolist():
        names.append(body[at : at + length].decode())
        at += length
    rows = np.empty(count, dtype)
    for name in _names(dtype):
        low, width = _COLUMN.unpack_from(body, at)
        at += _COLUMN.size
        if width == 0:
            rows[name] = low
            continue
        column = np.frombuffer(body, f"<u{width}", count, at).astype(np.uint64)
        rows[name] = (column + np.int64(low).view(np.uint64)).view(np.int64)
        at += width * count
    return Snapshot(given, names, rows)


def _names(dtype: np.dtype[Any]) -> Sequence[str]:
    return dtype.names or ()
