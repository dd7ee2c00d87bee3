"""The walks over fetched bytes: batches, their records, and the headers of records.

Every length is checked against the bytes that are there before it is followed. Layout: layout.py.

    batches()   fetched bytes -> one line a whole batch
    records()   uncompressed records of those batches -> one line a record
    headers()   the headers that are asked for, as one code a record
"""

from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy

import numpy as np

from kernels.records.layout import Batch, Fault, Row

cdef enum:
    LOG_OVERHEAD = 12
    RECORDS_AT = 61
    RECORD_MIN_BYTES = 7
    APPEND_TIME = 0x08
    BATCH_COLUMNS = 11
    ROW_COLUMNS = 8
    NAME_MAX = 64

assert len(Batch) == BATCH_COLUMNS and len(Row) == ROW_COLUMNS

cdef int _NONE = Fault.NONE
cdef int _MAGIC = Fault.MAGIC
cdef int _LENGTH = Fault.LENGTH
cdef int _COUNT = Fault.COUNT
cdef int _RECORD = Fault.RECORD


cdef inline uint64_t _u64(const uint8_t* p) noexcept nogil:
    return (<uint64_t>_u32(p) << 32) | _u32(p + 4)


cdef inline uint32_t _u32(const uint8_t* p) noexcept nogil:
    return (<uint32_t>p[0] << 24) | (<uint32_t>p[1] << 16) | (<uint32_t>p[2] << 8) | p[3]


cdef inline const uint8_t* _varint(
    const uint8_t* p, const uint8_t* end, int64_t* found
) noexcept nogil:
    """Read a zigzag varint; the place behind it, or NULL where it does not end in its range."""
    cdef uint64_t raw = 0
    cdef int shift = 0
    cdef uint8_t byte
    while p < end and shift < 70:
        byte = p[0]
        p += 1
        raw |= <uint64_t>(byte & 127) << shift if shift < 64 else 0
        if byte < 128:
            found[0] = <int64_t>(raw >> 1) ^ -<int64_t>(raw & 1)
            return p
        shift += 7
    return NULL


cdef inline const uint8_t* _sized(
    const uint8_t* p, const uint8_t* end, int64_t* size
) noexcept nogil:
    """Read a size and check that so many bytes follow; the place of the first of them, or NULL."""
    p = _varint(p, end, size)
    if p == NULL or size[0] > end - p:
        return NULL
    return p


cdef Py_ssize_t _whole(const uint8_t[::1] fetched) noexcept nogil:
    """How many batches are whole at most."""
    cdef Py_ssize_t size = fetched.shape[0], at = 0, count = 0
    cdef int64_t length
    while size - at >= LOG_OVERHEAD:
        length = <int32_t>_u32(&fetched[at + 8])
        if length < RECORDS_AT - LOG_OVERHEAD or size - at < LOG_OVERHEAD + length:
            break
        at += LOG_OVERHEAD + length
        count += 1
    return count


def batches(const uint8_t[::1] fetched):
    """Lines of `Batch` columns of the whole batches, and the fault that stopped the walk.

    A batch that is cut off at the end is left for the next fetch: no fault.
    """
    cdef Py_ssize_t size = fetched.shape[0], at = 0, line = 0
    cdef const uint8_t* p
    cdef int64_t length, count
    cdef int fault = _NONE
    found = np.empty((_whole(fetched), BATCH_COLUMNS), np.int64)
    cdef int64_t[:, ::1] out = found
    while size - at >= LOG_OVERHEAD:
        p = &fetched[at]
        length = <int32_t>_u32(p + 8)
        if length < RECORDS_AT - LOG_OVERHEAD:
            # older formats may be shorter; a negative length is none at all
            fault = _MAGIC if length >= 5 and size - at > 16 and p[16] != 2 else _LENGTH
            break
        if size - at < LOG_OVERHEAD + length:
            break
        if p[16] != 2:
            fault = _MAGIC
            break
        count = <int32_t>_u32(p + 57)
        out[line, 0] = at
        out[line, 1] = at + RECORDS_AT
        at += LOG_OVERHEAD + length
        out[line, 2] = at
        out[line, 3] = <int64_t>_u64(p)
        out[line, 4] = <int64_t>_u64(p) + <int32_t>_u32(p + 23) + 1
        out[line, 5] = _u32(p + 17)
        out[line, 6] = <int16_t>((<uint16_t>p[21] << 8) | p[22])
        out[line, 7] = <int64_t>_u64(p + 27)
        out[line, 8] = <int64_t>_u64(p + 35)
        out[line, 9] = <int64_t>_u64(p + 43)
        out[line, 10] = count
        line += 1
    return found[:line], fault


def records(const uint8_t[::1] buffer, const int64_t[:, ::1] batches, int64_t first_offset):
    """Columns of `Row` (one line a column) of the records from first_offset on.

    batches: lines of `Batch` whose RECORDS_AT and END_AT are places in `buffer`. Returns columns,
    the fault, and the number of batches that are without one.
    """
    cdef Py_ssize_t number, row = 0, start, most = 0
    cdef int64_t count, length, delta, offset, key, text, key_at, text_at, headers_at
    cdef int64_t next_offset = first_offset
    cdef const uint8_t* base = &buffer[0] if buffer.shape[0] else NULL
    cdef const uint8_t* p
    cdef const uint8_t* end
    cdef const uint8_t* stop
    cdef int fault = _NONE
    cdef bint append_time
    for number in range(batches.shape[0]):
        length = batches[number, 2] - batches[number, 1]
        count = batches[number, 10]
        if count < 0 or count * RECORD_MIN_BYTES > length:
            # a count the bytes cannot hold: nothing is allocated for it
            return np.empty((ROW_COLUMNS, 0), np.int64), _COUNT, number
        most += count
    found = np.empty((ROW_COLUMNS, most), np.int64)
    cdef int64_t[:, ::1] out = found
    number = 0
    with nogil:
        while number < batches.shape[0]:
            p, stop = base + batches[number, 1], base + batches[number, 2]
            append_time = batches[number, 6] & APPEND_TIME
            start = row
            for count in range(batches[number, 10]):
                p = _sized(p, stop, &length)
                if p == NULL or length < 1:
                    fault = _RECORD
                    break
                end = p + length
                p = _varint(p + 1, end, &delta)
                if p == NULL:
                    fault = _RECORD
                    break
                if append_time:
                    out[1, row] = batches[number, 8]
                else:  # unsigned: a sum beyond 64 bits wraps, whatever the compiler
                    out[1, row] = <int64_t>(<uint64_t>batches[number, 7] + <uint64_t>delta)
                p = _varint(p, end, &delta)
                if p == NULL or delta < 0 or delta >= batches[number, 4] - batches[number, 3]:
                    fault = _RECORD
                    break
                offset = batches[number, 3] + delta
                p = _sized(p, end, &key)
                if p == NULL:
                    fault = _RECORD
                    break
                key_at = p - base
                p = _sized(p + (key if key > 0 else 0), end, &text)
                if p == NULL:
                    fault = _RECORD
                    break
                text_at = p - base
                p = _varint(p + (text if text > 0 else 0), end, &delta)
                if p == NULL or delta < 0 or delta > end - p:
                    fault = _RECORD
                    break
                headers_at = p - base
                p = _past_headers(p, end, delta)
                if p != end:
                    fault = _RECORD
                    break
                if offset < next_offset:
                    continue  # before the fetch's own offset: read before
                next_offset = offset + 1
                out[0, row] = offset
                out[2, row] = key_at
                out[3, row] = key if key >= 0 else -1
                out[4, row] = text_at
                out[5, row] = text if text >= 0 else -1
                out[6, row] = headers_at
                out[7, row] = (end - base) - headers_at
                row += 1
            if fault == _NONE and p != stop:
                fault = _RECORD
            if fault != _NONE:
                row = start  # of a batch with a fault nothing is handed over
                break
            if batches[number, 4] > next_offset:
                next_offset = batches[number, 4]
            number += 1
    return found[:, :row], fault, number


cdef const uint8_t* _past_headers(
    const uint8_t* p, const uint8_t* end, int64_t count
) noexcept nogil:
    cdef int64_t size
    while count > 0:
        p = _sized(p, end, &size)
        if p == NULL or size < 0:
            return NULL
        p = _sized(p + size, end, &size)
        if p == NULL:
            return NULL
        if size > 0:
            p += size
        count -= 1
    return p


def headers(const uint8_t[::1] buffer, const int64_t[:, :] rows, names):
    """One code a record for the headers of these names, and the bytes that each code stands for.

    names: lower-case ASCII; a header's name is compared without its case. A code's bytes are the
    named headers as they stand in the record, one behind the other. Equal bytes, equal code.
    """
    cdef Py_ssize_t total = rows.shape[1], row
    cdef const uint8_t* base = &buffer[0] if buffer.shape[0] else NULL
    cdef const uint8_t* p
    cdef const uint8_t* end
    cdef const uint8_t* entry
    cdef const uint8_t* last = NULL
    cdef const uint8_t* name
    cdef int64_t size = 0, text = 0, last_size = -1
    cdef int32_t code = -1
    cdef bytes wanted = b"".join(bytes([len(name)]) + name for name in names)
    cdef const uint8_t* listed = wanted
    cdef const uint8_t* listed_end = listed + len(wanted)
    assert all(0 < len(name) <= NAME_MAX for name in names)
    codes = np.empty(total, np.int32)
    cdef int32_t[::1] out = codes
    found = {}
    for row in range(total):
        p, size = base + rows[6, row], rows[7, row]
        if size == last_size and (size == 0 or memcmp(p, last, size) == 0):
            out[row] = code  # as the record before it: by far the most frequent
            continue
        last, last_size, end = p, size, p + size
        kept = []
        while p < end:
            entry = p
            p = _varint(p, end, &size)
            name = p
            p = _varint(p + size, end, &text)
            p += text if text > 0 else 0
            if _is_listed(name, size, listed, listed_end):
                kept.append(entry[: p - entry])
        projected = b"".join(kept)
        code = found.setdefault(projected, len(found))
        out[row] = code
    return codes, list(found)


cdef bint _is_listed(
    const uint8_t* name, int64_t size, const uint8_t* listed, const uint8_t* end
) noexcept nogil:
    cdef int64_t place
    cdef uint8_t letter
    while listed < end:
        if listed[0] == size:
            for place in range(size):
                letter = name[place]
                if 65 <= letter <= 90:
                    letter += 32
                if letter != listed[1 + place]:
                    break
            else:
                return True
        listed += 1 + listed[0]
    return False
