# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The compiled twins of snapshot.narrowed and widen: rows to narrow columns and back, same answers.

    rows     [field 0, field 1, ...][field 0, field 1, ...]...   structs of a state
    column   planes one after the other, each [rows] of 8, 4, 2 or 1 bytes of (value - smallest)
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint64_t
from libc.string cimport memcpy

import numpy as np

cimport numpy as cnp

from kernels._narrow cimport narrow, plane_of, value_at

cnp.import_array()

cdef enum:
    BLOCK = 128  # rows that are transposed at once: a block of structs stays in the first cache
    FIELDS = 64


cdef dict KINDS = {"<i8": b"q"[0], "<i4": b"i"[0], "<u2": b"H"[0], "|u1": b"B"[0]}


def narrowed(rows):
    """snapshot.narrowed: each field as (smallest value, bytes a value, the values less it)."""
    cdef cnp.ndarray given = np.ascontiguousarray(rows)
    cdef const char* data = <const char*>cnp.PyArray_DATA(given)
    cdef Py_ssize_t size = len(given), step = given.dtype.itemsize
    fields = [given.dtype.fields[name] for name in given.dtype.names]
    cdef Py_ssize_t count = len(fields), f, i, first, length
    cdef int64_t[FIELDS] low
    cdef int64_t[FIELDS] high
    cdef Py_ssize_t[FIELDS] place
    cdef char[FIELDS] kind
    cdef int[FIELDS] width
    cdef int at, plane
    cdef char* out[FIELDS]
    cdef int64_t smallest, largest, x
    cdef uint64_t span
    assert count <= FIELDS, "a state's row has too many fields"
    if size == 0:
        return [(0, 0, b"")] * count
    for f in range(count):
        kind[f] = KINDS[fields[f][0].str]
        place[f] = fields[f][1]
        low[f] = high[f] = value_at(data + place[f], kind[f])
    for first in range(0, size, BLOCK):
        length = min(BLOCK, size - first)
        for f in range(count):
            smallest = low[f]
            largest = high[f]
            for i in range(first, first + length):
                x = value_at(data + i * step + place[f], kind[f])
                smallest = x if x < smallest else smallest
                largest = x if x > largest else largest
            low[f] = smallest
            high[f] = largest
    columns = []
    for f in range(count):
        span = <uint64_t>high[f] - <uint64_t>low[f]
        width[f] = 0
        while span:
            width[f] += 1
            span >>= 8
        column = PyBytes_FromStringAndSize(NULL, size * width[f])
        out[f] = PyBytes_AS_STRING(column)
        columns.append((low[f], width[f], column))
    for first in range(0, size, BLOCK):
        length = min(BLOCK, size - first)
        for f in range(count):
            at = 0
            while at < width[f]:
                plane = plane_of(width[f], at)
                narrow(
                    data + first * step + place[f], step, length, kind[f], <uint64_t>low[f],
                    plane, 8 * at, out[f] + at * size + first * plane,
                )
                at += plane
    return columns


cdef inline void put(char* place, char kind, uint64_t value) noexcept nogil:
    if kind == b"q":
        (<int64_t*>place)[0] = <int64_t>value
    elif kind == b"i":
        (<int32_t*>place)[0] = <int32_t>value
    elif kind == b"H":
        (<uint16_t*>place)[0] = <uint16_t>value
    else:
        (<uint8_t*>place)[0] = <uint8_t>value


cdef void spread(
    char* place, Py_ssize_t step, Py_ssize_t first, Py_ssize_t size, char kind, uint64_t low,
    int width, const char* data, Py_ssize_t rows,
) noexcept nogil:
    """Write the values of `size` rows from `first` on, `step` bytes apart, more by `low`."""
    cdef Py_ssize_t i
    cdef int at, plane
    cdef uint64_t value = 0, part  # memcpy: a column begins anywhere in the body
    for i in range(first, first + size):
        if width == 1:
            value = (<const uint8_t*>data)[i]
        elif width == 2:
            memcpy(&value, data + 2 * i, 2)
        elif width == 4:
            memcpy(&value, data + 4 * i, 4)
        elif width == 8:
            memcpy(&value, data + 8 * i, 8)
        elif width:
            value = 0
            at = 0
            while at < width:
                plane = plane_of(width, at)
                part = 0
                memcpy(&part, data + at * rows + plane * i, plane)
                value |= part << (8 * at)
                at += plane
        put(place + i * step, kind, low + value)


def widen(rows, columns):
    """snapshot.widen: write into each field of the rows what `narrowed` gave of it."""
    cdef cnp.ndarray given = rows
    cdef char* data = <char*>cnp.PyArray_DATA(given)
    cdef Py_ssize_t size = len(given), step = given.strides[0], count = len(columns)
    cdef Py_ssize_t f, first, length
    cdef int64_t[FIELDS] low
    cdef Py_ssize_t[FIELDS] place
    cdef char[FIELDS] kind
    cdef int[FIELDS] width
    cdef const char* values[FIELDS]
    cdef const uint8_t[::1] column
    assert count <= FIELDS, "a state's row has too many fields"
    fields = [given.dtype.fields[name] for name in given.dtype.names]
    for f in range(count):
        kind[f] = KINDS[fields[f][0].str]
        place[f] = fields[f][1]
        low[f], width[f], column = columns[f]
        assert 0 <= width[f] <= 8 and column.shape[0] == size * width[f]
        values[f] = <const char*>&column[0] if column.shape[0] else NULL
    for first in range(0, size, BLOCK):
        length = min(BLOCK, size - first)
        for f in range(count):
            spread(
                data + place[f], step, first, length, kind[f], <uint64_t>low[f], width[f],
                values[f], size,
            )
