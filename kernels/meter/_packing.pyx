# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The compiled twin of columns.newest: the ledger's last readings as narrow columns, in two walks.

    first walk    smallest and largest value of each column; which texts a column names, in order
    second walk   the columns, a reading's texts numbered by their first use

No rows are made in between. Most columns change seldom from row to row: a value that is that of
the row before costs a comparison. While texts are listed, `place` of a text has a bit for each
column that named it; then it is the complement of its number; zero in the end.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport INT64_MAX, INT64_MIN, int32_t, int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc

import numpy as np

cimport numpy as cnp

from kernels.meter import layout

from kernels._core cimport Texts
from kernels._narrow cimport narrow, plane_of
from kernels.meter._core cimport BATCH_ROWS, Ledger
from kernels.meter._reading cimport REGISTER, Rates, Reading
from kernels.meter._store cimport BLOCK_ROWS, Store, rates_of, reading_at

cnp.import_array()

cdef enum:
    NUMBERS = 6
    RATES = 2
    TEXTS = 6
    SMALL = 4  # kind, unit, quality, spare
    FIRST_TEXT = NUMBERS + RATES
    SLOT_REVISION = FIRST_TEXT + TEXTS
    FIRST_SMALL = SLOT_REVISION + 1
    FIELDS = FIRST_SMALL + SMALL
    RATING = NUMBERS
    MODULUS = RATING + 1
    WORDS = 10  # of 8 bytes in a reading

assert layout.READING.names == (
    "start_ms", "end_ms", "revision", "quantity", "epoch", "received_ms",
    "rating_w", "register_modulus",
    "meter_id", "register", "source", "site_id", "hub_id", "account_id",
    "slot_revision", "kind", "unit", "quality", "spare",
), "READING has other fields than are packed here"
assert sizeof(Reading) == 8 * WORDS, "a reading is of other words"
assert layout.READING.names[FIRST_TEXT:SLOT_REVISION] == layout.TEXTS


cdef struct Column:
    int64_t low, high
    int width
    char* out


cdef inline void widen(Column* column, int64_t value) noexcept nogil:
    column.low = min(column.low, value)
    column.high = max(column.high, value)


cdef inline Py_ssize_t together(Py_ssize_t place, Py_ssize_t end) noexcept nogil:
    """How many readings from `place` on lie together and are looked at together."""
    return min(end - place, BATCH_ROWS, BLOCK_ROWS - place % BLOCK_ROWS)


cdef void span(const Store* store, Py_ssize_t first, Py_ssize_t end, Column* column) noexcept nogil:
    """Smallest and largest value of each column that is no text."""
    cdef const Reading* rows = reading_at(store, first)
    cdef const int64_t* numbers
    cdef Rates rates
    cdef Py_ssize_t size, i, others = 0
    cdef int f
    cdef int64_t low, high, value
    cdef int64_t[NUMBERS] last
    cdef uint32_t flags = flags_of(rows)
    for f in range(NUMBERS):
        last[f] = (<const int64_t*>rows)[f]
        widen(&column[f], last[f])
    widen_small(column, rows)
    while first < end:
        size = together(first, end)
        rows = reading_at(store, first)
        for f in range(NUMBERS):
            numbers = <const int64_t*>rows + f
            low, high, value = column[f].low, column[f].high, last[f]
            for i in range(size):
                if numbers[i * WORDS] != value:
                    value = numbers[i * WORDS]
                    low = min(low, value)
                    high = max(high, value)
            column[f].low, column[f].high, last[f] = low, high, value
        for i in range(size):
            if flags_of(&rows[i]) != flags:
                flags = flags_of(&rows[i])
                widen_small(column, &rows[i])
            if rows[i].kind == REGISTER:
                rates = rates_of(store, first + i)
                widen(&column[RATING], rates.rating_w)
                widen(&column[MODULUS], rates.register_modulus)
            else:
                others += 1
        first += size
    if others:
        widen(&column[RATING], 0)
        widen(&column[MODULUS], 0)


cdef inline uint32_t flags_of(const Reading* reading) noexcept nogil:
    """Kind, unit, quality and spare at once."""
    return (<const uint32_t*>&reading.kind)[0]


cdef inline void widen_small(Column* column, const Reading* reading) noexcept nogil:
    cdef int f
    for f in range(SMALL):
        widen(&column[FIRST_SMALL + f], (&reading.kind)[f])


cdef int32_t name_texts(
    const Store* store, Py_ssize_t first, Py_ssize_t end, int32_t* place, int32_t* used,
    Py_ssize_t room, Column* column,
) noexcept nogil:
    """Number the texts that the readings name, column after column, in order of first use.

    used: for each column `room` texts; in the end the first of them are all texts by number. Gives
    how many there are.
    """
    cdef const int32_t* codes
    cdef Py_ssize_t size, i
    cdef Py_ssize_t[TEXTS] listed
    cdef int32_t[TEXTS] last
    cdef int32_t code, found = 0
    cdef int f
    for f in range(TEXTS):
        listed[f], last[f] = 0, -1
    while first < end:
        size = together(first, end)
        for f in range(TEXTS):
            codes = &reading_at(store, first).meter + f
            code = last[f]
            for i in range(size):
                if codes[i * 2 * WORDS] != code:
                    code = codes[i * 2 * WORDS]
                    if not place[code] & (1 << f):
                        place[code] |= 1 << f
                        used[f * room + listed[f]] = code
                        listed[f] += 1
            last[f] = code
        first += size
    for f in range(TEXTS):
        for i in range(listed[f]):
            code = used[f * room + i]
            if place[code] > 0:
                used[found] = code  # which is read already: there are no more than were listed
                place[code] = ~found
                found += 1
            widen(&column[FIRST_TEXT + f], ~place[code])
    return found


cdef void write(
    const Store* store, Py_ssize_t first, Py_ssize_t end, const int32_t* place, Column* column
) noexcept nogil:
    """Each value less its column's smallest, in as few bytes as the column needs."""
    cdef const Reading* rows
    cdef const int32_t* codes
    cdef int32_t[BATCH_ROWS] numbers
    cdef Rates[BATCH_ROWS] rates
    cdef Py_ssize_t size, i, done = 0, rows_in_all = end - first
    cdef int f
    while first < end:
        size = together(first, end)
        rows = reading_at(store, first)
        for f in range(NUMBERS):
            put(<const char*>rows + 8 * f, sizeof(Reading), b"q", &column[f], done, size,
                rows_in_all)
        if column[RATING].width or column[MODULUS].width:
            for i in range(size):
                rates[i] = rates_of(store, first + i)
            for f in range(RATES):
                put(<const char*>rates + 8 * f, sizeof(Rates), b"q", &column[RATING + f], done,
                    size, rows_in_all)
        for f in range(TEXTS):
            if column[FIRST_TEXT + f].width == 0:
                continue
            codes = &rows.meter + f
            for i in range(size):
                numbers[i] = ~place[codes[i * 2 * WORDS]]
            put(<const char*>numbers, sizeof(int32_t), b"i", &column[FIRST_TEXT + f], done, size,
                rows_in_all)
        for f in range(SMALL):
            put(<const char*>&rows.kind + f, sizeof(Reading), b"B", &column[FIRST_SMALL + f], done,
                size, rows_in_all)
        first += size
        done += size


cdef inline void put(
    const char* values, Py_ssize_t step, char kind, const Column* column, Py_ssize_t done,
    Py_ssize_t size, Py_ssize_t rows,
) noexcept nogil:
    cdef int at = 0, plane
    while at < column.width:
        plane = plane_of(column.width, at)
        narrow(
            values, step, size, kind, <uint64_t>column.low, plane, 8 * at,
            column.out + at * rows + done * plane,
        )
        at += plane


def newest(Ledger ledger, Texts texts, Py_ssize_t count):
    """columns.newest."""
    cdef const Store* store = &ledger.store
    cdef Py_ssize_t first = ledger.count - count, room = min(count, texts.count), i
    cdef Column[FIELDS] column
    cdef int32_t found
    cdef uint64_t above
    cdef int f
    assert 0 <= count <= ledger.count, "so many readings were not accepted"
    if count == 0:
        return np.empty(0, np.int32), [(0, 0, b"")] * FIELDS
    for f in range(FIELDS):
        column[f].low, column[f].high, column[f].width = INT64_MAX, INT64_MIN, 0
    cdef int32_t* used = <int32_t*>malloc(TEXTS * room * sizeof(int32_t))
    if used == NULL:
        raise MemoryError("no memory for a part's texts; shard the readings topic")
    try:
        span(store, first, ledger.count, column)
        column[SLOT_REVISION].low = column[SLOT_REVISION].high = 0
        found = name_texts(store, first, ledger.count, texts.place, used, room, column)
        try:
            columns = []
            for f in range(FIELDS):
                above = <uint64_t>column[f].high - <uint64_t>column[f].low
                while above:
                    column[f].width += 1
                    above >>= 8
                data = PyBytes_FromStringAndSize(NULL, count * column[f].width)
                column[f].out = PyBytes_AS_STRING(data)
                columns.append((column[f].low, column[f].width, data))
            write(store, first, ledger.count, texts.place, column)
        finally:
            for i in range(found):
                texts.place[used[i]] = 0
        codes = np.empty(found, np.int32)
        for i in range(found):
            (<int32_t*>cnp.PyArray_DATA(codes))[i] = used[i]
    finally:
        free(used)
    return codes, columns
