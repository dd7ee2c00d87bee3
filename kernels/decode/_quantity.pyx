# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The compiled twin of quantity.plain: (mantissa x 10^e) x factor + offset in 128 bits, exact."""

from libc.stdint cimport int8_t, int32_t, int64_t, uint8_t, uint64_t

import numpy as np

cimport numpy as cnp

from kernels.decode import quantity

cnp.import_array()

cdef extern from *:
    """
    typedef __int128 gridloom_wide;
    static const uint64_t GRIDLOOM_TENS[] = {
        1ull, 10ull, 100ull, 1000ull, 10000ull, 100000ull, 1000000ull, 10000000ull, 100000000ull,
        1000000000ull, 10000000000ull, 100000000000ull, 1000000000000ull, 10000000000000ull,
        100000000000000ull, 1000000000000000ull, 10000000000000000ull, 100000000000000000ull,
        1000000000000000000ull};
    static const int64_t GRIDLOOM_LIMITS[] = { /* 2^63 - 1 in tens to the place */
        INT64_MAX, INT64_MAX / 10, INT64_MAX / 100, INT64_MAX / 1000, INT64_MAX / 10000,
        INT64_MAX / 100000, INT64_MAX / 1000000, INT64_MAX / 10000000, INT64_MAX / 100000000,
        INT64_MAX / 1000000000, INT64_MAX / 10000000000, INT64_MAX / 100000000000,
        INT64_MAX / 1000000000000, INT64_MAX / 10000000000000, INT64_MAX / 100000000000000,
        INT64_MAX / 1000000000000000, INT64_MAX / 10000000000000000,
        INT64_MAX / 100000000000000000, INT64_MAX / 1000000000000000000};
    """
    ctypedef long long gridloom_wide
    bint gridloom_product "__builtin_mul_overflow" (int64_t a, int64_t b, int64_t* product) nogil
    const uint64_t* GRIDLOOM_TENS
    const int64_t* GRIDLOOM_LIMITS

cdef struct Factor:  # quantity.FACTOR
    int64_t mantissa
    int32_t exponent
    int32_t signed_
    int64_t offset

assert sizeof(Factor) == quantity.FACTOR.itemsize, "Factor is not quantity.FACTOR"

cdef int TENS_MAX = 18
cdef int WIDE_TENS_MAX = 30  # an offset times so many tens, and 18 digits times 36: within 128 bits


def convert(mantissas, exponents, codes, factors):
    """int64 in base units, and 1 where it is settled; else 0 and 0."""
    cdef cnp.ndarray m = np.ascontiguousarray(mantissas, np.int64)
    cdef cnp.ndarray e = np.ascontiguousarray(exponents, np.int8)
    cdef cnp.ndarray c = np.ascontiguousarray(codes, np.int32)
    cdef cnp.ndarray f = np.ascontiguousarray(factors)
    cdef Py_ssize_t i, size = len(m)
    cdef cnp.ndarray converted = np.zeros(size, np.int64)
    cdef cnp.ndarray settled = np.zeros(size, np.uint8)
    cdef int64_t* mantissa = <int64_t*>cnp.PyArray_DATA(m)
    cdef int8_t* exponent = <int8_t*>cnp.PyArray_DATA(e)
    cdef int32_t* code = <int32_t*>cnp.PyArray_DATA(c)
    cdef Factor* factor = <Factor*>cnp.PyArray_DATA(f)
    cdef int64_t* to = <int64_t*>cnp.PyArray_DATA(converted)
    cdef uint8_t* is_settled = <uint8_t*>cnp.PyArray_DATA(settled)
    assert len(e) == size and len(c) == size, "columns of different lengths"
    for i in range(size):
        is_settled[i] = in_base(mantissa[i], exponent[i], &factor[code[i]], &to[i])
        if not is_settled[i]:
            to[i] = 0
    return converted, settled


cdef inline bint in_base(int64_t mantissa, int exponent, const Factor* unit, int64_t* to) noexcept nogil:
    cdef gridloom_wide scaled
    cdef gridloom_wide whole
    cdef int tens = exponent + unit.exponent
    if unit.mantissa == 0 or (mantissa < 0 and not unit.signed_):
        return False
    # nearly always: a whole number of base units, within 64 bits all the way
    if mantissa >= 0 and 0 <= tens <= TENS_MAX and unit.offset == 0 and not gridloom_product(
        mantissa, unit.mantissa, to
    ) and not gridloom_product(to[0], <int64_t>GRIDLOOM_TENS[tens], to):
        return True
    scaled = <gridloom_wide>mantissa * unit.mantissa
    if scaled == 0:
        whole = unit.offset
    elif tens >= 0:
        if tens > TENS_MAX:
            return False
        whole = GRIDLOOM_LIMITS[tens]
        if scaled > whole or scaled < -whole:
            return False
        whole = scaled * <int64_t>GRIDLOOM_TENS[tens] + unit.offset
    else:
        if -tens > WIDE_TENS_MAX and unit.offset:
            return False
        whole = 0 if -tens > WIDE_TENS_MAX else rounded(scaled, -tens, unit.offset)
    if whole < 0 or whole > GRIDLOOM_LIMITS[0]:
        return False
    to[0] = <int64_t>whole
    return True


cdef inline gridloom_wide rounded(gridloom_wide scaled, int tens, int64_t offset) noexcept nogil:
    """scaled / 10^tens + offset to the nearest integer, ties to even."""
    cdef gridloom_wide divisor, quotient, rest
    cdef uint64_t small, by, half
    if offset == 0 and tens <= TENS_MAX and 0 <= scaled <= GRIDLOOM_LIMITS[0]:
        by = GRIDLOOM_TENS[tens]
        small = <uint64_t>scaled // by
        half = <uint64_t>scaled % by
        if 2 * half > by or (2 * half == by and small & 1):
            small += 1
        return small
    divisor = <gridloom_wide>GRIDLOOM_TENS[min(tens, TENS_MAX)]
    if tens > TENS_MAX:
        divisor *= <int64_t>GRIDLOOM_TENS[tens - TENS_MAX]
    scaled += offset * divisor
    quotient = scaled // divisor
    rest = scaled - quotient * divisor
    if rest < 0:  # C rounds toward zero: make it the floor
        rest += divisor
        quotient -= 1
    rest *= 2
    if rest > divisor or (rest == divisor and quotient & 1):
        quotient += 1
    return quotient
