# One window of the compiled twin: its sums, its extremes and its sketch.

from libc.stdint cimport int32_t, uint8_t

from kernels.rollup._layout cimport Cell, Held, Row, Sample, Window
from kernels.rollup._sketch cimport count_in


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


cdef inline int add(Window* window, const Held* row) except -1:
    cdef Row* total = &window.row
    if total.count == 0 or row.sample < total.min:
        total.min = row.sample
    if total.count == 0 or row.sample > total.max:
        total.max = row.sample
    total.count += 1
    total.sum += row.sample
    total.energy_mj += row.energy_mj
    return count_in(&window.sketch, row.bucket, 1)


cdef inline bint remove(Window* window, const Held* row) except -1:
    """Take the sample out; must the window's extremes be looked for again?"""
    cdef Row* total = &window.row
    total.count -= 1
    total.sum -= row.sample
    total.energy_mj -= row.energy_mj
    count_in(&window.sketch, row.bucket, -1)
    if row.sample == total.min or row.sample == total.max:
        window.narrowed = True
    return window.narrowed


cdef inline Held held_of(const Sample* row, int32_t cell, int32_t link, bint sampled) noexcept nogil:
    """A reading as the state holds it."""
    cdef Held held
    held.start_ms = row.start_ms
    held.end_ms = row.end_ms
    held.revision = row.revision
    held.sample = row.sample
    held.energy_mj = row.energy_mj
    held.meter = row.meter
    held.source = row.source
    held.bucket = row.bucket
    held.cell = cell
    held.link = link
    held.kind = row.kind
    held.unit = row.unit
    held.sampled = sampled
    held.spare = 0
    return held


cdef inline Sample sample_of(const Held* held, const Cell* cell) noexcept nogil:
    """The reading as it came."""
    cdef Sample row
    row.start_ms = held.start_ms
    row.end_ms = held.end_ms
    row.window_ms = cell.window_ms
    row.revision = held.revision
    row.sample = held.sample
    row.energy_mj = held.energy_mj
    row.meter = held.meter
    row.register_ = cell.register_
    row.source = held.source
    row.site = cell.site
    row.rack = cell.rack
    row.hub = cell.hub
    row.bucket = held.bucket
    row.kind = held.kind
    row.unit = held.unit
    row.levels = cell.levels
    row.fault = 0
    return row
