# One window of the compiled twin: its sums, and its sketch as a sorted list of (bucket, count).

from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t
from libc.string cimport memmove

from kernels.rollup._layout cimport Bucket, Row, Sample, Window
from kernels.rollup._tables cimport grown


cdef inline Row empty_row(const Sample* row, uint8_t level) noexcept nogil:
    """An empty window of the level that the reading is in."""
    cdef Row new
    new.start_ms = row.window_ms
    new.revision = new.count = new.sum = new.min = new.max = new.energy_mj = 0
    new.site = row.site
    new.rack = row.rack
    new.hub = row.hub
    new.register_ = row.register_
    new.p95_bucket = 0
    new.level = level
    new.unit = row.unit
    new.spare = 0
    return new


cdef inline int add(Window* window, const Sample* row) except -1:
    cdef Row* total = &window.row
    if total.count == 0 or row.sample < total.min:
        total.min = row.sample
    if total.count == 0 or row.sample > total.max:
        total.max = row.sample
    total.count += 1
    total.sum += row.sample
    total.energy_mj += row.energy_mj
    count_in(window, row.bucket, 1)
    return 0


cdef inline bint remove(Window* window, const Sample* row) except -1:
    """Take the sample out; must the window's extremes be looked for again?"""
    cdef Row* total = &window.row
    total.count -= 1
    total.sum -= row.sample
    total.energy_mj -= row.energy_mj
    count_in(window, row.bucket, -1)
    if row.sample == total.min or row.sample == total.max:
        window.narrowed = True
    return window.narrowed


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
