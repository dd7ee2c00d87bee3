# A window's sketch as a sorted list of (bucket, count), and the memory of the tables around it.

from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memmove

from kernels.rollup._layout cimport Bucket, Window


cdef inline void* grown(void* block, size_t count, size_t size) except NULL:
    cdef void* bigger = realloc(block, count * size)
    if bigger == NULL:
        raise MemoryError("no memory for the open windows; shard the readings topic")
    return bigger


cdef inline int32_t* emptied(int32_t* table, size_t size) except NULL:
    free(table)
    table = <int32_t*>calloc(size, sizeof(int32_t))
    if table == NULL:
        raise MemoryError("no memory for the open windows; shard the readings topic")
    return table


cdef inline int varint(bytearray out, uint64_t number) except -1:
    while number > 127:
        out.append(<uint8_t>(number & 127 | 128))
        number >>= 7
    out.append(<uint8_t>number)
    return 0


cdef inline int32_t bucket_p95(const Window* window) noexcept nogil:
    """sketch.bucket_p95: the bucket of rank ceil(0.95 count)."""
    cdef int64_t rank = (95 * window.row.count + 99) // 100
    cdef int32_t i
    for i in range(window.used):
        rank -= window.buckets[i].count
        if rank <= 0:
            return window.buckets[i].bucket
    return 0


cdef inline int count_in(Window* window, int32_t bucket, int64_t step) except -1:
    """Add `step` to a bucket's count; buckets stay sorted and none is empty."""
    cdef int32_t low = 0, high = window.used, middle
    while low < high:
        middle = (low + high) // 2
        if window.buckets[middle].bucket < bucket:
            low = middle + 1
        else:
            high = middle
    if low == window.used or window.buckets[low].bucket != bucket:
        if window.used == window.room:
            window.room = max(4, 2 * window.room)
            window.buckets = <Bucket*>grown(window.buckets, window.room, sizeof(Bucket))
        memmove(&window.buckets[low + 1], &window.buckets[low],
                (window.used - low) * sizeof(Bucket))
        window.buckets[low].bucket = bucket
        window.buckets[low].count = 0
        window.used += 1
    window.buckets[low].count += step
    if window.buckets[low].count == 0:
        window.used -= 1
        memmove(&window.buckets[low], &window.buckets[low + 1],
                (window.used - low) * sizeof(Bucket))
    return 0
