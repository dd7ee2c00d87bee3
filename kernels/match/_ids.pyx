"""Compiled search and order of job ids."""

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


def order(ids):
    """Rows [n] in ascending order of their id, equal ids as they came, None where they are so already;

    and whether any id comes twice. Most ids ascend as a rule: those that do not are set aside, sorted
    alone and merged.
    """
    cdef Py_ssize_t width = max(ids.dtype.itemsize, 4) // 4, n = len(ids)
    cdef Py_ssize_t row, held = 0, left, at = 0, aside = 0, here
    cdef int than = 0
    cdef bint twice = False
    if n < 2:
        return None, False
    cdef const unsigned int[:, ::1] letters = _letters(ids, width)
    aside_ = np.zeros(n, np.uint8)
    cdef unsigned char[::1] is_aside = aside_
    cdef long long[::1] kept = np.empty(n, np.int64)
    with nogil:
        for row in range(n):
            left, than = held, -1
            while left:
                than = _compared(&letters[kept[left - 1], 0], &letters[row, 0], width)
                if than <= 0 or held - left == LOOKS_BACK:
                    break
                left -= 1
            twice |= than == 0
            if left and than > 0:
                is_aside[row] = 1
                continue
            for here in range(left, held):
                is_aside[kept[here]] = 1
            kept[left] = row
            held = left + 1
    if held == n:
        return None, twice
    others_ = np.flatnonzero(aside_)
    others_ = others_[np.argsort(ids[others_], kind="stable")]
    merged_ = np.empty(n, np.int64)
    cdef const long long[::1] others = others_
    cdef long long[::1] merged = merged_
    with nogil:
        for here in range(1, others.shape[0]):
            twice |= not _compared(&letters[others[here - 1], 0], &letters[others[here], 0], width)
        for here in range(n):
            than = -1
            if at == held:
                than = 1
            elif aside < others.shape[0]:
                than = _compared(&letters[kept[at], 0], &letters[others[aside], 0], width)
                twice |= than == 0
                if than == 0:
                    than = 1 if others[aside] < kept[at] else -1
            if than < 0:
                merged[here] = kept[at]
                at += 1
            else:
                merged[here] = others[aside]
                aside += 1
    return merged_, twice


cdef enum:
    LOOKS_BACK = 4  # ids that one that comes after them sets aside, instead of being so itself


cdef inline int _compared(
    const unsigned int* one, const unsigned int* other, Py_ssize_t width
) noexcept nogil:
    """-1, 0, 1 = lower, the same, higher; two letters at a time."""
    cdef unsigned long long left, right
    cdef Py_ssize_t letter
    for letter in range(0, width - 1, 2):
        left = (<unsigned long long>one[letter] << 32) | one[letter + 1]
        right = (<unsigned long long>other[letter] << 32) | other[letter + 1]
        if left != right:
            return 1 if left > right else -1
    if width & 1 and one[width - 1] != other[width - 1]:
        return 1 if one[width - 1] > other[width - 1] else -1
    return 0


def _letters(texts, width):
    """Code points [n, width], zeros behind the last."""
    return np.ascontiguousarray(texts.astype(f"=U{width}", copy=False)).view(np.uint32).reshape(len(texts), width)
