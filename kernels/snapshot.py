"""Snapshot: a kernel's state as bytes, columns packed one after the other and compressed.

    version u8 | parameters k x i64 | rows u32 | texts u32 | raw size u64 | zstd( body )
    body = text lengths i32[texts] | texts utf-8 | column 0 | column 1 | ...

Little-endian. Columns compress far better than rows: times and codes repeat.
"""

import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from schemas.errors import DecodeError

# level 1: a third of lz4's size at the same speed on metering columns
_CODEC = pa.Codec("zstd", compression_level=1)
_SIZES = struct.Struct("<IIQ")


class Snapshot(NamedTuple):
    """Parameters, texts and rows of a state."""

    parameters: tuple[int, ...]
    names: list[str]
    rows: npt.NDArray[Any]


def pack(version: int, snapshot: Snapshot) -> bytes:
    """The snapshot as bytes; equal snapshots give equal bytes."""
    texts = [name.encode() for name in snapshot.names]
    rows = snapshot.rows
    columns = [np.ascontiguousarray(rows[name]).tobytes() for name in _names(rows.dtype)]
    lengths = np.array([len(text) for text in texts], "<i4").tobytes()
    body = b"".join([lengths, *texts, *columns])
    count = len(snapshot.parameters)
    head = struct.pack(f"<B{count}q", version, *snapshot.parameters)
    compressed = _CODEC.compress(body, asbytes=True)
    return head + _SIZES.pack(len(rows), len(texts), len(body)) + bytes(compressed)


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
    rows = np.zeros(count, dtype)
    for name in _names(dtype):
        column = np.frombuffer(body, dtype[name], count, at)
        rows[name] = column
        at += column.nbytes
    return Snapshot(given, names, rows)


def _names(dtype: np.dtype[Any]) -> Sequence[str]:
    return dtype.names or ()
