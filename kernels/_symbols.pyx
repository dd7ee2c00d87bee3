"""The loop of symbols.Symbols.array: codes to places in a dictionary, in order of first use."""

from libc.stdint cimport int32_t

import numpy as np


def first_use(const int32_t[::1] codes, int32_t[::1] place_of):
    """Each row's place among the codes in use, and these codes in order of first use.

    place_of: one slot a code that there is, all -1; it is so again afterwards.
    """
    cdef Py_ssize_t row, size = codes.shape[0]
    cdef int32_t code, used = 0
    found = np.empty(size, np.int32)
    in_use = np.empty(min(size, place_of.shape[0]), np.int32)
    cdef int32_t[::1] places = found, order = in_use
    with nogil:
        for row in range(size):
            code = codes[row]
            if place_of[code] < 0:
                place_of[code] = used
                order[used] = code
                used += 1
            places[row] = place_of[code]
        for row in range(used):
            place_of[order[row]] = -1
    return found, in_use[:used]
