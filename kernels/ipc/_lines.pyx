# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The compiled twin of lines.plain: a few lines at a time, which stay in the cache meanwhile."""

from libc.stdint cimport int32_t, int64_t, uint64_t
from libc.string cimport memcpy, memset

import numpy as np

cimport numpy as cnp

cnp.import_array()

cdef enum:
    FIELDS = 64
    PARTS = 1024
    AT_ONCE = 128

cdef struct Column:
    const char* numbers
    Py_ssize_t step  # from one number to the next
    Py_ssize_t known  # how many there are
    const int32_t* places  # of each row's number among them; NULL: its own
    Py_ssize_t at  # in a line
    int width


cdef Column column_of(given, Py_ssize_t at, list kept):
    cdef Column column
    cdef cnp.ndarray numbers = given[0]
    column.numbers = <const char*>cnp.PyArray_DATA(numbers)
    column.step = numbers.strides[0]
    column.known = len(numbers)
    column.width = <int>numbers.itemsize
    column.places = NULL
    column.at = at
    if given[1] is not None:
        column.places = <const int32_t*>cnp.PyArray_DATA(given[1])
    kept.append(given)
    return column


def fill(dtype, cnp.ndarray same, list columns, part, Py_ssize_t parts, chosen, Py_ssize_t size):
    """lines.plain: [(part, lines)]."""
    cdef Column[FIELDS] column
    cdef Column of_part
    cdef char* next[PARTS]
    cdef int64_t[PARTS] count
    cdef char* to[AT_ONCE]
    cdef int64_t[AT_ONCE] row
    cdef const int64_t* rows = NULL
    cdef const char* template = <const char*>cnp.PyArray_DATA(same)
    cdef Py_ssize_t line = dtype.itemsize, fields = len(columns), total, first, i, field, many
    cdef int32_t number
    cdef list kept = [], filled = []
    if fields > FIELDS or parts > PARTS:
        raise ValueError(f"{fields} fields, {parts} parts")
    for field, (name, given) in enumerate(columns):
        column[field] = column_of(given, dtype.fields[name][1], kept)
        if column[field].width != 4 and column[field].width != 8:
            raise ValueError(f"numbers of {column[field].width} bytes")
    of_part = column_of(part, 0, kept)
    total = len(part[1])
    if chosen is not None:
        rows = <const int64_t*>cnp.PyArray_DATA(chosen)
        kept.append(chosen)
        if size and not 0 <= chosen.min() <= chosen.max() < total:
            raise IndexError("a row is not there")
    memset(count, 0, sizeof(count))
    for i in range(size):
        number = part_of(&of_part, rows[i] if rows != NULL else i, parts)
        if number < 0:
            raise IndexError(f"a row is of a part that is none of {parts}")
        count[number] += 1
    for number in range(<int32_t>parts):
        if count[number]:
            lines = np.empty(count[number], dtype)
            filled.append((number, lines))
            next[number] = <char*>cnp.PyArray_DATA(<cnp.ndarray>lines)
    first = 0
    while first < size:
        many = min(AT_ONCE, size - first)
        for i in range(many):
            row[i] = rows[first + i] if rows != NULL else first + i
            number = part_of(&of_part, row[i], parts)
            to[i] = next[number]
            next[number] += line
            memcpy(to[i], template, line)
        for field in range(fields):
            if not put(&column[field], row, many, to):
                raise IndexError("a place is not there")
        first += many
    return filled


cdef inline int32_t part_of(const Column* part, int64_t row, Py_ssize_t parts) noexcept nogil:
    """-1 where there is none."""
    cdef uint64_t place = <uint64_t><int64_t>part.places[row]
    cdef int32_t number
    if place >= <uint64_t>part.known:
        return -1
    number = (<const int32_t*>(part.numbers + part.step * <Py_ssize_t>place))[0]
    return number if 0 <= number < parts else -1


cdef bint put(const Column* column, const int64_t* row, Py_ssize_t many, char** to) noexcept nogil:
    """One column's numbers of these rows, each in its line; False where a place is not there."""
    cdef Py_ssize_t i, at = column.at, step = column.step
    cdef uint64_t place
    cdef bint is_sound = True
    if column.places == NULL:
        if column.width == 8:
            for i in range(many):
                memcpy(to[i] + at, column.numbers + step * row[i], 8)
        else:
            for i in range(many):
                memcpy(to[i] + at, column.numbers + step * row[i], 4)
        return True
    for i in range(many):
        is_sound &= <uint64_t><int64_t>column.places[row[i]] < <uint64_t>column.known
    if not is_sound:
        return False
    if column.width == 8:
        for i in range(many):
            memcpy(to[i] + at, column.numbers + step * column.places[row[i]], 8)
    else:
        for i in range(many):
            memcpy(to[i] + at, column.numbers + step * column.places[row[i]], 4)
    return True
