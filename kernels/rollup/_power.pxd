# The mean power of an energy, in integers.

from libc.stdint cimport INT64_MAX, int64_t


cdef inline bint power(int64_t quantity, int64_t duration, int64_t* out) noexcept nogil:
    """samples.mean_power_mw of one row; False where it passes 64 bits."""
    cdef int64_t whole = 0, rest = quantity, milli, left, missing
    if quantity >= INT64_MAX // 1000 - 1:
        whole = quantity // duration
        rest = quantity % duration
        if whole >= INT64_MAX // 1000 - 1:
            return False
    elif duration == 1000:
        return True  # of a second: it is the same number
    milli = rest * 1000 // duration
    left = rest * 1000 - milli * duration
    out[0] = whole * 1000 + milli
    missing = duration - left
    if left > missing or (left == missing and out[0] % 2 == 1):
        out[0] += 1
    return True
