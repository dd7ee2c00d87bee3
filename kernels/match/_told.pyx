"""Compiled telling: told.py's columns in one pass over the jobs."""

import numpy as np

from kernels.match.columns import ANY, Reason

cdef enum:
    NOWHERE = -1
    CAPACITY = 11  # of Reason

assert (NOWHERE, CAPACITY) == (ANY, Reason.REJECTED_CAPACITY)


def tell(
    Py_ssize_t rows,
    const long long[::1] row,
    const int[::1] site,
    const int[::1] slot,
    const int[::1] slots,
    const long long[::1] micro,
    const signed char[::1] reason,
    const int[::1] reason_site,
    const signed char[::1] reason_resource,
    const int[::1] reason_quota,
    const double[::1] second,
    const double[::1] relax,
    const long long[::1] current,
    const long long[::1] affinity,
    first,
    int quotas,
):
    """The fields of told.Told, and of told.Counts."""
    cdef Py_ssize_t n = row.shape[0], i, to, rejects = 0, moves = 0, pinned = 0
    cdef int at
    cdef const unsigned char[::1] counted = np.ascontiguousarray(first).view(np.uint8)
    absent = (ANY, ANY, 0, 0, Reason.BAD_INPUT, ANY, ANY, ANY, 0, 0)
    types = (np.int32,) * 3 + (np.int64, np.int8, np.int32, np.int8, np.int32, float, float)
    told = tuple(np.empty(rows, dtype) for dtype in types)
    for column, missing in zip(told if n < rows else (), absent):
        column[:] = missing
    cdef int[::1] site_ = told[0], slot_ = told[1], slots_ = told[2]
    cdef int[::1] why_site = told[5], why_quota = told[7]
    cdef long long[::1] cost_ = told[3]
    cdef signed char[::1] why = told[4], why_resource = told[6]
    cdef double[::1] second_ = told[8], relax_ = told[9]
    with nogil:
        for i in range(n):
            to, at = row[i], site[i]
            site_[to], slot_[to], slots_[to] = at, slot[i], slots[i]
            cost_[to], why[to] = micro[i], reason[i]
            why_site[to], why_resource[to] = reason_site[i], reason_resource[i]
            why_quota[to] = reason_quota[i] if reason_quota[i] < quotas else NOWHERE
            second_[to], relax_[to] = second[i], relax[i]
            if reason[i] == CAPACITY and affinity[i] != NOWHERE:
                pinned += 1
            if at >= 0:
                if counted[i] and current[i] >= 0 and current[i] != at:
                    moves += 1
            else:
                rejects += 1
    return told, (rejects, moves, pinned)
