# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The compiled twin of merge_reference.Ledger: same parts in, same windows out, same order.

    held      [part 0][part 1]...   in order of acceptance; its sketch is in `sketches`
    windows   table by (level, id, register, start); a window's parts are a list by partition
    starts    heap of the starts that open parts have, and by start the newest part that has it

A part that was replaced or closed stays where it is until the state is cleaned.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from heapq import heappop, heappush

import numpy as np

cimport numpy as cnp

from kernels.rollup._sketches cimport Counts, add, cleared, samples_of
from kernels.rollup._tables cimport Table, entry_of, grown, let_go, mixed, place_of, reserve

from kernels.rollup import layout, sketch
from kernels.rollup.merge_reference import MAX_LAG_MS, PPM, RETENTION_MS, Parts
from schemas.units import half_even

cnp.import_array()

cdef enum:
    NONE = -1
    ACCEPTED = 0  # layout.PartOutcome
    DUPLICATE = 1
    SUPERSEDED = 2
    LATE = 3
    OTHER_UNIT = 4
    BAD_SKETCH = 5
    SUM = 6
    ENERGY = 7
    COUNT = 8
    REVISION = 9
    UNCOUNTED = 10

cdef int64_t MAX_LAG = MAX_LAG_MS, RETENTION = RETENTION_MS, SAMPLES_MAX = sketch.SAMPLES_MAX
cdef int64_t INT64_MAX = 0x7FFFFFFFFFFFFFFF, INT64_MIN = -0x7FFFFFFFFFFFFFFF - 1

cdef Counts TOGETHER
memset(&TOGETHER, 0, sizeof(Counts))
cleared(&TOGETHER)


cdef struct Part:  # layout.PART; of layout.MERGED the last field is the bucket of the p95
    int64_t start_ms
    int64_t end_ms
    int64_t revision
    int64_t count
    int64_t sum
    int64_t min
    int64_t max
    int64_t energy_mj
    int32_t level
    int32_t id
    int32_t hub
    int32_t register_
    int32_t unit
    int32_t partition

cdef struct Held:
    Part part
    int64_t sketch    # where its bytes begin, and how many they are
    int32_t size
    int32_t other     # next part of the window, of a higher partition; -1 at the end
    int32_t bucket    # of its own p95
    int32_t window
    int32_t mate      # next older part of the same start; -1 at the first
    bint gone         # replaced or closed

cdef struct Window:
    int64_t start_ms
    int32_t level
    int32_t id
    int32_t register_
    int32_t parts       # that of the lowest partition; -1 for none
    int32_t changed_by  # the last batch that changed it, and the last that made its PUE
    int32_t quoted_by

cdef struct Mark:
    int64_t latest_ms
    int32_t partition

cdef struct Wide:  # a sum of numbers of 64 bits
    int64_t high
    uint64_t low

assert sizeof(Part) == layout.PART.itemsize == layout.MERGED.itemsize, "Part is not layout.PART"


cdef inline void widely(Wide* total, int64_t number) noexcept nogil:
    cdef uint64_t before = total.low
    total.low += <uint64_t>number
    total.high += (total.low < before) - (number < 0)


cdef inline bint fits(const Wide* total) noexcept nogil:
    return total.high == (-1 if total.low >> 63 else 0)


cdef inline int64_t plus(int64_t one, int64_t other) noexcept nogil:
    """A sum that may pass 64 bits on its way; what is accepted does not in the end."""
    return <int64_t>(<uint64_t>one + <uint64_t>other)


cdef inline int64_t before(int64_t at_ms, int64_t span_ms) noexcept nogil:
    return at_ms - span_ms if at_ms >= INT64_MIN + span_ms else INT64_MIN


cdef class Ledger:
    cdef Held* held
    cdef Window* windows
    cdef uint8_t* sketches
    cdef Mark* known
    cdef int32_t* changed  # windows that the batch changed, in that order
    cdef Table table
    cdef Py_ssize_t count, room, window_count, window_room, bytes_, bytes_room, mark_count
    cdef Py_ssize_t changed_count, changed_room
    cdef readonly int64_t horizon_ms
    cdef dict newest_of  # by start
    cdef list starts
    cdef int32_t batch
    cdef int32_t facility, it, pue, ppm

    def __cinit__(self):
        self.held = NULL
        self.windows = NULL
        self.sketches = NULL
        self.known = NULL
        self.changed = NULL
        self.table.entries = NULL

    def __dealloc__(self):
        let_go(self.held)
        let_go(self.windows)
        let_go(self.sketches)
        let_go(self.known)
        let_go(self.changed)
        let_go(self.table.entries)

    def __init__(self, quotients):
        self.facility, self.it, self.pue, self.ppm = quotients
        self.horizon_ms = layout.NEVER_MS
        self.newest_of = {}
        self.starts = []
        reserve(&self.table, 1)

    def __len__(self):
        return self.count

    @property
    def marks(self):
        return {self.known[i].partition: self.known[i].latest_ms for i in range(self.mark_count)}

    @marks.setter
    def marks(self, marks):
        cdef int32_t partition
        cdef int64_t latest_ms
        self.known = <Mark*>grown(self.known, len(marks) + 1, sizeof(Mark))
        self.mark_count = 0
        for partition, latest_ms in marks.items():
            self.known[self.mark_count].partition = partition
            self.known[self.mark_count].latest_ms = latest_ms
            self.mark_count += 1

    def apply(self, parts):
        rows, ends, data = parts
        cdef cnp.ndarray given = np.ascontiguousarray(rows)
        cdef const Part* row = <const Part*>cnp.PyArray_DATA(given)
        cdef const int32_t[::1] end = ends
        cdef const uint8_t[::1] bytes_ = data
        cdef Py_ssize_t i, size = len(given)
        cdef const uint8_t* first = &bytes_[0] if bytes_.shape[0] else NULL
        cdef cnp.ndarray outcomes = np.empty(size, np.uint8)
        cdef uint8_t* outcome = <uint8_t*>cnp.PyArray_DATA(outcomes)
        assert given.dtype == layout.PART and end.shape[0] == size + 1
        assert end[size] <= bytes_.shape[0], "a sketch is beyond the bytes"
        self.batch += 1
        self.changed_count = 0
        self._make_room(size, end[size] - end[0])
        for i in range(size):
            outcome[i] = self._take(&row[i], first + end[i], end[i + 1] - end[i])
        windows, quotients = self._changed()
        self.close(self.horizon_ms)
        return outcomes, windows, quotients

    def fill(self, parts):
        rows, ends, data = parts
        cdef cnp.ndarray given = np.ascontiguousarray(rows)
        cdef const Part* row = <const Part*>cnp.PyArray_DATA(given)
        cdef const int32_t[::1] end = ends
        cdef const uint8_t[::1] bytes_ = data
        cdef Py_ssize_t i, size = len(given)
        cdef const uint8_t* first = &bytes_[0] if bytes_.shape[0] else NULL
        cdef int32_t bucket
        assert given.dtype == layout.PART and end.shape[0] == size + 1
        assert end[size] <= bytes_.shape[0], "a sketch is beyond the bytes"
        self._make_room(size, end[size] - end[0])
        for i in range(size):
            if row[i].count != samples_of(
                first + end[i], first + end[i + 1], row[i].count, &bucket
            ):
                raise ValueError("a sketch of the state is not that of its part")
            self._put(&row[i], first + end[i], end[i + 1] - end[i], bucket, self._window_of(&row[i]))

    def close(self, int64_t until_ms):
        cdef int32_t at
        self.horizon_ms = max(self.horizon_ms, until_ms)
        while self.starts and self.starts[0] <= self.horizon_ms:
            at = self.newest_of.pop(heappop(self.starts))
            while at != NONE:
                if not self.held[at].gone:
                    self._unlink(at)
                at = self.held[at].mate

    cdef void _unlink(self, int32_t place) noexcept nogil:
        cdef int32_t* link = &self.windows[self.held[place].window].parts
        while link[0] != place:
            link = &self.held[link[0]].other
        link[0] = self.held[place].other
        self.held[place].gone = True

    def newest(self, Py_ssize_t size):
        assert size <= self.count, "more parts than there are"
        cdef cnp.ndarray places = np.empty(size, np.int32)
        cdef int32_t* place = <int32_t*>cnp.PyArray_DATA(places)
        cdef Py_ssize_t i, found = 0
        for i in range(self.count - size, self.count):
            if not self.held[i].gone:
                place[found] = <int32_t>i
                found += 1
        return self._listed(places[:found])

    def rows(self):
        return self.newest(self.count)

    def live(self):
        cdef Py_ssize_t i, size = 0
        for i in range(self.count):
            size += not self.held[i].gone
        return size

    cdef _listed(self, cnp.ndarray places):
        """The parts at these places."""
        cdef const int32_t* place = <const int32_t*>cnp.PyArray_DATA(places)
        cdef Py_ssize_t i, size = len(places)
        cdef int64_t total = 0
        cdef cnp.ndarray rows = np.empty(size, layout.PART)
        cdef cnp.ndarray ends = np.empty(size + 1, np.int32)
        cdef cnp.ndarray data
        cdef Part* row = <Part*>cnp.PyArray_DATA(rows)
        cdef int32_t* end = <int32_t*>cnp.PyArray_DATA(ends)
        cdef uint8_t* out
        cdef const Held* held
        end[0] = 0
        for i in range(size):
            total += self.held[place[i]].size
            if total > 0x7FFFFFFF:
                raise OverflowError("more than 2 GB of sketches in one save; shard the topic")
            end[i + 1] = <int32_t>total
        data = np.empty(total, np.uint8)
        out = <uint8_t*>cnp.PyArray_DATA(data)
        for i in range(size):
            held = &self.held[place[i]]
            row[i] = held.part
            if held.size:  # there may be no sketch yet, nor memory for one
                memcpy(out + end[i], self.sketches + held.sketch, held.size)
        return Parts(rows, ends, data)

    cdef int _make_room(self, Py_ssize_t rows, Py_ssize_t bytes_) except -1:
        if self.count + rows > self.room:
            self.room = max(256, 2 * (self.count + rows))
            self.held = <Held*>grown(self.held, self.room, sizeof(Held))
        if self.bytes_ + bytes_ > self.bytes_room:
            self.bytes_room = 2 * (self.bytes_ + bytes_)
            self.sketches = <uint8_t*>grown(self.sketches, self.bytes_room, 1)
        if rows > self.changed_room:
            self.changed_room = 2 * rows
            self.changed = <int32_t*>grown(self.changed, self.changed_room, sizeof(int32_t))
        return 0

    cdef int _mark(self, int32_t partition, int64_t latest_ms) except -1:
        """A readings partition has come so far."""
        cdef Py_ssize_t i = 0
        cdef int64_t slowest, furthest
        while i < self.mark_count and self.known[i].partition != partition:
            i += 1
        if i == self.mark_count:
            self.known = <Mark*>grown(self.known, i + 1, sizeof(Mark))
            self.known[i].partition = partition
            self.mark_count += 1
        elif latest_ms <= self.known[i].latest_ms:
            return 0
        self.known[i].latest_ms = latest_ms
        slowest = furthest = latest_ms
        for i in range(self.mark_count):
            slowest = min(slowest, self.known[i].latest_ms)
            furthest = max(furthest, self.known[i].latest_ms)
        slowest = before(max(slowest, before(furthest, MAX_LAG)), RETENTION)
        self.horizon_ms = max(self.horizon_ms, slowest)
        return 0

    cdef int _take(
        self, const Part* row, const uint8_t* bytes_, int32_t size
    ) except -1:
        cdef uint64_t place
        cdef uint32_t hashed
        cdef int32_t first = NONE, at, bucket = 0, window
        cdef int fault
        self._mark(row.partition, row.start_ms)
        if row.start_ms <= self.horizon_ms:
            return LATE
        window = self._found(row.level, row.id, row.register_, row.start_ms, &place, &hashed)
        if window != NONE:
            first = self.windows[window].parts
        at = first
        while at != NONE:
            if self.held[at].part.partition == row.partition:
                if row.revision == self.held[at].part.revision:
                    return DUPLICATE
                if row.revision < self.held[at].part.revision:
                    return SUPERSEDED
            at = self.held[at].other
        fault = self._misfit(row, first, samples_of(bytes_, bytes_ + size, row.count, &bucket))
        if fault:
            return fault
        if window == NONE:
            window = self._window_of(row)
        self._put(row, bytes_, size, bucket, window)
        if self.windows[window].changed_by != self.batch:
            self.windows[window].changed_by = self.batch
            self.changed[self.changed_count] = window
            self.changed_count += 1
        return ACCEPTED

    cdef int _misfit(self, const Part* row, int32_t first, int64_t samples) noexcept nogil:
        """Why a part whose sketch has so many samples cannot be added to the window's others."""
        cdef int32_t at = first
        cdef const Part* part
        cdef Wide[4] total
        while at != NONE:
            part = &self.held[at].part
            if part.partition != row.partition and part.unit != row.unit:
                return OTHER_UNIT
            at = self.held[at].other
        if samples != row.count:  # below 0: a faulty one, which no part can have
            return BAD_SKETCH
        if row.revision < 1:
            return UNCOUNTED
        memset(total, 0, sizeof(total))
        at = first
        while True:
            part = row if at == NONE else &self.held[at].part
            if at == NONE or part.partition != row.partition:
                widely(&total[0], part.sum)
                widely(&total[1], part.energy_mj)
                widely(&total[2], part.count)
                widely(&total[3], part.revision)
            if at == NONE:
                break
            at = self.held[at].other
        if not fits(&total[0]):
            return SUM
        if not fits(&total[1]):
            return ENERGY
        if not fits(&total[2]) or <int64_t>total[2].low > SAMPLES_MAX:
            return COUNT
        # PUE has that of two windows
        return 0 if fits(&total[3]) and <int64_t>total[3].low <= INT64_MAX // 2 else REVISION

    cdef int32_t _put(
        self, const Part* row, const uint8_t* bytes_, int32_t size, int32_t bucket, int32_t window
    ) except -1:
        """Append a part, in place of its partition's; there is room."""
        cdef int32_t* link = &self.windows[window].parts
        cdef Held* held = &self.held[self.count]
        while link[0] != NONE and self.held[link[0]].part.partition < row.partition:
            link = &self.held[link[0]].other
        held.part = row[0]
        held.sketch = self.bytes_
        held.size = size
        held.bucket = bucket
        held.window = window
        held.gone = False
        held.mate = NONE
        held.other = link[0]
        if row.start_ms in self.newest_of:
            held.mate = self.newest_of[row.start_ms]
        else:
            heappush(self.starts, row.start_ms)
        self.newest_of[row.start_ms] = self.count
        if link[0] != NONE and self.held[link[0]].part.partition == row.partition:
            self.held[link[0]].gone = True
            held.other = self.held[link[0]].other
        link[0] = <int32_t>self.count
        if size:
            memcpy(self.sketches + self.bytes_, bytes_, size)
        self.bytes_ += size
        self.count += 1
        return 0

    cdef inline int32_t _found(
        self, int32_t level, int32_t id_, int32_t register_, int64_t start_ms, uint64_t* at,
        uint32_t* hashed
    ) noexcept nogil:
        """The window, or -1; `at`: its place in the table."""
        cdef const Window* there
        hashed[0] = mixed(id_, register_, level, start_ms)
        at[0] = hashed[0] & self.table.mask
        while self.table.entries[at[0]] != 0:
            if self.table.entries[at[0]] >> 32 == hashed[0]:
                there = &self.windows[place_of(self.table.entries[at[0]])]
                if (there.start_ms == start_ms and there.id == id_ and there.level == level
                        and there.register_ == register_):
                    return place_of(self.table.entries[at[0]])
            at[0] = (at[0] + 1) & self.table.mask
        return NONE

    cdef int32_t _window_of(self, const Part* row) except -2:
        """The part's window, made if need be."""
        cdef uint64_t at
        cdef uint32_t hashed
        cdef int32_t place = self._found(
            row.level, row.id, row.register_, row.start_ms, &at, &hashed
        )
        cdef Window* window
        if place != NONE:
            return place
        if self.window_count == self.window_room:
            self.window_room = max(256, 2 * self.window_room)
            self.windows = <Window*>grown(self.windows, self.window_room, sizeof(Window))
        reserve(&self.table, self.window_count + 1)
        self._found(row.level, row.id, row.register_, row.start_ms, &at, &hashed)
        self.table.entries[at] = entry_of(hashed, self.window_count)
        window = &self.windows[self.window_count]
        window.start_ms = row.start_ms
        window.level = row.level
        window.id = row.id
        window.register_ = row.register_
        window.parts = NONE
        window.changed_by = window.quoted_by = 0
        self.window_count += 1
        return <int32_t>(self.window_count - 1)

    cdef _changed(self):
        """(rows of layout.MERGED, how many quotients they end with)."""
        cdef cnp.ndarray rows = np.empty(2 * self.changed_count, layout.MERGED)
        cdef Part* out = <Part*>cnp.PyArray_DATA(rows)
        cdef Py_ssize_t i, size = self.changed_count
        cdef int32_t place, facility, it
        cdef const Window* window
        cdef uint64_t at
        cdef uint32_t hashed
        cdef Part it_part
        for i in range(self.changed_count):
            self._together(self.changed[i], &out[i])
        for i in range(self.changed_count):
            place = self.changed[i]
            window = &self.windows[place]
            if window.register_ != self.facility and window.register_ != self.it:
                continue
            facility = self._found(
                window.level, window.id, self.facility, window.start_ms, &at, &hashed
            )
            it = self._found(window.level, window.id, self.it, window.start_ms, &at, &hashed)
            if facility == NONE or it == NONE or self.windows[facility].quoted_by == self.batch:
                continue
            if self.windows[facility].parts == NONE or self.windows[it].parts == NONE:
                continue
            self.windows[facility].quoted_by = self.batch
            self._together(facility, &out[size])
            self._together(it, &it_part)
            self._quotient(&out[size], &it_part)
            size += 1
        return rows[:size], size - self.changed_count

    cdef void _together(self, int32_t window, Part* out) noexcept nogil:
        """The sum of a window's parts; what they share is the first one's."""
        cdef int32_t at = self.windows[window].parts
        cdef const Held* held = &self.held[at]
        cdef bint sampled
        out[0] = held.part
        if out.count == 0:
            out.min = out.max = 0
        if held.other == NONE:
            out.partition = held.bucket
            return
        add(&TOGETHER, self.sketches + held.sketch, self.sketches + held.sketch + held.size)
        at = held.other
        while at != NONE:
            held = &self.held[at]
            sampled = held.part.count != 0
            if sampled and (out.count == 0 or held.part.min < out.min):
                out.min = held.part.min
            if sampled and (out.count == 0 or held.part.max > out.max):
                out.max = held.part.max
            out.revision = plus(out.revision, held.part.revision)
            out.count = plus(out.count, held.part.count)
            out.sum = plus(out.sum, held.part.sum)
            out.energy_mj = plus(out.energy_mj, held.part.energy_mj)
            add(&TOGETHER, self.sketches + held.sketch, self.sketches + held.sketch + held.size)
            at = held.other
        out.partition = cleared(&TOGETHER)

    cdef int _quotient(self, Part* out, const Part* it) except -1:
        """The row of register pue in place of that of facility energy."""
        quotient = 0
        if out.energy_mj and it.energy_mj:
            quotient = half_even(<object>out.energy_mj * PPM, it.energy_mj)
        if not 0 < quotient <= INT64_MAX:
            quotient = 0
        out.revision = <object>out.revision + <object>it.revision
        out.count = quotient > 0
        out.sum = out.min = out.max = quotient
        out.energy_mj = 0
        out.register_ = self.pue
        out.unit = self.ppm
        out.partition = 0
        return 0
