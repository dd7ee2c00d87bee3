"""Values that lie apart as a column of few bytes each: planes, as snapshot.py has them."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t


cdef inline int64_t value_at(const char* place, char kind) noexcept nogil:
    if kind == b"q":
        return (<const int64_t*>place)[0]
    if kind == b"i":
        return (<const int32_t*>place)[0]
    if kind == b"H":
        return (<const uint16_t*>place)[0]
    return (<const uint8_t*>place)[0]


cdef inline void narrow(
    const char* place, Py_ssize_t step, Py_ssize_t size, char kind, uint64_t low, int width,
    int shift, char* out,
) noexcept nogil:
    """Write `size` values, `step` bytes apart, less `low`, `width` bytes of each from `shift` on."""
    cdef Py_ssize_t i
    if width == 1:
        for i in range(size):
            (<uint8_t*>out)[i] = <uint8_t>(
                (<uint64_t>value_at(place + i * step, kind) - low) >> shift
            )
    elif width == 2:
        for i in range(size):
            (<uint16_t*>out)[i] = <uint16_t>(
                (<uint64_t>value_at(place + i * step, kind) - low) >> shift
            )
    elif width == 4:
        for i in range(size):
            (<uint32_t*>out)[i] = <uint32_t>(<uint64_t>value_at(place + i * step, kind) - low)
    elif width == 8:
        for i in range(size):
            (<uint64_t*>out)[i] = <uint64_t>value_at(place + i * step, kind) - low


cdef inline int plane_of(int width, int at) noexcept nogil:
    """Bytes of the plane that begins `at` bytes into a value of `width` bytes."""
    cdef int left = width - at
    return 8 if left == 8 else 4 if left >= 4 else 2 if left >= 2 else 1
