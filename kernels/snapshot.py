"""Snapshot: a kernel's state as bytes, columns narrowed, packed one after the other and compressed.

    version u8 | parameters k x i64 | rows u32 | texts u32 | raw size u64 | zstd( body )
    body   = text lengths i32[texts] | texts utf-8 | column 0 | column 1 | ...
    column = smallest value i64 | bytes a value u8: 0 to 8 | (value - smallest)[rows]

Little-endian. Within a state most columns are one value or span little, so that a narrow column is
a quarter of the rows before anything is compressed. Of 3, 5, 6 or 7 bytes a value the column is the
low 4 bytes of all rows, then the next 2, then the next 1, as far as there are such: a compressor
sees at once that amounts are noise, where zeros between them keep it searching.
"""

import os
import struct
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from itertools import pairwise
from typing import Any, NamedTuple, ParamSpec, Self, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from schemas.errors import DecodeError

# level 1: half of lz4's size at the same speed on metering columns
_CODEC = pa.Codec("zstd", compression_level=1)
_SIZES = struct.Struct("<IIQ")
_COLUMN = struct.Struct("<qB")
_MOST = 1 << 16  # bytes that one of zstd stands for: a block of 128 KB takes 4 at least
_NO_PLACES: Mapping[str, int | None] = {}

P = ParamSpec("P")
State = TypeVar("State")

# smallest value, bytes a value, the values less the smallest (bytes or the like)
Column = tuple[int, int, Any]


class Block(NamedTuple):
    """Texts as Arrow lays them out: text i is data[offsets[i]:offsets[i + 1]], utf-8.

    A large state has a hundred thousand texts in each of its parts: none of them becomes a str.
    """

    offsets: npt.NDArray[np.int32]
    data: npt.NDArray[np.uint8]

    @classmethod
    def of(cls, names: Sequence[str]) -> Self:
        """The block of these texts."""
        texts = [name.encode() for name in names]
        lengths = np.array([len(text) for text in texts], np.int32)
        return cls(_ends(lengths), np.frombuffer(b"".join(texts), np.uint8))

    def names(self) -> list[str]:
        """The texts, a str each."""
        data, ends = self.data.tobytes(), self.offsets.tolist()
        return [data[at:end].decode() for at, end in pairwise(ends)]


class Packed(NamedTuple):
    """Parameters, texts as a block, and rows of a state."""

    parameters: tuple[int, ...]
    texts: Block
    rows: npt.NDArray[Any]


class Snapshot(NamedTuple):
    """Parameters, texts and rows of a state."""

    parameters: tuple[int, ...]
    names: list[str]
    rows: npt.NDArray[Any]


def pack(version: int, snapshot: Snapshot) -> bytes:
    """The snapshot as bytes; equal snapshots give equal bytes."""
    parameters, names, rows = snapshot
    return pack_block(version, Packed(parameters, Block.of(names), rows))


def pack_block(version: int, packed: Packed) -> bytes:
    """`pack` of texts that are a block already; the same bytes."""
    parameters, texts, rows = packed
    return pack_columns(version, parameters, texts, len(rows), _narrowed(rows))


def pack_columns(
    version: int, parameters: Sequence[int], texts: Block, rows: int, columns: Sequence[Column]
) -> bytes:
    """`pack` of so many rows whose columns are narrow already; the same bytes."""
    lengths = np.diff(texts.offsets).astype("<i4")
    parts = [part for low, width, data in columns for part in (_COLUMN.pack(low, width), data)]
    body = b"".join([lengths.tobytes(), texts.data.tobytes(), *parts])
    head = struct.pack(f"<B{len(parameters)}q", version, *parameters)
    sizes = _SIZES.pack(rows, len(lengths), len(body))
    return b"".join([head, sizes, _CODEC.compress(body)])


def _narrowed(rows: npt.NDArray[Any]) -> Sequence[Column]:
    if os.environ.get("GRIDLOOM_PURE") == "1":
        return narrowed(rows)
    from kernels._snapshot import narrowed as compiled

    columns: Sequence[Column] = compiled(rows)
    return columns


def narrowed(rows: npt.NDArray[Any]) -> Sequence[Column]:
    """Each field of the rows in as few bytes a value as hold its span; the twin of _snapshot's."""
    columns: list[Column] = []
    for name in _names(rows.dtype):
        column = rows[name].astype(np.int64)
        low = int(column.min(initial=2**63 - 1)) if len(column) else 0
        span = int(column.max()) - low if len(column) else 0
        width = (span.bit_length() + 7) // 8
        above = column.view(np.uint64) - np.int64(low).view(np.uint64)
        planes = [(above >> np.uint64(8 * at)).astype(f"<u{size}") for size, at in _planes(width)]
        columns.append((low, width, b"".join(plane.tobytes() for plane in planes)))
    return columns


def _planes(width: int) -> list[tuple[int, int]]:
    """(bytes, bytes of a value below it) of each plane of a column of so many bytes a value."""
    if width == 8:
        return [(8, 0)]
    sizes = [size for size in (4, 2, 1) if width & size]
    return [(size, sum(sizes[:place])) for place, size in enumerate(sizes)]


def unpack(
    version: int,
    parameters: int,
    dtype: np.dtype[Any],
    dumped: bytes,
    places: Mapping[str, int | None] = _NO_PLACES,
) -> Snapshot:
    """What `pack` wrote; another version and damaged bytes are refused with DecodeError.

    places: the fields that are places in a list, and how long it is; None: in the state's texts.
    The kernels follow these numbers, so that one beyond its list is damage.
    """
    given, texts, rows = unpack_block(version, parameters, dtype, dumped, places)
    names = texts.names()
    if len(set(names)) < len(names):
        raise _damaged("a text comes twice")
    return Snapshot(given, names, rows)


def rows_in(parameters: int, dumped: bytes) -> int:
    """How many rows `unpack` would give, before it is done: room for no more than may be there."""
    if len(dumped) < 1 + 8 * parameters + _SIZES.size:
        raise _damaged(f"it ends after {len(dumped)} bytes")
    rows, _, size = _SIZES.unpack_from(dumped, 1 + 8 * parameters)
    compressed = len(dumped) - 1 - 8 * parameters - _SIZES.size
    # rows of a state differ, each by a byte at least
    if rows > size + _MOST or size > _MOST * compressed:
        raise _damaged(f"{rows} rows cannot come of {size} bytes, {compressed} compressed")
    return int(rows)


def unpack_block(
    version: int,
    parameters: int,
    dtype: np.dtype[Any],
    dumped: bytes,
    places: Mapping[str, int | None] = _NO_PLACES,
) -> Packed:
    """`unpack` that leaves the texts in their block."""
    if not dumped or dumped[0] != version:
        raise DecodeError(
            f"state of version {dumped[0] if dumped else 'none'}, this code reads {version}",
            "replay the source topic from its start, or run the version that wrote it",
        )
    try:
        packed = _unpacked(parameters, dtype, dumped)
        if places:
            _check_places(packed, places)
    except (struct.error, ValueError, OSError) as error:
        raise _damaged(str(error)) from None
    return packed


def _unpacked(parameters: int, dtype: np.dtype[Any], dumped: bytes) -> Packed:
    head = struct.Struct(f"<B{parameters}q")
    given = head.unpack_from(dumped)[1:]
    count, texts, size = _SIZES.unpack_from(dumped, head.size)
    compressed = memoryview(dumped)[head.size + _SIZES.size :]
    if size > _MOST * len(compressed):
        raise ValueError(f"{size} bytes cannot come of {len(compressed)}")
    body = _CODEC.decompress(compressed, decompressed_size=size)
    lengths = np.frombuffer(body, "<i4", texts)
    if lengths.min(initial=0) < 0 or lengths.sum(dtype=np.int64) > size:
        raise ValueError("its texts are longer than it is")
    ends = _ends(lengths)
    block = Block(ends, np.frombuffer(body, np.uint8, int(ends[-1]), 4 * texts))
    at = 4 * texts + len(block.data)
    columns: list[Column] = []
    for name in _names(dtype):
        low, width = _COLUMN.unpack_from(body, at)
        if width > 8:
            raise ValueError(f"{name} has {width} bytes a value")
        at += _COLUMN.size
        columns.append((low, width, np.frombuffer(body, np.uint8, width * count, at)))
        at += width * count
    if at != size:
        raise ValueError(f"{size - at} bytes behind its columns")
    rows = np.empty(count, dtype)
    _widen(rows, columns)
    return Packed(given, block, rows)


def refusing_damage(load: Callable[P, State]) -> Callable[P, State]:
    """`load` where parts of a state that do not fit each other are damage as well."""

    @wraps(load)
    def loaded(*args: P.args, **kwargs: P.kwargs) -> State:
        try:
            return load(*args, **kwargs)
        except (struct.error, ValueError, IndexError) as error:
            raise _damaged(str(error)) from error

    return loaded


def _damaged(what: str) -> DecodeError:
    return DecodeError(f"damaged state: {what}", "delete its journal topic to rebuild by replay")


def _check_places(packed: Packed, places: Mapping[str, int | None]) -> None:
    texts = len(packed.texts.offsets) - 1
    pa.StringArray.from_buffers(texts, *map(pa.py_buffer, packed.texts)).validate(full=True)
    for name, known in places.items():
        column, end = packed.rows[name], texts if known is None else known
        if len(column) and not 0 <= int(column.min()) <= int(column.max()) < end:
            raise ValueError(f"{name} of a row is not one of its {end} places")


def _widen(rows: npt.NDArray[Any], columns: Sequence[Column]) -> None:
    if os.environ.get("GRIDLOOM_PURE") == "1":
        widen(rows, columns)
        return
    from kernels._snapshot import widen as compiled

    compiled(rows, columns)


def widen(rows: npt.NDArray[Any], columns: Sequence[Column]) -> None:
    """Write into the rows what `narrowed` gave of each field; the twin of _snapshot's."""
    for name, (low, width, data) in zip(_names(rows.dtype), columns, strict=True):
        above = np.zeros(len(rows), np.uint64)
        for size, at in _planes(width):
            plane = np.frombuffer(data, f"<u{size}", len(rows), at * len(rows))
            above |= plane.astype(np.uint64) << np.uint64(8 * at)
        rows[name] = (above + np.int64(low).view(np.uint64)).view(np.int64)


def _ends(lengths: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    offsets = np.zeros(len(lengths) + 1, np.int32)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def _names(dtype: np.dtype[Any]) -> Sequence[str]:
    return dtype.names or ()
