# The bucket of a sample, from the first bits of its float form.
#
# They name a range narrower than a bucket, whose first bucket is in `guess`; a comparison or two of
# integers finds the exact one.

from libc.stdint cimport int16_t, int32_t, int64_t, uint64_t
from libc.string cimport memcpy

cdef enum:
    STEPS = 64  # ranges from one power of two to the next: each less than 1/64 wide, a bucket 1/50
    SHIFT = 46  # of a float's 64 bits: what remains is its exponent and 6 bits
    ONE = 1023 * STEPS  # what remains of 1.0


cdef inline int32_t bucket_of(
    int64_t sample, const int64_t* bounds, const int16_t* guess
) noexcept nogil:
    """sketch.buckets of one sample, which is not negative; bounds: sketch.BOUNDS."""
    cdef double value = <double>sample
    cdef uint64_t bits
    cdef int32_t bucket
    if sample <= 0:
        return 0
    memcpy(&bits, &value, sizeof(bits))
    bucket = guess[<Py_ssize_t>(bits >> SHIFT) - ONE]
    while bounds[bucket] < sample:
        bucket += 1
    while bounds[bucket - 1] >= sample:  # the float may be the next larger one
        bucket -= 1
    return bucket
