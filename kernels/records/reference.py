"""The walks in plain Python: what they mean. The loops of _core.pyx do the same in place."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from kernels.records.layout import (
    APPEND_TIME,
    LENGTH_AT,
    LOG_OVERHEAD,
    MAGIC,
    MAGIC_AT,
    RECORD_MIN_BYTES,
    RECORDS_AT,
    Batch,
    Fault,
    Row,
)

Int64s = npt.NDArray[np.int64]


def batches(fetched: bytes) -> tuple[Int64s, int]:
    """Lines of `Batch` columns of the whole batches, and the fault that stopped the walk."""
    lines, at, fault = [], 0, Fault.NONE
    while len(fetched) - at >= LOG_OVERHEAD:
        head = fetched[at:]
        length = _signed(head, LENGTH_AT, 4)
        if length < RECORDS_AT - LOG_OVERHEAD:
            older = length >= 5 and len(head) > MAGIC_AT and head[MAGIC_AT] != MAGIC
            fault = Fault.MAGIC if older else Fault.LENGTH
            break
        if len(head) < LOG_OVERHEAD + length:
            break
        if head[MAGIC_AT] != MAGIC:
            fault = Fault.MAGIC
            break
        end = at + LOG_OVERHEAD + length
        base = _signed(head, 0, 8)
        line: tuple[int, ...] = (at, at + RECORDS_AT, end, base, base + _signed(head, 23, 4) + 1)
        line += (int.from_bytes(head[17:21], "big"), _signed(head, 21, 2))
        line += (_signed(head, 27, 8), _signed(head, 35, 8), _signed(head, 43, 8))
        lines.append((*line, _signed(head, 57, 4)))
        at = end
    return np.array(lines, np.int64).reshape(-1, len(Batch)), fault


def records(
    buffer: bytes | memoryview, batches: Int64s, first_offset: int
) -> tuple[Int64s, int, int]:
    """Columns of `Row` from first_offset on, the fault, and how many batches are without one."""
    buffer = bytes(buffer)
    for number, line in enumerate(batches.tolist()):
        length = line[Batch.END_AT] - line[Batch.RECORDS_AT]
        if not 0 <= line[Batch.COUNT] * RECORD_MIN_BYTES <= length:
            return np.empty((len(Row), 0), np.int64), Fault.COUNT, number
    rows: list[tuple[int, ...]] = []
    next_offset = first_offset
    for number, line in enumerate(batches.tolist()):
        try:
            of_batch = _records_of(buffer, line)
        except (ValueError, IndexError):
            return _columns(rows), Fault.RECORD, number
        for row in of_batch:
            if row[Row.OFFSET] >= next_offset:
                rows.append(row)
                next_offset = row[Row.OFFSET] + 1
        next_offset = max(next_offset, line[Batch.NEXT_OFFSET])
    return _columns(rows), Fault.NONE, len(batches)


def headers(buffer: bytes, rows: Int64s, names: Sequence[bytes]) -> tuple[Int64s, list[bytes]]:
    """One code a record for the headers of these names, and the bytes that each stands for."""
    found: dict[bytes, int] = {}
    codes = []
    for at, size in zip(
        rows[Row.HEADERS_AT].tolist(), rows[Row.HEADERS_SIZE].tolist(), strict=True
    ):
        kept, place, end = b"", at, at + size
        while place < end:
            name_at, name_end = _range(buffer, place, end)
            next_at = max(_range(buffer, name_end, end))  # a null text ends before it begins
            if bytes(buffer[name_at:name_end]).lower() in names:
                kept += bytes(buffer[place:next_at])
            place = next_at
        codes.append(found.setdefault(kept, len(found)))
    return np.array(codes, np.int32), list(found)


def _records_of(buffer: bytes, line: Sequence[int]) -> list[tuple[int, ...]]:
    """The records of one batch. Raises ValueError where they are not what their lengths say."""
    place, stop = line[Batch.RECORDS_AT], line[Batch.END_AT]
    rows: list[tuple[int, ...]] = []
    for _ in range(line[Batch.COUNT]):
        place, end = _range(buffer, place, stop)
        timestamp_delta, at = varint(buffer, place + 1, end)
        offset_delta, at = varint(buffer, at, end)
        _not_negative(offset_delta, line[Batch.NEXT_OFFSET] - line[Batch.BASE_OFFSET] - 1)
        key_at, key_end = _range(buffer, at, end)
        value_at, value_end = _range(buffer, max(key_at, key_end), end)
        count, headers_at = varint(buffer, max(value_at, value_end), end)
        place = headers_at
        for _ in range(_not_negative(count, end - headers_at)):
            name_at, name_end = _range(buffer, place, end)
            _not_negative(name_end - name_at, end)
            place = max(_range(buffer, name_end, end))
        if place != end:
            raise ValueError("a record is not as long as it says")
        append_time = line[Batch.ATTRIBUTES] & APPEND_TIME
        first_ms = (line[Batch.FIRST_MS] + timestamp_delta + 2**63) % 2**64 - 2**63
        row: tuple[int, ...] = (line[Batch.BASE_OFFSET] + offset_delta,)
        row += (line[Batch.MAX_MS] if append_time else first_ms,)
        row += (key_at, key_end - key_at, value_at, value_end - value_at)
        rows.append((*row, headers_at, end - headers_at))
    if place != stop:
        raise ValueError("bytes behind the last record of a batch")
    return rows


def varint(buffer: bytes, at: int, end: int) -> tuple[int, int]:
    """A zigzag varint and the place behind it."""
    raw = 0
    for length in range(10):
        if at + length >= end:
            break
        byte = buffer[at + length]
        raw |= (byte & 127) << 7 * length
        if byte < 128:
            raw &= 2**64 - 1
            return raw >> 1 ^ -(raw & 1), at + length + 1
    raise ValueError("a varint does not end")


def _range(buffer: bytes, at: int, end: int) -> tuple[int, int]:
    """From and to of sized bytes; `to` is one before `from` where they are null."""
    size, at = varint(buffer, at, end)
    if size > end - at:
        raise ValueError("a size beyond the bytes that are there")
    return at, at + max(-1, size)


def _not_negative(count: int, most: int) -> int:
    if not 0 <= count <= most:
        raise ValueError("a count that cannot be")
    return count


def _signed(buffer: bytes, at: int, size: int) -> int:
    return int.from_bytes(buffer[at : at + size], "big", signed=True)


def _columns(rows: list[tuple[int, ...]]) -> Int64s:
    return np.ascontiguousarray(np.array(rows, np.int64).reshape(-1, len(Row)).T)
