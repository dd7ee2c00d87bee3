# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The compiled twins of columns.read and columns.written: columns to readings and back, in one pass.

    a text's code  = codes[indices[row]]   codes: of the batch's dictionary, mapped once
    a listed place = places[indices[row]]  kind, unit, quality
"""

from libc.stdint cimport int32_t, int64_t, uint8_t

import numpy as np

cimport numpy as cnp

from kernels.meter import layout

from kernels.meter._reading cimport Reading

cnp.import_array()

assert sizeof(Reading) == layout.READING.itemsize, "Reading is not layout.READING"


cdef const void* block(object array, kind) except? NULL:
    """The first value of a one-dimensional array that is contiguous and of that type."""
    cdef cnp.ndarray given = array
    assert given.dtype == kind and given.flags.c_contiguous, "a column is of its type, in one block"
    return cnp.PyArray_DATA(given)


def read(integers, texts, listed):
    """columns.read."""
    cdef Py_ssize_t i, f, size = len(integers[0])
    cdef cnp.ndarray rows = np.empty(size, layout.READING)
    cdef Reading* row = <Reading*>cnp.PyArray_DATA(rows)
    cdef const int64_t* integer[6]
    cdef const int32_t* index[9]
    cdef const int32_t* code[6]
    cdef const uint8_t* place[3]
    cdef Py_ssize_t known[9]
    assert len(integers) == 6 and len(texts) == 6 and len(listed) == 3
    for f in range(6):
        assert len(integers[f]) == size
        integer[f] = <const int64_t*>block(integers[f], np.int64)
    for f, (indices, codes) in enumerate((*texts, *listed)):
        assert len(indices) == size
        index[f] = <const int32_t*>block(indices, np.int32)
        known[f] = len(codes)
        if f < 6:
            code[f] = <const int32_t*>block(codes, np.int32)
        else:
            place[f - 6] = <const uint8_t*>block(codes, np.uint8)
        for i in range(size):
            if not 0 <= index[f][i] < known[f]:
                raise IndexError(f"a row names text {index[f][i]} of {known[f]}")
    for i in range(size):
        row[i].start_ms = integer[0][i]
        row[i].end_ms = integer[1][i]
        row[i].revision = integer[2][i]
        row[i].quantity = integer[3][i]
        row[i].epoch = integer[4][i]
        row[i].received_ms = integer[5][i]
        row[i].rating_w = 0
        row[i].register_modulus = 0
        row[i].meter = code[0][index[0][i]]
        row[i].register_ = code[1][index[1][i]]
        row[i].source = code[2][index[2][i]]
        row[i].site = code[3][index[3][i]]
        row[i].hub = code[4][index[4][i]]
        row[i].account = code[5][index[5][i]]
        row[i].slot = 0
        row[i].kind = place[0][index[6][i]]
        row[i].unit = place[1][index[7][i]]
        row[i].quality = place[2][index[8][i]]
        row[i].spare = 0
    return rows


def written(rows):
    """columns.written."""
    cdef cnp.ndarray given = np.ascontiguousarray(rows)
    assert given.dtype == layout.READING
    cdef const Reading* row = <const Reading*>cnp.PyArray_DATA(given)
    cdef Py_ssize_t i, size = len(given)
    cdef cnp.ndarray longs = np.empty((6, size), np.int64)
    cdef cnp.ndarray codes = np.empty((8, size), np.int32)
    cdef int64_t* integer = <int64_t*>cnp.PyArray_DATA(longs)
    cdef int32_t* code = <int32_t*>cnp.PyArray_DATA(codes)
    for i in range(size):
        integer[i] = row[i].start_ms
        integer[size + i] = row[i].end_ms
        integer[2 * size + i] = row[i].quantity
        integer[3 * size + i] = row[i].epoch
        integer[4 * size + i] = row[i].received_ms
        integer[5 * size + i] = row[i].slot
        code[i] = row[i].meter
        code[size + i] = row[i].register_
        code[2 * size + i] = row[i].site
        code[3 * size + i] = row[i].hub
        code[4 * size + i] = row[i].account
        code[5 * size + i] = row[i].kind
        code[6 * size + i] = row[i].unit
        code[7 * size + i] = row[i].quality
    return longs, codes
