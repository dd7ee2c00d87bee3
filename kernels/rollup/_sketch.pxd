# A window's sketch: counts by bucket over their range, once there are more than a few samples.

from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t, uint32_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

from kernels.rollup._layout cimport Counts


cdef inline int count_all(Counts** sketch, const int16_t* buckets, int32_t size) except -1:
    """Add samples of these buckets."""
    cdef int32_t i, bucket, low = 0x7FFF, high = 1
    cdef int32_t* counts
    for i in range(size):
        bucket = buckets[i]
        high = max(high, bucket)
        low = min(low, bucket if bucket else 0x7FFF)
    reach(sketch, min(low, high), high)
    counts = sketch[0].of - sketch[0].low
    for i in range(size):
        bucket = buckets[i]
        if bucket:
            counts[bucket] += 1
        else:
            sketch[0].zeros += 1
    return 0


cdef inline int count_one(Counts** sketch, int32_t bucket) except -1:
    """Add a sample of this bucket to a sketch."""
    if bucket and not sketch[0].low <= bucket < sketch[0].low + sketch[0].room:
        reach(sketch, bucket, bucket)
    if bucket:
        sketch[0].of[bucket - sketch[0].low] += 1
    else:
        sketch[0].zeros += 1
    return 0


cdef inline void uncount(Counts* sketch, int32_t bucket) noexcept nogil:
    """Take one sample of the bucket out."""
    if bucket:
        sketch.of[bucket - sketch.low] -= 1
    else:
        sketch.zeros -= 1


cdef inline int reach(Counts** sketch, int32_t low, int32_t high) except -1:
    """Room for the buckets from `low` to `high`, and an eighth more where the array grows."""
    cdef Counts* old = sketch[0]
    cdef Counts* new
    cdef int32_t first = low, end = high + 1, spare
    if old != NULL:
        if old.low <= low and high < old.low + old.room:
            return 0
        first = min(first, old.low)
        end = max(end, old.low + old.room)
    spare = (end - first) // 8 + 4
    if old == NULL or high >= old.low + old.room:
        end += spare
    if old == NULL or low < old.low:
        first = max(1, first - spare)
    new = <Counts*>calloc(1, sizeof(Counts) + (end - first) * sizeof(int32_t))
    if new == NULL:
        raise MemoryError("no memory for the open windows; shard the readings topic")
    new.low = first
    new.room = end - first
    if old != NULL:
        new.zeros = old.zeros
        memcpy(new.of + (old.low - first), old.of, old.room * sizeof(int32_t))
        free(old)
    sketch[0] = new
    return 0


cdef inline int32_t bucket_p95(const Counts* sketch, int64_t count) noexcept nogil:
    """sketch.bucket_p95, found from above: count - ceil(0.95 count) samples are over it."""
    cdef int64_t over = count - (95 * count + 99) // 100
    cdef int32_t i
    for i in range(sketch.room - 1, -1, -1):
        over -= sketch.of[i]
        if over < 0:
            return sketch.low + i
    return 0


cdef inline uint8_t* varint(uint8_t* out, uint32_t number) noexcept nogil:
    while number > 127:
        out[0] = <uint8_t>(number & 127 | 128)
        out += 1
        number >>= 7
    out[0] = <uint8_t>number
    return out + 1


cdef inline uint8_t* counts_into(uint8_t* out, const Counts* sketch) noexcept nogil:
    """sketch.encode; returns the end of what it wrote, at most 10 bytes a bucket and for zeros."""
    cdef int32_t i, before = 0
    if sketch.zeros:
        out = varint(varint(out, 0), sketch.zeros)
    for i in range(sketch.room):
        if sketch.of[i]:
            out = varint(out, sketch.low + i - before)
            out = varint(out, sketch.of[i])
            before = sketch.low + i
    return out


cdef inline uint8_t* few_into(uint8_t* out, int16_t* buckets, int32_t size) noexcept nogil:
    """The same of few samples, whose buckets it sorts."""
    cdef int16_t bucket, before = 0
    cdef int32_t i, at, first = 0
    for i in range(1, size):
        bucket = buckets[i]
        at = i
        while at > 0 and buckets[at - 1] > bucket:
            buckets[at] = buckets[at - 1]
            at -= 1
        buckets[at] = bucket
    for i in range(size):
        if i + 1 == size or buckets[i + 1] != buckets[i]:
            out = varint(varint(out, buckets[i] - before), i + 1 - first)
            before = buckets[i]
            first = i + 1
    return out
