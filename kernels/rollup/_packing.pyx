# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The compiled twin of packing.newest: the ledger's last readings as narrow columns, in two walks.

    first walk    smallest and largest value of each column; which texts a column names, in order,
                  at a series' and a track's first reading
    second walk   the columns, a reading's texts numbered by their first use

No rows are made in between: some readings at a time become columns that stay in the first cache.
While texts are listed, `place` of a text has a bit for each column that named it; then it is the
complement of its number; zero in the end.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport INT64_MAX, INT64_MIN, int32_t, int64_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

import numpy as np

cimport numpy as cnp

from kernels._core cimport Texts
from kernels._narrow cimport narrow, plane_of
from kernels.rollup._core cimport Ledger
from kernels.rollup._layout cimport (
    APART,
    ENERGY,
    LENGTH,
    SAMPLED,
    Apart,
    Cell,
    Held,
    Series,
    Track,
)
from kernels.rollup._readings cimport kind_of

from kernels.rollup import layout

cnp.import_array()

cdef enum:
    ROWS = 128  # that are columns at a time
    NUMBERS = 4
    METER = 0  # texts
    REGISTER = 1
    SOURCE = 2
    SITE = 3
    RACK = 4
    HUB = 5
    TEXTS = 6
    SMALL = 2
    FIRST_SMALL = NUMBERS + TEXTS
    FIELDS = FIRST_SMALL + SMALL

assert layout.SAVED.names == (
    "start_ms", "end_ms", "revision", "quantity", *layout.TEXTS, "kind", "unit"
), "SAVED has other fields than are packed here"
assert len(layout.TEXTS) == TEXTS

cdef int32_t MJ = layout.UNITS.index("mJ")


cdef struct Lines:
    int64_t[NUMBERS * ROWS] numbers
    int32_t[(TEXTS + SMALL) * ROWS] codes


cdef struct Column:
    int64_t low, high
    int width
    char* out


cdef inline int32_t unit_in(const Held* held, const Cell* cell) noexcept nogil:
    return MJ if held.rest & ENERGY else cell.unit


cdef void gather(Ledger ledger, Py_ssize_t first, Py_ssize_t size, Lines* out) noexcept nogil:
    """These readings as columns of layout.SAVED, texts by their codes."""
    cdef const Held* held = ledger.readings.held + first
    cdef const Cell* cell
    cdef const Series* series
    cdef const Apart* apart
    cdef Py_ssize_t i
    for i in range(size):
        cell = &ledger.places.cells[held[i].cell]
        series = &ledger.readings.series[held[i].series]
        out.numbers[i] = held[i].end_ms - <int64_t>(held[i].rest >> LENGTH)
        out.numbers[ROWS + i] = held[i].end_ms
        out.numbers[2 * ROWS + i] = 0
        out.numbers[3 * ROWS + i] = held[i].quantity
        out.codes[i] = series.meter
        out.codes[ROWS + i] = cell.register_
        out.codes[2 * ROWS + i] = series.source
        out.codes[3 * ROWS + i] = cell.site
        out.codes[4 * ROWS + i] = cell.rack
        out.codes[5 * ROWS + i] = cell.hub
        out.codes[6 * ROWS + i] = kind_of(&held[i])
        out.codes[7 * ROWS + i] = unit_in(&held[i], cell)
        if held[i].rest & APART:
            apart = &ledger.readings.apart[held[i].rest >> LENGTH]
            out.numbers[i] = apart.start_ms
            out.numbers[2 * ROWS + i] = apart.revision
            out.codes[2 * ROWS + i] = apart.source


cdef inline void widen(Column* column, int64_t value) noexcept nogil:
    column.low = min(column.low, value)
    column.high = max(column.high, value)


cdef struct Lists:  # of the texts that each column names
    int32_t* place
    int32_t* used  # by column, `room` texts of each
    Py_ssize_t room
    Py_ssize_t[TEXTS] count


cdef inline void enter(Lists* lists, int column, int32_t code) noexcept nogil:
    if not lists.place[code] & (1 << column):
        lists.place[code] |= 1 << column
        lists.used[column * lists.room + lists.count[column]] = code
        lists.count[column] += 1


cdef void survey(Ledger ledger, Py_ssize_t first, Lists* lists, Column* column) noexcept nogil:
    """The first walk, from this reading on; the spans of texts are not known yet."""
    cdef int32_t listing = ledger.readings.listings, hub = -1, small = -1, now
    cdef int64_t[NUMBERS] low
    cdef int64_t[NUMBERS] high
    cdef int64_t[NUMBERS] values
    cdef const Held* held
    cdef const Cell* cell
    cdef const Apart* apart
    cdef Series* series
    cdef Track* track
    cdef Py_ssize_t i
    cdef int f
    for f in range(NUMBERS):
        low[f], high[f] = INT64_MAX, INT64_MIN
    for i in range(first, ledger.readings.count):
        held = &ledger.readings.held[i]
        cell = &ledger.places.cells[held.cell]
        series = &ledger.readings.series[held.series]
        track = &ledger.places.tracks[cell.track]
        values[0] = held.end_ms - <int64_t>(held.rest >> LENGTH)
        values[1] = held.end_ms
        values[2] = 0
        values[3] = held.quantity
        if held.rest & APART:
            apart = &ledger.readings.apart[held.rest >> LENGTH]
            values[0] = apart.start_ms
            values[2] = apart.revision
            enter(lists, METER, series.meter)
            enter(lists, SOURCE, apart.source)
        elif series.listed_by != listing:
            series.listed_by = listing
            enter(lists, METER, series.meter)
            enter(lists, SOURCE, series.source)
        if track.listed_by != listing:
            track.listed_by = listing
            enter(lists, REGISTER, track.register_)
            enter(lists, SITE, track.site)
            enter(lists, RACK, track.rack)
        if cell.hub != hub:
            hub = cell.hub
            enter(lists, HUB, hub)
        for f in range(NUMBERS):
            low[f] = min(low[f], values[f])
            high[f] = max(high[f], values[f])
        now = <int32_t>(held.rest & ((1 << LENGTH) - 1 - SAMPLED - APART)) << 8 | cell.unit
        if now != small:
            small = now
            widen(&column[FIRST_SMALL], kind_of(held))
            widen(&column[FIRST_SMALL + 1], unit_in(held, cell))
    for f in range(NUMBERS):
        column[f].low, column[f].high = low[f], high[f]


cdef int32_t number(Lists* lists, Column* column) noexcept nogil:
    """Number the texts, column after column, in order of first use; gives how many there are.

    `place` of each becomes the complement of its number; the first of `used` are all by number.
    """
    cdef int32_t code, found = 0
    cdef Py_ssize_t i
    cdef int f
    for f in range(TEXTS):
        for i in range(lists.count[f]):
            code = lists.used[f * lists.room + i]
            if lists.place[code] > 0:
                lists.used[found] = code  # which is read already: no more were listed than that
                lists.place[code] = ~found
                found += 1
            widen(&column[NUMBERS + f], ~lists.place[code])
    return found


cdef void write(
    Ledger ledger, Py_ssize_t first, const int32_t* place, const Column* column
) noexcept nogil:
    """The second walk: each value less its column's smallest, in as few bytes as it needs."""
    cdef Lines lines
    cdef Py_ssize_t size, i, done = 0, rows = ledger.readings.count - first
    cdef int32_t* codes
    cdef int f, at, plane
    while done < rows:
        size = min(<Py_ssize_t>ROWS, rows - done)
        gather(ledger, first + done, size, &lines)
        for f in range(FIELDS):
            codes = lines.codes + (f - NUMBERS) * ROWS
            if NUMBERS <= f < FIRST_SMALL and column[f].width:
                for i in range(size):
                    codes[i] = ~place[codes[i]]
            at = 0
            while at < column[f].width:
                plane = plane_of(column[f].width, at)
                if f < NUMBERS:
                    narrow(
                        <const char*>(lines.numbers + f * ROWS), 8, size, b"q",
                        <uint64_t>column[f].low, plane, 8 * at,
                        column[f].out + at * rows + done * plane,
                    )
                else:
                    narrow(
                        <const char*>codes, 4, size, b"i", <uint64_t>column[f].low, plane, 8 * at,
                        column[f].out + at * rows + done * plane,
                    )
                at += plane
        done += size


def newest(Ledger ledger, Texts texts, Py_ssize_t count):
    """packing.newest."""
    cdef Py_ssize_t first = ledger.readings.count - count, i
    cdef Lists lists
    cdef Column[FIELDS] column
    cdef int32_t found
    cdef uint64_t above
    cdef int f
    assert 0 <= count <= ledger.readings.count, "so many readings were not accepted"
    if count == 0:
        return np.empty(0, np.int32), [(0, 0, b"")] * FIELDS
    for f in range(FIELDS):
        column[f].low, column[f].high, column[f].width = INT64_MAX, INT64_MIN, 0
    memset(&lists, 0, sizeof(Lists))
    lists.place = texts.place
    lists.room = min(count, texts.count)
    lists.used = <int32_t*>malloc(TEXTS * lists.room * sizeof(int32_t))
    if lists.used == NULL:
        raise MemoryError("no memory for a part's texts; shard the readings topic")
    try:
        ledger.readings.listings += 1
        survey(ledger, first, &lists, column)
        found = number(&lists, column)
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
            write(ledger, first, texts.place, column)
        finally:
            for i in range(found):
                texts.place[lists.used[i]] = 0
        codes = np.empty(found, np.int32)
        for i in range(found):
            (<int32_t*>cnp.PyArray_DATA(codes))[i] = lists.used[i]
    finally:
        free(lists.used)
    return codes, columns
