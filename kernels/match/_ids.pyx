"""Compiled search and order of job ids."""

import numpy as np

from libc.string cimport memcmp, memcpy


def places(known, wanted):
    """Index [n] in `known` of each of `wanted`, -1 = not there; one merge of the two.

    `wanted` ascends. So does `known`, or the answer is None: where one of it is not behind one of
    `wanted` it cannot be out of order, so that only the others are compared with the one before.
    """
    found_ = np.full(len(wanted), -1, np.int64)
    if not len(known) or not len(wanted):
        return found_
    cdef const unsigned int[:, ::1] old = _letters(known), new = _letters(wanted)
    cdef Py_ssize_t width = old.shape[1], others = new.shape[1], both = min(width, others)
    cdef long long[::1] found = found_
    cdef Py_ssize_t at = 0, row = 0
    cdef int than
    cdef bint ascends = True
    with nogil:
        while at < old.shape[0]:
            than = -1
            if row < new.shape[0]:
                than = 0
                if memcmp(&old[at, 0], &new[row, 0], both * sizeof(int)):
                    than = _compared(&old[at, 0], &new[row, 0], both)
                elif _goes_on(&old[at, 0], both, width):
                    than = 1
                elif _goes_on(&new[row, 0], both, others):
                    than = -1
            if than > 0:
                row += 1
                continue
            if than < 0 and at and _compared(&old[at - 1, 0], &old[at, 0], width) > 0:
                ascends = False
                break
            if than == 0:
                found[row] = at
                row += 1
            at += 1
    return found_ if ascends else None


def order(ids):
    """Rows [n] in ascending order of their id, equal ids as they came, None where they are so already;

    and whether any id comes twice. Most ids ascend as a rule: those that do not are set aside, sorted
    alone and merged.
    """
    cdef Py_ssize_t n = len(ids), row, held = 0, left, at = 0, aside = 0, here
    cdef int than = 0
    cdef bint twice = False, mostly = True
    if n < 2:
        return None, False
    cdef const unsigned int[:, ::1] letters = _letters(ids)
    cdef Py_ssize_t width = letters.shape[1]
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
                if row >= FIRST and held * 2 < row:
                    mostly = False
                    break
                continue
            for here in range(left, held):
                is_aside[kept[here]] = 1
            kept[left] = row
            held = left + 1
    if held == n:
        return None, twice
    others_ = np.flatnonzero(aside_) if mostly else np.arange(n)
    others_ = others_[np.argsort(ids[others_] if mostly else ids, kind="stable")]
    held = held if mostly else 0
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
    FIRST = 256  # ids after which it is known whether most ascend; if not, all are sorted
    LOOKS_BACK = 4  # ids that one that comes after them sets aside, instead of being so itself


cdef inline int _compared(
    const unsigned int* one, const unsigned int* other, Py_ssize_t width
) noexcept nogil:
    """-1, 0, 1 = lower, the same, higher; two letters at a time."""
    cdef unsigned long long left, right
    cdef Py_ssize_t letter
    for letter in range(0, width - 1, 2):
        memcpy(&left, one + letter, sizeof(left))
        memcpy(&right, other + letter, sizeof(right))
        if left != right:
            if one[letter] != other[letter]:
                return 1 if one[letter] > other[letter] else -1
            return 1 if one[letter + 1] > other[letter + 1] else -1
    if width & 1 and one[width - 1] != other[width - 1]:
        return 1 if one[width - 1] > other[width - 1] else -1
    return 0


cdef inline bint _goes_on(const unsigned int* one, Py_ssize_t at, Py_ssize_t width) noexcept nogil:
    """Whether there is a letter from `at` on."""
    while at < width and not one[at]:
        at += 1
    return at < width


def _letters(texts):
    """Code points [n, width], zeros behind the last."""
    width = max(texts.dtype.itemsize, 4) // 4
    return np.ascontiguousarray(texts.astype(f"=U{width}", copy=False)).view(np.uint32).reshape(len(texts), width)
