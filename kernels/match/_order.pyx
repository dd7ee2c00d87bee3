"""Compiled order of rows by a key, the largest first; of equal keys the earlier row.

A radix sort, a byte at a time from the last one on: its work does not depend on the keys. Bytes in which
all keys agree are passed over. Source: Knuth, The Art of Computer Programming 3, 5.2.5.
"""

import numpy as np

from libc.stdint cimport uint64_t
from libc.string cimport memcpy, memset

cdef enum:
    BYTES = 8
    VALUES = 256

cdef uint64_t SIGN = <uint64_t>1 << 63


def descending(key):
    """Rows [n] by key [n], as numpy.argsort(-key, kind="stable"): not-a-number comes last."""
    cdef const double[::1] keys = np.ascontiguousarray(key, np.float64)
    cdef Py_ssize_t n = keys.shape[0], i, at
    cdef long long[:, ::1] row = np.empty((2, n), np.int64)
    cdef uint64_t[:, ::1] rank = np.empty((2, n), np.uint64)
    cdef Py_ssize_t count[BYTES][VALUES]
    cdef int byte, value, source = 0
    if not n:
        return np.empty(0, np.int64)
    with nogil:
        memset(count, 0, sizeof(count))
        for i in range(n):
            rank[0, i] = ranked(keys[i])
            row[0, i] = i
            for byte in range(BYTES):
                count[byte][(rank[0, i] >> (8 * byte)) & 255] += 1
        for byte in range(BYTES):
            if count[byte][(rank[0, 0] >> (8 * byte)) & 255] == n:
                continue
            begin(count[byte])
            for i in range(n):
                value = <int>((rank[source, i] >> (8 * byte)) & 255)
                at = count[byte][value]
                count[byte][value] = at + 1
                rank[1 - source, at] = rank[source, i]
                row[1 - source, at] = row[source, i]
            source = 1 - source
    return np.asarray(row[source])


cdef inline uint64_t ranked(double key) noexcept nogil:
    """A whole number that is smaller the larger the key is."""
    cdef double turned = 0.0 - key  # 0.0 for either zero
    cdef uint64_t bits
    if key != key:
        return ~<uint64_t>0
    memcpy(&bits, &turned, sizeof(bits))
    return ~bits if bits & SIGN else bits | SIGN


cdef inline void begin(Py_ssize_t* count) noexcept nogil:
    """From how many there are of a value to where its first one goes."""
    cdef Py_ssize_t before = 0, here
    cdef int value
    for value in range(VALUES):
        here = count[value]
        count[value] = before
        before += here
