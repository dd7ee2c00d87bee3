# Sketches counted from their bytes.

from libc.stdint cimport int32_t, int64_t, uint8_t

cdef enum:
    BUCKETS = 2_500  # at least as many as there are

cdef struct Counts:
    int64_t[BUCKETS] of
    int64_t samples
    int64_t first  # lowest and highest bucket that has any
    int64_t last

cdef int64_t samples_of(
    const uint8_t* at, const uint8_t* end, int64_t expected, int32_t* p95
) noexcept nogil
cdef int64_t add(Counts* counts, const uint8_t* at, const uint8_t* end) noexcept nogil
cdef int32_t cleared(Counts* counts) noexcept nogil
