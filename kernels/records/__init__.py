"""Records: fetched Kafka record batches (format v2) to flat arrays, no Python object per record.

    parse(fetched, first_offset) -> Records: offset, timestamp, ranges of key, value and headers

One buffer holds every record: the fetched bytes themselves, or, where a batch is compressed, the
records of all batches one behind the other. Control batches (markers of transactions) are left
out, and so are aborted batches where the aborted transactions are given. Offsets may have holes
(compaction, transactions); a batch that is cut off at the end is left for the next fetch.

A batch whose CRC, compression or structure is wrong ends the walk: the records before it are handed
over together with the error, and `next_offset` is that batch's own. Nothing is skipped in silence.
Source: Kafka's message format, DefaultRecordBatch and DefaultRecord.
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt
from crc32c import crc32c

from kernels.records import reference
from kernels.records.compression import decompress
from kernels.records.layout import (
    ATTRIBUTES_AT,
    CODEC,
    CONTROL,
    TRANSACTIONAL,
    Batch,
    Fault,
    Row,
)
from schemas.errors import GridloomError

Int64s = npt.NDArray[np.int64]
Header = tuple[str, bytes | None]
Fetched = bytes | memoryview  # of bytes; what is handed over is views of it or copies, never more

_ABORT = b"\0\0"  # in the key of a control record, behind its version


class CorruptBatchError(GridloomError):
    """A record batch that is not what its checksum or its lengths say."""


@dataclass(frozen=True)
class Records:
    """Records in the order of their offsets; `columns` as layout.Row has them, n long.

    next_offset: where the next fetch goes on. error: what stopped the walk there, if anything.
    """

    buffer: Fetched
    columns: Int64s
    next_offset: int
    error: CorruptBatchError | None = None

    def __len__(self) -> int:
        return int(self.columns.shape[1])

    @property
    def offset(self) -> Int64s:
        return self._column(Row.OFFSET)

    @property
    def timestamp_ms(self) -> Int64s:
        """The time of its creation, or of its append where the topic is dated by the broker."""
        return self._column(Row.TIMESTAMP_MS)

    @property
    def value_at(self) -> Int64s:
        return self._column(Row.VALUE_AT)

    @property
    def value_size(self) -> Int64s:
        """-1: null."""
        return self._column(Row.VALUE_SIZE)

    def part(self, first: int, last: int) -> "Records":
        """Records first to last - 1 in the same buffer; next_offset and error are the whole's."""
        return replace(self, columns=self.columns[:, first:last])

    def value(self, row: int) -> bytes | None:
        """The value's bytes of one record."""
        return self._bytes(row, Row.VALUE_AT)

    def key(self, row: int) -> bytes | None:
        """The key's bytes of one record."""
        return self._bytes(row, Row.KEY_AT)

    def headers(self, row: int) -> list[Header]:
        """The headers of one record; a name that is not UTF-8 is left out."""
        at = int(self.columns[Row.HEADERS_AT, row])
        size = int(self.columns[Row.HEADERS_SIZE, row])
        return read_headers(bytes(self.buffer[at : at + size]))

    def header_codes(self, names: Sequence[str]) -> tuple[npt.NDArray[np.int32], list[bytes]]:
        """A code a record for its headers of these lower-case names; `read_headers` of a code's
        bytes gives them. Records that differ only in other headers have the same code."""
        codes, found = _walks().headers(self.buffer, self.columns, [n.encode() for n in names])
        return codes, found

    def _column(self, column: Row) -> Int64s:
        of_all: Int64s = self.columns[column]
        return of_all

    def _bytes(self, row: int, column: Row) -> bytes | None:
        at, size = self.columns[column : column + 2, row].tolist()
        return bytes(self.buffer[at : at + size]) if size >= 0 else None


def parse(
    fetched: Fetched, first_offset: int, aborted: Iterable[tuple[int, int]] | None = None
) -> Records:
    """The records of a partition's fetch from first_offset on.

    aborted: (producer id, first offset) of aborted transactions, as the broker gives them; None:
    read uncommitted.
    """
    walks = _walks()
    lines, fault = walks.batches(fetched)
    next_offset = max([first_offset, *lines[-1:, Batch.NEXT_OFFSET].tolist()])
    error = _error(_FAULTS[fault], next_offset) if fault else None
    # each check goes through what the one before has left: the first fault of the log counts
    wrong = _wrong_crc(fetched, lines)
    if wrong < len(lines):
        next_offset = max(first_offset, int(lines[wrong, Batch.BASE_OFFSET]))
        error = _error("its checksum is not that of its bytes", next_offset)
        lines = lines[:wrong]
    kept = lines[_delivered(fetched, lines, aborted)]
    buffer, placed, unread = _one_buffer(fetched, kept)
    columns, fault, whole = walks.records(buffer, placed, first_offset)
    if fault:
        columns = walks.records(buffer, placed[:whole], first_offset)[0]
        unread = _FAULTS[fault]
    if unread:
        next_offset = max(first_offset, int(kept[whole, Batch.BASE_OFFSET]))
        error = _error(unread, next_offset)
    return Records(buffer, columns, next_offset, error)


def read_headers(entries: bytes) -> list[Header]:
    """Headers as they stand in a record, behind their count; a name that is not UTF-8 is left
    out."""
    found: list[Header] = []
    at = 0
    while at < len(entries):
        size, at = reference.varint(entries, at, len(entries))
        name, at = entries[at : at + size], at + size
        size, at = reference.varint(entries, at, len(entries))
        text = entries[at : at + size] if size >= 0 else None
        at += max(0, size)
        try:
            found.append((name.decode(), text))
        except UnicodeDecodeError:
            continue
    return found


def _walks() -> Any:
    if os.environ.get("GRIDLOOM_PURE") == "1":
        return reference
    return import_module("kernels.records._core")


def _wrong_crc(fetched: Fetched, lines: Int64s) -> int:
    """The first batch whose checksum is wrong; the number of batches where none is."""
    view = memoryview(fetched)
    places = lines[:, [Batch.FIRST_AT, Batch.END_AT, Batch.CRC]].tolist()
    for number, (first, end, crc) in enumerate(places):
        if crc32c(view[first + ATTRIBUTES_AT : end]) != crc:
            return number
    return len(lines)


def _delivered(
    fetched: Fetched, lines: Int64s, aborted: Iterable[tuple[int, int]] | None
) -> npt.NDArray[np.bool_]:
    """The batches that hold records for a reader: no markers, nothing that was aborted."""
    delivered: npt.NDArray[np.bool_] = (lines[:, Batch.ATTRIBUTES] & CONTROL) == 0
    if aborted is None:
        return delivered
    begun = sorted(aborted, key=lambda transaction: transaction[1])
    open_: set[int] = set()
    for number, line in enumerate(lines):
        producer = int(line[Batch.PRODUCER])
        while begun and begun[0][1] <= line[Batch.BASE_OFFSET]:
            open_.add(begun.pop(0)[0])
        if not delivered[number] and _is_abort(fetched, lines[number : number + 1]):
            open_.discard(producer)
        if line[Batch.ATTRIBUTES] & TRANSACTIONAL and producer in open_:
            delivered[number] = False
    return delivered


def _is_abort(fetched: Fetched, control: Int64s) -> bool:
    columns, fault, _ = reference.records(fetched, control, 0)
    if fault or not columns.shape[1]:
        return False
    at, size = columns[Row.KEY_AT : Row.KEY_SIZE + 1, 0].tolist()
    return bytes(fetched[at + 2 : at + max(0, size)][:2]) == _ABORT


def _one_buffer(fetched: Fetched, lines: Int64s) -> tuple[Fetched, Int64s, str]:
    """The bytes that hold every record, the batches with their places there, and what could not
    be decompressed: of the batch behind the last one returned."""
    codecs = (lines[:, Batch.ATTRIBUTES] & CODEC).tolist()
    if not any(codecs):
        return fetched, lines, ""
    view, parts, size, unread = memoryview(fetched), [], 0, ""
    placed = lines.copy()
    for number, codec in enumerate(codecs):
        block = view[lines[number, Batch.RECORDS_AT] : lines[number, Batch.END_AT]]
        try:
            part = decompress(codec, block) if codec else block
        except ValueError as error:
            unread, placed = str(error), placed[:number]
            break
        placed[number, [Batch.RECORDS_AT, Batch.END_AT]] = size, size + len(part)
        size += len(part)
        parts.append(part)
    return b"".join(parts), placed, unread


_FAULTS = {
    Fault.MAGIC: "its format is not v2",
    Fault.LENGTH: "its length cannot be",
    Fault.COUNT: "it counts more records than its bytes can hold",
    Fault.RECORD: "a record in it is not as long as it says",
}


def _error(what: str, offset: int) -> CorruptBatchError:
    return CorruptBatchError(
        f"the record batch at offset {offset} cannot be read: {what}",
        "read it from another replica, or move the group's offset past it by hand",
    )
