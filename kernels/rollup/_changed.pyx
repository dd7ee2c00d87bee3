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


def split(windows, Py_ssize_t others, int64_t window_ms, RackIds ids):
    """changed.split."""
    cdef cnp.ndarray given = np.ascontiguousarray(windows)
    cdef const Row* row = <const Row*>cnp.PyArray_DATA(given)
    cdef Py_ssize_t i, racks = len(given) - others
    assert given.dtype == layout.WINDOW and 0 <= others <= len(given)
    cdef cnp.ndarray floats = np.empty((2, racks), np.float64)
    cdef double* mean = <double*>cnp.PyArray_DATA(floats)
    part, rack_ids = columns(row, racks, window_ms)
    other_part, other_ids = columns(row + racks, others, window_ms)
    cdef int32_t[::1] rack_id = rack_ids, other_id = other_ids
    for i in range(racks):
        rack_id[i] = ids.of(row[i].site, row[i].rack)
        write_floats(mean + i, racks, &row[i])
    row += racks
    for i in range(others):
        other_id[i] = row[i].site if row[i].level == SITE else row[i].hub
    return part, floats, other_part


cdef columns(const Row* row, Py_ssize_t size, int64_t window_ms):
    """(changed.Part, its last codes): these rows, all but their ids."""
    cdef cnp.ndarray numbers = np.empty((NUMBERS, size), np.int64)
    cdef cnp.ndarray codes = np.empty((CODES, size), np.int32)
    cdef int64_t* number = <int64_t*>cnp.PyArray_DATA(numbers)
    cdef int32_t* code = <int32_t*>cnp.PyArray_DATA(codes)
    cdef Py_ssize_t i
    for i in range(size):
        number[i] = row[i].start_ms
        number[size + i] = row[i].revision
        number[2 * size + i] = row[i].count
        number[3 * size + i] = row[i].sum
        number[4 * size + i] = row[i].min
        number[5 * size + i] = row[i].max
        number[6 * size + i] = row[i].energy_mj
        number[7 * size + i] = row[i].start_ms + window_ms
        code[i] = row[i].level
        code[size + i] = row[i].unit
        code[2 * size + i] = row[i].hub
        code[3 * size + i] = row[i].register_
    return changed.Part(numbers, codes), codes[4]


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
