# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The compiled twin of sketch.counted: the same answer from the bytes, without a dict.

_merge.pyx counts by the functions that _sketches.pxd names.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.string cimport memset

from kernels.rollup import sketch

cdef enum:
    CUT_SHORT = -1
    NO_BUCKET = -2
    TOO_LARGE = -3

cdef int64_t MOST = sketch.SAMPLES_MAX
cdef int64_t LAST = len(sketch.BOUNDS) - 1

assert LAST < BUCKETS, "there are more buckets than the counts have room for"


cdef inline int64_t number_at(const uint8_t** at, const uint8_t* end) noexcept nogil:
    """The varint at `at`, which moves behind it; below 0 where there is none."""
    cdef int64_t number = 0
    cdef int shift = 0
    cdef uint8_t byte
    if at[0] < end and at[0][0] < 128:
        at[0] += 1
        return at[0][-1]
    while at[0] < end:
        byte = at[0][0]
        at[0] += 1
        number |= <int64_t>(byte & 127) << shift
        if byte < 128:
            return number
        shift += 7
        if shift > 56:
            return TOO_LARGE
    return CUT_SHORT


cdef inline int64_t pair_at(
    const uint8_t** at, const uint8_t* end, int64_t* bucket
) noexcept nogil:
    """Samples of the next bucket, which `bucket` moves to from the last one, at first -1."""
    cdef int64_t number = number_at(at, end)
    if number < 0:
        return number
    if bucket[0] >= 0 and number == 0:
        return NO_BUCKET
    bucket[0] = number + (bucket[0] if bucket[0] > 0 else 0)
    return number_at(at, end) if bucket[0] <= LAST else NO_BUCKET


cdef int64_t samples_of(
    const uint8_t* at, const uint8_t* end, int64_t expected, int32_t* p95
) noexcept nogil:
    """Samples of a sketch, below 0 where it is faulty; if as many as expected, their p95's bucket."""
    cdef int64_t bucket = -1, number, samples = 0
    cdef int64_t rank = expected - expected // 20  # ceil(0.95 n)
    p95[0] = 0
    while at < end:
        number = pair_at(&at, end, &bucket)
        if number < 0:
            return number
        if samples < rank <= samples + number:
            p95[0] = <int32_t>bucket
        samples += number
        if samples > MOST:
            return TOO_LARGE
    return samples


cdef int64_t add(Counts* counts, const uint8_t* at, const uint8_t* end) noexcept nogil:
    """Add one sketch to the counts; below 0 where it is faulty."""
    cdef int64_t bucket = -1, number
    while at < end:
        number = pair_at(&at, end, &bucket)
        if number < 0:
            return number
        counts.of[bucket] += number
        counts.first = min(counts.first, bucket)
        counts.last = max(counts.last, bucket)
        counts.samples += number
        if counts.samples > MOST:
            return TOO_LARGE
    return 0


cdef int32_t cleared(Counts* counts) noexcept nogil:
    """The bucket of the p95 of what was added; the counts are empty again."""
    cdef int64_t over = counts.samples - (95 * counts.samples + 99) // 100, bucket
    cdef int32_t p95 = 0
    for bucket in range(counts.last, counts.first - 1, -1):
        over -= counts.of[bucket]
        if over < 0:
            p95 = <int32_t>bucket
            break
    if counts.first <= counts.last:
        memset(&counts.of[counts.first], 0, (counts.last - counts.first + 1) * sizeof(int64_t))
    counts.samples = counts.last = 0
    counts.first = LAST
    return p95


def counted(encoded):
    """(samples, bucket of their p95) of several sketches together. ValueError as sketch.decode."""
    cdef Counts counts
    cdef const uint8_t* at
    cdef int64_t fault, samples
    cdef bytes one
    memset(&counts, 0, sizeof(counts))
    counts.first = LAST
    for one in encoded:
        at = <const uint8_t*>PyBytes_AS_STRING(one)
        fault = add(&counts, at, at + PyBytes_GET_SIZE(one))
        if fault < 0:
            raise ValueError(sketch.FAULTS[-1 - fault])
    samples = counts.samples
    return samples, cleared(&counts)
