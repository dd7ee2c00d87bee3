# A window's sketch: counts by bucket, a short list at first, then an array over the buckets' range.

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memmove

from kernels.rollup._layout cimport Bucket, Sketch
from kernels.rollup._tables cimport grown

cdef enum:
    LISTED = 16  # longer than this, looking through the list costs more than an array's memory


cdef inline int count_in(Sketch* sketch, int32_t bucket, int32_t step) except -1:
    """Add `step` to a bucket's count."""
    cdef int32_t at
    if sketch.counts == NULL:
        return count_listed(sketch, bucket, step)
    if bucket == 0:
        sketch.zeros += step
        return 0
    at = bucket - sketch.low
    if at < 0 or at >= sketch.room:
        reach(sketch, bucket)
        at = bucket - sketch.low
    sketch.counts[at] += step
    return 0


cdef inline int count_listed(Sketch* sketch, int32_t bucket, int32_t step) except -1:
    cdef int32_t at = sketch.used
    while at > 0 and sketch.listed[at - 1].bucket >= bucket:
        at -= 1
    if at == sketch.used or sketch.listed[at].bucket != bucket:
        if sketch.used == LISTED:
            spread(sketch)
            return count_in(sketch, bucket, step)
        if sketch.used == sketch.room:
            sketch.room = max(4, 2 * sketch.room)
            sketch.listed = <Bucket*>grown(sketch.listed, sketch.room, sizeof(Bucket))
        memmove(&sketch.listed[at + 1], &sketch.listed[at], (sketch.used - at) * sizeof(Bucket))
        sketch.listed[at].bucket = bucket
        sketch.listed[at].count = 0
        sketch.used += 1
    sketch.listed[at].count += step
    if sketch.listed[at].count == 0:
        sketch.used -= 1
        memmove(&sketch.listed[at], &sketch.listed[at + 1], (sketch.used - at) * sizeof(Bucket))
    return 0


cdef inline int spread(Sketch* sketch) except -1:
    """From list to array."""
    cdef Bucket[LISTED] listed
    cdef int32_t i, used = sketch.used
    memcpy(listed, sketch.listed, used * sizeof(Bucket))
    free(sketch.listed)
    sketch.listed = NULL
    sketch.room = sketch.used = sketch.zeros = 0
    for i in range(used):
        if listed[i].bucket == 0:
            sketch.zeros = listed[i].count
            continue
        if sketch.counts == NULL:
            sketch.low = listed[i].bucket
        reach(sketch, listed[used - 1].bucket if sketch.counts == NULL else listed[i].bucket)
        sketch.counts[listed[i].bucket - sketch.low] = listed[i].count
    return 0


cdef inline int reach(Sketch* sketch, int32_t bucket) except -1:
    """Room for the bucket, and an eighth more on the side to which the array grows."""
    cdef int32_t low = min(sketch.low, bucket)
    cdef int32_t high = max(sketch.low + sketch.room, bucket + 1)
    cdef int32_t spare = (high - low) // 8 + 4
    cdef int32_t* counts
    if sketch.counts != NULL and low == sketch.low and high == sketch.low + sketch.room:
        return 0
    if bucket < sketch.low:
        low = max(1, low - spare)
    else:
        high += spare
    counts = <int32_t*>calloc(high - low, sizeof(int32_t))
    if counts == NULL:
        raise MemoryError("no memory for the open windows; shard the readings topic")
    if sketch.counts != NULL:
        memcpy(counts + (sketch.low - low), sketch.counts, sketch.room * sizeof(int32_t))
        free(sketch.counts)
    sketch.counts = counts
    sketch.low = low
    sketch.room = high - low
    return 0


cdef inline int32_t bucket_p95(const Sketch* sketch, int64_t count) noexcept nogil:
    """sketch.bucket_p95, found from above: count - ceil(0.95 count) samples are over it."""
    cdef int64_t over = count - (95 * count + 99) // 100
    cdef int32_t i
    if sketch.counts == NULL:
        for i in range(sketch.used - 1, -1, -1):
            over -= sketch.listed[i].count
            if over < 0:
                return sketch.listed[i].bucket
        return 0
    for i in range(sketch.room - 1, -1, -1):
        over -= sketch.counts[i]
        if over < 0:
            return sketch.low + i
    return 0


cdef inline int32_t sketch_bytes_max(const Sketch* sketch) noexcept nogil:
    """More bytes than `sketch_into` writes: two numbers of 32 bits a bucket."""
    return 10 * ((sketch.room if sketch.counts != NULL else sketch.used) + 1)


cdef inline uint8_t* varint(uint8_t* out, uint32_t number) noexcept nogil:
    while number > 127:
        out[0] = <uint8_t>(number & 127 | 128)
        out += 1
        number >>= 7
    out[0] = <uint8_t>number
    return out + 1


cdef inline uint8_t* sketch_into(uint8_t* out, const Sketch* sketch) noexcept nogil:
    """sketch.encode; returns the end of what it wrote."""
    cdef int32_t i, before = 0
    if sketch.counts == NULL:
        for i in range(sketch.used):
            out = varint(out, sketch.listed[i].bucket - before)
            out = varint(out, sketch.listed[i].count)
            before = sketch.listed[i].bucket
        return out
    if sketch.zeros:
        out = varint(varint(out, 0), sketch.zeros)
    for i in range(sketch.room):
        if sketch.counts[i]:
            out = varint(out, sketch.low + i - before)
            out = varint(out, sketch.counts[i])
            before = sketch.low + i
    return out
