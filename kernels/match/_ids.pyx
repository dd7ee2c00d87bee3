"""Compiled search of job ids: where each of some ascending ids is among other ascending ids."""

import numpy as np

from libc.string cimport memcmp


def places(known, wanted):
    """Index [n] in `known` of each of `wanted`, -1 = not there; both ascending, one merge of the two."""
    width = max(known.dtype.itemsize, wanted.dtype.itemsize, 4) // 4
    found_ = np.full(len(wanted), -1, np.int64)
    if not len(known) or not len(wanted):
        return found_
    cdef const unsigned int[:, ::1] old = _letters(known, width), new = _letters(wanted, width)
    cdef long long[::1] found = found_
    cdef Py_ssize_t at = 0, row = 0, letter, most = width
    with nogil:
        while at < old.shape[0] and row < new.shape[0]:
            if not memcmp(&old[at, 0], &new[row, 0], most * sizeof(int)):
                found[row] = at
                at += 1
                row += 1
                continue
            letter = 0
            while old[at, letter] == new[row, letter]:
                letter += 1
            if old[at, letter] < new[row, letter]:
                at += 1
            else:
                row += 1
    return found_


def _letters(texts, width):
    """Code points [n, width], zeros behind the last."""
    return np.ascontiguousarray(texts.astype(f"=U{width}", copy=False)).view(np.uint32).reshape(len(texts), width)
