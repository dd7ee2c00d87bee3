# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The compiled twin of reference.Ledger: same rows in, same windows out, same order.

    samples   [Sample 0][Sample 1]...       in order of acceptance
    places    3 windows of each sample (rack, site, hub); -1 where it is in none
    link      next older reading of the same instant (meter, register, end); -1 ends the chain
    instants  open addressing: hash(meter, register, end) -> newest reading of the instant, + 1
    windows   sums, extremes, and the sketch as a sorted list of (bucket, count)
    index     open addressing: hash(level, place, register, start) -> window, + 1
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t
from libc.stdlib cimport free

import numpy as np

cimport numpy as cnp

from kernels.rollup._layout cimport Row, Sample, Window
from kernels.rollup._tables cimport emptied, grown, mixed
from kernels.rollup._window cimport add, bucket_p95, empty_row, remove, varint

from kernels.rollup import layout

cnp.import_array()

cdef enum:
    ACCEPTED = 0
    DUPLICATE = 1
    SUPERSEDED = 2
    LATE = 3
    OTHER_UNIT = 4
    OVERFLOW = 5
    NONE = -1
    LEVELS = 3
    RACK = 0
    SITE = 1

cdef int64_t INT64_MAX = 0x7FFFFFFFFFFFFFFF

assert sizeof(Sample) == layout.SAMPLE.itemsize, "Sample is not layout.SAMPLE"
assert sizeof(Row) == layout.WINDOW.itemsize, "Row is not layout.WINDOW"


cdef class Ledger:
    cdef public int64_t open_ms
    cdef public int64_t watermark_ms
    cdef readonly object names
    cdef Sample* samples
    cdef int32_t* places
    cdef int32_t* link
    cdef int32_t* instants
    cdef Window* windows
    cdef int32_t* index
    cdef uint64_t instant_mask, index_mask
    cdef Py_ssize_t count, room, window_count, window_room
    cdef list changed
    cdef int32_t batch
    cdef bint narrowed

    def __dealloc__(self):
        cdef Py_ssize_t i
        for i in range(self.window_count):
            free(self.windows[i].buckets)
        free(self.samples)
        free(self.places)
        free(self.link)
        free(self.instants)
        free(self.windows)
        free(self.index)

    def __init__(self, rows, names, open_ms, watermark_ms=layout.NEVER_MS):
        cdef Py_ssize_t i
        cdef cnp.ndarray array = np.ascontiguousarray(rows)
        cdef Sample* given = <Sample*>cnp.PyArray_DATA(array)
        cdef int32_t mate
        self.names = names
        self.open_ms = open_ms
        self.watermark_ms = watermark_ms
        self.changed = []
        self._reserve(len(array))
        for i in range(len(array)):
            mate = self._mate(&given[i], self._head(&given[i]))
            self._put(&given[i], mate, mate == NONE or self._better(&given[i], self._winner(mate)))
        self._widen()

    def __len__(self):
        return self.count

    def apply(self, rows, received_ms):
        cdef cnp.ndarray array = np.ascontiguousarray(rows)
        cdef cnp.ndarray received = np.ascontiguousarray(received_ms)
        cdef Sample* given = <Sample*>cnp.PyArray_DATA(array)
        cdef int64_t* receipts = <int64_t*>cnp.PyArray_DATA(received)
        cdef Py_ssize_t i, size = len(array)
        cdef cnp.ndarray outcomes = np.zeros(size, np.uint8)
        cdef uint8_t* outcome = <uint8_t*>cnp.PyArray_DATA(outcomes)
        self.batch += 1
        self.changed = []
        self._reserve(self.count + size)
        for i in range(size):
            outcome[i] = self._take(&given[i], receipts[i])
        self._widen()
        return outcomes, self._rows(), [self._sketch(place) for place in self.changed]

    def rows(self):
        """The readings that a row of an open window may still repeat or revise."""
        cdef cnp.ndarray live = np.empty(self.count, layout.SAMPLE)
        cdef Sample* out = <Sample*>cnp.PyArray_DATA(live)
        cdef Py_ssize_t i, size = 0
        for i in range(self.count):
            if self.samples[i].end_ms > self.watermark_ms - self.open_ms:
                out[size] = self.samples[i]
                out[size].fault = 0
                size += 1
        return live[:size].copy()

    cdef int _reserve(self, Py_ssize_t count) except -1:
        """Room for `count` readings and a table at most half full."""
        cdef Py_ssize_t i, size = 2048
        if count <= self.room:
            return 0
        self.room = max(1024, 2 * count)
        self.samples = <Sample*>grown(self.samples, self.room, sizeof(Sample))
        self.places = <int32_t*>grown(self.places, LEVELS * self.room, sizeof(int32_t))
        self.link = <int32_t*>grown(self.link, self.room, sizeof(int32_t))
        while size < 2 * self.room:
            size *= 2
        self.instants = emptied(self.instants, size)
        self.instant_mask = size - 1
        for i in range(self.count):  # ascending: the newest of an instant ends up as its head
            self.instants[self._find(&self.samples[i])] = <int32_t>(i + 1)
        return 0

    cdef int _reserve_windows(self) except -1:
        """Room for one more window and a table at most half full."""
        cdef Py_ssize_t i, size = 2048
        if self.window_count < self.window_room:
            return 0
        self.window_room = max(1024, 2 * self.window_room)
        self.windows = <Window*>grown(self.windows, self.window_room, sizeof(Window))
        while size < 2 * self.window_room:
            size *= 2
        self.index = emptied(self.index, size)
        self.index_mask = size - 1
        for i in range(self.window_count):
            self.index[self._find_window(&self.windows[i].row)] = <int32_t>(i + 1)
        return 0

    cdef inline bint _is_closed(self, int64_t window_ms) noexcept nogil:
        return window_ms <= self.watermark_ms - self.open_ms

    cdef inline uint64_t _find(self, const Sample* row) noexcept nogil:
        """The table's place of the reading's instant: where it is, or where it would go."""
        cdef uint64_t at = mixed(row.meter, row.register_, 0, row.end_ms) & self.instant_mask
        cdef const Sample* there
        while self.instants[at] != 0:
            there = &self.samples[self.instants[at] - 1]
            if (there.end_ms == row.end_ms and there.meter == row.meter
                    and there.register_ == row.register_):
                break
            at = (at + 1) & self.instant_mask
        return at

    cdef inline int32_t _head(self, const Sample* row) noexcept nogil:
        return self.instants[self._find(row)] - 1

    cdef inline uint64_t _find_window(self, const Row* row) noexcept nogil:
        """The index's place of a window: racks by site and rack, sites by site, hubs by hub."""
        cdef int32_t place = row.site if row.level <= SITE else row.hub
        cdef int32_t within = row.rack if row.level == RACK else NONE
        cdef int32_t third = (within << 2) ^ row.level
        cdef uint64_t at = mixed(place, row.register_, third, row.start_ms) & self.index_mask
        cdef const Row* there
        while self.index[at] != 0:
            there = &self.windows[self.index[at] - 1].row
            if (there.start_ms == row.start_ms and there.level == row.level
                    and there.register_ == row.register_
                    and (there.site if row.level <= SITE else there.hub) == place
                    and (row.level != RACK or there.rack == within)):
                break
            at = (at + 1) & self.index_mask
        return at

    cdef int _take(self, const Sample* row, int64_t received_ms) except -1:
        cdef int32_t head, at, mate
        cdef const Sample* known
        cdef bint decides
        cdef int fault
        if received_ms > self.watermark_ms:
            self.watermark_ms = received_ms
        if row.fault:
            return row.fault
        if self._is_closed(row.window_ms):
            return LATE
        head = at = self._head(row)
        while at != NONE:
            known = &self.samples[at]
            if (known.source == row.source and known.revision == row.revision
                    and known.start_ms == row.start_ms):
                return DUPLICATE
            at = self.link[at]
        mate = self._mate(row, head)
        decides = mate == NONE or self._better(row, self._winner(mate))
        fault = self._misfit(row, mate, decides)
        if fault:
            return fault
        self._put(row, mate, decides)
        return ACCEPTED if decides else SUPERSEDED

    cdef inline int32_t _mate(self, const Sample* row, int32_t at) noexcept nogil:
        """The newest reading of the row's slot, from `at` on; NONE for a new slot."""
        while at != NONE and (self.samples[at].kind != row.kind
                              or self.samples[at].start_ms != row.start_ms):
            at = self.link[at]
        return at

    cdef Sample* _winner(self, int32_t mate) noexcept nogil:
        """The reading of the slot that is sampled."""
        cdef int32_t at = mate
        while not self.samples[at].fault:
            at = self._mate(&self.samples[mate], self.link[at])
        return &self.samples[at]

    cdef bint _better(self, const Sample* one, const Sample* other) except -1:
        if one.revision != other.revision:
            return one.revision > other.revision
        return self.names[one.source] < self.names[other.source]

    cdef int _misfit(self, const Sample* row, int32_t mate, bint decides) except -1:
        """Why the sample cannot be added to its windows; 0 if it can."""
        cdef int32_t level, place, k
        cdef int64_t total, total_mj
        cdef Row key
        cdef const Sample* winner = NULL
        cdef const Row* window
        if mate != NONE:
            winner = self._winner(mate)
        for level in range(LEVELS):
            if not row.levels >> level & 1 or self.window_count == 0:
                continue
            key = empty_row(row, level)
            place = self.index[self._find_window(&key)] - 1
            if place == NONE:
                continue
            window = &self.windows[place].row
            if window.unit != row.unit:
                return OTHER_UNIT
            if not decides:
                continue
            total = window.sum
            total_mj = window.energy_mj
            if winner != NULL:
                for k in range(LEVELS):
                    if self.places[LEVELS * (winner - self.samples) + k] == place:
                        total -= winner.sample
                        total_mj -= winner.energy_mj
            if total > INT64_MAX - row.sample or total_mj > INT64_MAX - row.energy_mj:
                return OVERFLOW
        return 0

    cdef int _put(self, const Sample* row, int32_t mate, bint decides) except -1:
        """Add the reading to its slot (of which `mate` is the newest) and its windows."""
        cdef int32_t new = <int32_t>self.count
        cdef int32_t level, place
        cdef Sample* winner = self._winner(mate) if mate != NONE else NULL
        cdef uint64_t at = self._find(row)
        self.samples[new] = row[0]
        self.samples[new].fault = decides
        self.link[new] = self.instants[at] - 1
        self.instants[at] = new + 1
        self.count += 1
        for level in range(LEVELS):
            place = NONE
            if row.levels >> level & 1:
                place = self._window_of(row, level)
            self.places[LEVELS * new + level] = place
        if mate == NONE:
            for level in range(LEVELS):
                place = self.places[LEVELS * new + level]
                if place != NONE:
                    self._touch(place, 1)
        else:
            self._touch_slot(new, mate)
        if decides:
            if winner != NULL:
                winner.fault = 0
                for level in range(LEVELS):
                    place = self.places[LEVELS * (winner - self.samples) + level]
                    if place != NONE:
                        if remove(&self.windows[place], winner):
                            self.narrowed = True
            for level in range(LEVELS):
                place = self.places[LEVELS * new + level]
                if place != NONE:
                    add(&self.windows[place], row)
        return 0

    cdef int _touch_slot(self, int32_t new, int32_t mate) except -1:
        """One revision more for each window of the slot's readings; all of them for a new one."""
        cdef int32_t at = mate, level, place
        readings = []
        while at != NONE:
            readings.append(at)
            at = self._mate(&self.samples[new], self.link[at])
        touched = {}
        for reading in reversed(readings):
            for level in range(LEVELS):
                place = self.places[LEVELS * <Py_ssize_t>reading + level]
                if place != NONE:
                    touched[place] = 1
        for level in range(LEVELS):
            place = self.places[LEVELS * new + level]
            if place != NONE and place not in touched:
                touched[place] = len(readings) + 1
        for window, readings_more in touched.items():
            self._touch(window, readings_more)
        return 0

    cdef int32_t _window_of(self, const Sample* row, uint8_t level) except -2:
        """The window of the level that the reading is in, made if need be."""
        cdef Row key = empty_row(row, level)
        cdef uint64_t at
        cdef Window* window
        self._reserve_windows()
        at = self._find_window(&key)
        if self.index[at] == 0:
            window = &self.windows[self.window_count]
            window.row = key
            window.buckets = NULL
            window.used = window.room = window.touched_by = 0
            window.narrowed = False
            self.window_count += 1
            self.index[at] = <int32_t>self.window_count
        return self.index[at] - 1

    cdef int _touch(self, int32_t place, int64_t readings) except -1:
        self.windows[place].row.revision += readings
        if self.windows[place].touched_by != self.batch:
            self.windows[place].touched_by = self.batch
            self.changed.append(place)
        return 0

    cdef int _widen(self) except -1:
        """Smallest and largest of the windows that lost one of them, from all their samples."""
        cdef Py_ssize_t i
        cdef int32_t level, place
        cdef Window* window
        cdef int64_t sample
        if not self.narrowed:
            return 0
        self.narrowed = False
        for i in range(self.window_count):
            if self.windows[i].narrowed:
                self.windows[i].row.min = INT64_MAX if self.windows[i].row.count else 0
                self.windows[i].row.max = 0
        for i in range(self.count):
            if not self.samples[i].fault:
                continue
            sample = self.samples[i].sample
            for level in range(LEVELS):
                place = self.places[LEVELS * i + level]
                if place != NONE and self.windows[place].narrowed:
                    window = &self.windows[place]
                    window.row.min = min(window.row.min, sample)
                    window.row.max = max(window.row.max, sample)
        for i in range(self.window_count):
            self.windows[i].narrowed = False
        return 0

    cdef _rows(self):
        """The changed windows, in the order in which the batch touched them."""
        cdef cnp.ndarray rows = np.empty(len(self.changed), layout.WINDOW)
        cdef Row* out = <Row*>cnp.PyArray_DATA(rows)
        cdef Py_ssize_t i
        cdef int32_t place
        for i in range(len(self.changed)):
            place = self.changed[i]
            out[i] = self.windows[place].row
            out[i].p95_bucket = bucket_p95(&self.windows[place])
        return rows

    cdef bytes _sketch(self, int32_t place):
        """sketch.encode of a site's or hub's window."""
        cdef Window* window = &self.windows[place]
        cdef bytearray out = bytearray()
        cdef int32_t i, before = 0
        if window.row.level == RACK:
            return b""
        for i in range(window.used):
            varint(out, window.buckets[i].bucket - before)
            varint(out, window.buckets[i].count)
            before = window.buckets[i].bucket
        return bytes(out)
