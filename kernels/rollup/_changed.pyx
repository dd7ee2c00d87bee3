# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The compiled twin of changed.split: windows to columns, in one pass."""

from libc.stdint cimport int32_t, int64_t, uint64_t
from libc.stdlib cimport calloc, free

import numpy as np

cimport numpy as cnp

from kernels.rollup._layout cimport Row

from kernels.rollup import changed, layout, sketch

cnp.import_array()

cdef enum:
    RACK = 0
    SITE = 1
    NUMBERS = 8
    CODES = 5

assert len(changed.NUMBERS) == NUMBERS and len(changed.CODES) == CODES
assert sizeof(Row) == layout.WINDOW.itemsize, "Row is not layout.WINDOW"

cdef const double[::1] CENTRES = sketch.CENTRES
cdef int64_t FLOAT_EXACT = changed.FLOAT_EXACT


cdef struct Pair:
    uint64_t key  # site << 32 | rack
    int32_t code  # of "site/rack", + 1; 0 for none


cdef class RackIds:
    """changed.RackIds: (site, rack) -> code of "site/rack", by open addressing."""

    cdef object symbols
    cdef Pair* pairs
    cdef uint64_t mask
    cdef Py_ssize_t count

    def __cinit__(self):
        self.pairs = NULL

    def __dealloc__(self):
        free(self.pairs)

    def __init__(self, symbols):
        self.symbols = symbols
        self._resize(1024)

    cdef int32_t of(self, int32_t site, int32_t rack) except -1:
        cdef uint64_t key = <uint64_t>site << 32 | <uint64_t>rack
        cdef Pair* pair = self._pair(key)
        if pair.code == 0:
            names = self.symbols.names
            pair.key = key
            pair.code = <int32_t>self.symbols.code(f"{names[site]}/{names[rack]}") + 1
            self.count += 1
            if 2 * self.count > <Py_ssize_t>self.mask:
                self._resize(2 * (self.mask + 1))
                pair = self._pair(key)
        return pair.code - 1

    cdef inline Pair* _pair(self, uint64_t key) noexcept nogil:
        cdef uint64_t at = (key * <uint64_t>0x9E3779B97F4A7C15) >> 20 & self.mask
        while self.pairs[at].code and self.pairs[at].key != key:
            at = (at + 1) & self.mask
        return &self.pairs[at]

    cdef int _resize(self, uint64_t size) except -1:
        cdef Pair* old = self.pairs
        cdef uint64_t i, before = self.mask + 1 if old != NULL else 0
        cdef Pair* larger = <Pair*>calloc(size, sizeof(Pair))
        if larger == NULL:
            raise MemoryError("no memory for the racks' ids; shard the readings topic")
        self.pairs = larger
        self.mask = size - 1
        for i in range(before):
            if old[i].code:
                self._pair(old[i].key)[0] = old[i]
        free(old)
        return 0


def split(windows, ends, int64_t window_ms, RackIds ids):
    """changed.split."""
    cdef cnp.ndarray given = np.ascontiguousarray(windows)
    cdef const Row* row = <const Row*>cnp.PyArray_DATA(given)
    cdef const int32_t[::1] end = ends
    cdef Py_ssize_t i, size = len(given), racks = 0, others
    assert given.dtype == layout.WINDOW and end.shape[0] == size + 1
    for i in range(size):
        racks += row[i].level == RACK
    others = size - racks
    cdef cnp.ndarray numbers = np.empty(NUMBERS * size, np.int64)
    cdef cnp.ndarray codes = np.empty(CODES * size, np.int32)
    cdef cnp.ndarray floats = np.empty(2 * racks, np.float64)
    cdef cnp.ndarray sketch_ends = np.empty(others + 1, np.int32)
    cdef int64_t* number[2]
    cdef int32_t* code[2]
    cdef double* mean = <double*>cnp.PyArray_DATA(floats)
    cdef int32_t* sketch_end = <int32_t*>cnp.PyArray_DATA(sketch_ends)
    cdef Py_ssize_t[2] step
    cdef int part
    number[0] = <int64_t*>cnp.PyArray_DATA(numbers)
    number[1] = number[0] + NUMBERS * racks
    code[0] = <int32_t*>cnp.PyArray_DATA(codes)
    code[1] = code[0] + CODES * racks
    step[0], step[1] = racks, others
    sketch_end[0] = 0
    for i in range(size):
        part = row[i].level != RACK
        write_numbers(number[part], step[part], &row[i], window_ms)
        code[part][0] = row[i].level
        code[part][step[part]] = row[i].unit
        code[part][2 * step[part]] = row[i].hub
        code[part][3 * step[part]] = row[i].register_
        if part:
            code[1][4 * others] = row[i].site if row[i].level == SITE else row[i].hub
            sketch_end += 1
            sketch_end[0] = end[i + 1]
        else:
            code[0][4 * racks] = ids.of(row[i].site, row[i].rack)
            write_floats(mean, racks, &row[i])
            mean += 1
        number[part] += 1
        code[part] += 1
    return (
        changed.Part(
            numbers[: NUMBERS * racks].reshape(NUMBERS, racks),
            codes[: CODES * racks].reshape(CODES, racks),
        ),
        floats.reshape(2, racks),
        changed.Part(
            numbers[NUMBERS * racks :].reshape(NUMBERS, others),
            codes[CODES * racks :].reshape(CODES, others),
        ),
        sketch_ends,
    )


cdef inline void write_numbers(
    int64_t* out, Py_ssize_t step, const Row* row, int64_t window_ms
) noexcept nogil:
    out[0] = row.start_ms
    out[step] = row.revision
    out[2 * step] = row.count
    out[3 * step] = row.sum
    out[4 * step] = row.min
    out[5 * step] = row.max
    out[6 * step] = row.energy_mj
    out[7 * step] = row.start_ms + window_ms


cdef inline int write_floats(double* mean, Py_ssize_t step, const Row* row) except -1:
    """Mean and p95 of a window."""
    cdef int64_t count = max(row.count, 1)
    cdef double smallest = <double>row.min, largest = <double>row.max
    cdef double p95 = CENTRES[row.p95_bucket]
    if row.sum < FLOAT_EXACT:
        mean[0] = <double>row.sum / <double>count
    else:
        mean[0] = <object>row.sum / <object>count  # rounds once
    p95 = smallest if p95 < smallest else p95
    mean[step] = largest if p95 > largest else p95
    return 0
