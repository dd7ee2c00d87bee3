# One window of the compiled twin: its sums, its extremes and its samples.

from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t

from kernels.rollup._layout cimport (
    ENERGY,
    FEW,
    NONE,
    SAMPLED,
    Apart,
    Cell,
    Gathered,
    Held,
    Row,
    Sample,
    Saved,
    Window,
)
from kernels.rollup._readings cimport (
    Readings,
    apart_of,
    bucket_in,
    energy_of,
    kind_of,
    sample_of,
)
from kernels.rollup._sketch cimport bucket_p95, count_all, count_one, counts_into, few_into, uncount


cdef inline int add(
    Window* window, const Gathered* more, const Cell* cells, const Gathered* gathered,
    const Readings* readings
) except -1:
    """Add these samples, and no revision; none of them is among those that `samples_in` finds."""
    cdef int16_t[FEW] buckets
    cdef int32_t found
    if window.counts == NULL and window.count + more.size > FEW:
        found = samples_in(window, cells, gathered, readings, buckets)
        count_all(&window.counts, buckets, found)
    if window.counts != NULL:
        count_all(&window.counts, more.buckets, more.size)
    if window.count == 0 or more.min < window.min:
        window.min = more.min
    if window.count == 0 or more.max > window.max:
        window.max = more.max
    window.count += more.size
    window.sum += more.sum
    window.energy_mj += more.energy_mj
    return 0


cdef inline int add_one(
    Window* window, const Sample* row, const Cell* cells, const Gathered* gathered,
    const Readings* readings
) except -1:
    """`add` of one sample; it is not held yet."""
    cdef int16_t[FEW] buckets
    if window.counts == NULL and window.count == FEW:
        samples_in(window, cells, gathered, readings, buckets)
        count_all(&window.counts, buckets, FEW)
    if window.counts != NULL:
        count_one(&window.counts, row.bucket)
    if window.count == 0 or row.sample < window.min:
        window.min = row.sample
    if window.count == 0 or row.sample > window.max:
        window.max = row.sample
    window.count += 1
    window.sum += row.sample
    window.energy_mj += row.energy_mj
    return 0


cdef inline int32_t samples_in(
    const Window* window, const Cell* cells, const Gathered* gathered, const Readings* readings,
    int16_t* buckets
) noexcept nogil:
    """Buckets of the window's few samples, without those that it has not been told of."""
    cdef int32_t cell = window.cells, at, untold, found = 0
    while cell != NONE:
        at = cells[cell].newest
        untold = gathered[cells[cell].gathered].size if cells[cell].gathered != NONE else 0
        while at != NONE:
            if untold > 0:
                untold -= 1
            elif readings.held[at].rest & SAMPLED:
                buckets[found] = <int16_t>bucket_in(readings, at)
                found += 1
            at = readings.held[at].before
        cell = cells[cell].others[window.level]
    return found


cdef inline bint remove(Window* window, const Readings* readings, int32_t reading) noexcept nogil:
    """Take the sample out; must the window's extremes be looked for again?"""
    cdef int64_t sample = sample_of(readings, reading)
    window.count -= 1
    window.sum -= sample
    window.energy_mj -= energy_of(&readings.held[reading])
    if window.counts != NULL:
        uncount(window.counts, bucket_in(readings, reading))
    return sample == window.min or sample == window.max


cdef inline void widen(
    Window* window, const Cell* cells, const Readings* readings
) noexcept nogil:
    """Smallest and largest of a window that lost one of them, from all its samples."""
    cdef int32_t cell = window.cells, at
    cdef int64_t sample
    cdef bint none = True
    window.narrowed = False
    window.min = window.max = 0
    while cell != NONE:
        at = cells[cell].newest
        while at != NONE:
            if readings.held[at].rest & SAMPLED:
                sample = sample_of(readings, at)
                window.min = sample if none else min(window.min, sample)
                window.max = max(window.max, sample)
                none = False
            at = readings.held[at].before
        cell = cells[cell].others[window.level]


cdef inline void row_into(
    Row* out, const Window* window, const Cell* cells, int32_t largest
) noexcept nogil:
    """The window as layout.WINDOW; `largest`: the bucket of its largest sample."""
    cdef const Cell* first = &cells[window.first]
    out.start_ms = first.window_ms
    out.revision = window.revision
    out.count = window.count
    out.sum = window.sum
    out.min = window.min
    out.max = window.max
    out.energy_mj = window.energy_mj
    out.site = first.site
    out.rack = first.rack
    out.hub = first.hub
    out.register_ = first.register_
    out.p95_bucket = bucket_p95(window.counts, window.count) if window.counts != NULL else largest
    out.level = window.level
    out.unit = window.unit
    out.spare = 0


cdef inline int64_t sketch_bytes_max(const Window* window) noexcept nogil:
    """As many bytes as `sketch_into` writes, or more: two numbers of 32 bits a bucket."""
    return 10 * (window.count if window.counts == NULL else window.counts.room + 1)


cdef inline uint8_t* sketch_into(
    uint8_t* out, const Window* window, const Cell* cells, const Gathered* gathered,
    const Readings* readings
) noexcept nogil:
    """sketch.encode of the window; returns the end of what it wrote."""
    cdef int16_t[FEW] buckets
    if window.counts != NULL:
        return counts_into(out, window.counts)
    return few_into(out, buckets, samples_in(window, cells, gathered, readings, buckets))


cdef inline void saved_into(
    Saved* row, const Readings* readings, int32_t reading, const Cell* cells, uint8_t mj
) noexcept nogil:
    """The reading as it is saved; `mj`: the unit of those that have an energy."""
    cdef const Held* held = &readings.held[reading]
    cdef const Cell* cell = &cells[held.cell]
    cdef Apart apart = apart_of(readings, reading)
    row.start_ms = apart.start_ms
    row.end_ms = held.end_ms
    row.revision = apart.revision
    row.quantity = held.quantity
    row.meter = readings.series[held.series].meter
    row.register_ = cell.register_
    row.source = apart.source
    row.site = cell.site
    row.rack = cell.rack
    row.hub = cell.hub
    row.kind = kind_of(held)
    row.unit = mj if held.rest & ENERGY else cell.unit
