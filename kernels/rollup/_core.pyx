# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The compiled twin of reference.Ledger: same rows in, same windows out, same order.

    held      [reading 0][reading 1]...     in order of acceptance
    instants  table: (meter, register, end) -> newest reading of the instant
    windows   sums, extremes and sketches
    index     table: (level, place, register, start) -> window
    cells     table: (site, rack, hub, register, start, levels) -> the windows of such a reading

Most rows are the first of their instant, in a cell that is known: one look into `instants`, asked
of memory ahead for the whole batch, and one into `cells`. All others take the longer way.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memset

import numpy as np

cimport numpy as cnp

from kernels.rollup._layout cimport Cell, Held, Row, Sample, Window
from kernels.rollup._sketch cimport bucket_p95, sketch_bytes_max, sketch_into
from kernels.rollup._tables cimport (
    entry_of,
    grown,
    mixed,
    place_of,
    power_of_two,
    prefetch,
    widened,
)
from kernels.rollup._window cimport add, empty_row, held_of, remove, sample_of

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
    cdef Held* held
    cdef Window* windows
    cdef Cell* cells
    cdef uint64_t* instants
    cdef uint64_t* index
    cdef uint64_t* cell_index
    cdef uint64_t instant_mask, index_mask, cell_mask
    cdef Py_ssize_t count, room, window_count, window_room, cell_count, cell_room
    cdef uint32_t* hashes  # of the batch's instants
    cdef int32_t* changed  # windows that the batch touched, in that order
    cdef Py_ssize_t hash_room, changed_count
    cdef int32_t batch
    cdef bint narrowed

    def __dealloc__(self):
        cdef Py_ssize_t i
        for i in range(self.window_count):
            free(self.windows[i].sketch.listed)
            free(self.windows[i].sketch.counts)
        free(self.held)
        free(self.windows)
        free(self.cells)
        free(self.instants)
        free(self.index)
        free(self.cell_index)
        free(self.hashes)
        free(self.changed)

    def __init__(self, rows, names, open_ms, watermark_ms=layout.NEVER_MS):
        cdef Py_ssize_t i
        cdef cnp.ndarray array = np.ascontiguousarray(rows)
        cdef Sample* given = <Sample*>cnp.PyArray_DATA(array)
        self.names = names
        self.open_ms = open_ms
        self.watermark_ms = watermark_ms
        self.batch = 1  # a new window's is 0: touched by none
        self._reserve(len(array))
        self._reserve_windows()
        self._reserve_cells()
        self._hash(given, len(array))
        for i in range(len(array)):
            self._restore(&given[i], self.hashes[i])
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
        self.changed_count = 0
        self._reserve(self.count + size)
        self._hash(given, size)
        for i in range(size):
            outcome[i] = self._take(&given[i], self.hashes[i], receipts[i])
        self._widen()
        return outcomes, self._rows(), self._sketches()

    def live(self):
        """How many `rows` there are."""
        cdef Py_ssize_t i, size = 0
        for i in range(self.count):
            size += self._is_live(i)
        return size

    def rows(self):
        """The readings that a row of an open window may still repeat or revise."""
        cdef cnp.ndarray live = np.empty(self.live(), layout.SAMPLE)
        cdef Sample* out = <Sample*>cnp.PyArray_DATA(live)
        cdef Py_ssize_t i, size = 0
        for i in range(self.count):
            if self._is_live(i):
                out[size] = sample_of(&self.held[i], &self.cells[self.held[i].cell])
                size += 1
        return live

    cdef int _reserve(self, Py_ssize_t count) except -1:
        """Room for `count` readings, and a table at most two thirds full."""
        cdef size_t least = count + count // 2
        if count > self.room:
            self.room = max(1024, 2 * count)
            self.held = <Held*>grown(self.held, self.room, sizeof(Held))
        if self.instants == NULL or least > self.instant_mask:
            self.instants = widened(self.instants, &self.instant_mask, power_of_two(least))
        return 0

    cdef int _reserve_windows(self) except -1:
        """Room for one more window and a table at most half full."""
        if self.window_count < self.window_room:
            return 0
        self.window_room = max(1024, 2 * self.window_room)
        self.windows = <Window*>grown(self.windows, self.window_room, sizeof(Window))
        self.changed = <int32_t*>grown(self.changed, self.window_room, sizeof(int32_t))
        self.index = widened(self.index, &self.index_mask, power_of_two(2 * self.window_room))
        return 0

    cdef int _reserve_cells(self) except -1:
        """Room for one more cell and a table at most half full."""
        if self.cell_count < self.cell_room:
            return 0
        self.cell_room = max(1024, 2 * self.cell_room)
        self.cells = <Cell*>grown(self.cells, self.cell_room, sizeof(Cell))
        self.cell_index = widened(
            self.cell_index, &self.cell_mask, power_of_two(2 * self.cell_room)
        )
        return 0

    cdef int _hash(self, const Sample* given, Py_ssize_t size) except -1:
        """Hash the instants of a batch, and ask memory for their entries."""
        cdef Py_ssize_t i
        if size > self.hash_room:
            self.hashes = <uint32_t*>grown(self.hashes, size, sizeof(uint32_t))
            self.hash_room = size
        for i in range(size):
            self.hashes[i] = mixed(given[i].meter, given[i].register_, 0, given[i].end_ms)
            prefetch(&self.instants[self.hashes[i] & self.instant_mask])
        return 0

    cdef inline bint _is_live(self, Py_ssize_t i) noexcept nogil:
        return self.held[i].end_ms > self.watermark_ms - self.open_ms

    cdef inline bint _is_closed(self, int64_t window_ms) noexcept nogil:
        return window_ms <= self.watermark_ms - self.open_ms

    cdef inline uint64_t _find(self, const Sample* row, uint32_t hashed) noexcept nogil:
        """The table's place of the reading's instant: where it is, or where it would go."""
        cdef uint64_t at = hashed & self.instant_mask
        cdef const Held* there
        while self.instants[at] != 0:
            if self.instants[at] >> 32 == hashed:
                there = &self.held[place_of(self.instants[at])]
                if (there.end_ms == row.end_ms and there.meter == row.meter
                        and self.cells[there.cell].register_ == row.register_):
                    break
            at = (at + 1) & self.instant_mask
        return at

    cdef inline uint64_t _find_window(self, const Row* row, uint32_t* hashed) noexcept nogil:
        """The index's place of a window: racks by site and rack, sites by site, hubs by hub."""
        cdef int32_t place = row.site if row.level <= SITE else row.hub
        cdef int32_t within = row.rack if row.level == RACK else NONE
        cdef int32_t third = (within << 2) ^ row.level
        cdef uint64_t at
        cdef const Row* there
        hashed[0] = mixed(place, row.register_, third, row.start_ms)
        at = hashed[0] & self.index_mask
        while self.index[at] != 0:
            if self.index[at] >> 32 == hashed[0]:
                there = &self.windows[place_of(self.index[at])].row
                if (there.start_ms == row.start_ms and there.level == row.level
                        and there.register_ == row.register_
                        and (there.site if row.level <= SITE else there.hub) == place
                        and (row.level != RACK or there.rack == within)):
                    break
            at = (at + 1) & self.index_mask
        return at

    cdef inline uint64_t _find_cell(self, const Sample* row, uint32_t* hashed) noexcept nogil:
        """The table's place of the reading's cell: where it is, or where it would go."""
        cdef int32_t within = row.rack ^ (row.hub << 16) ^ (row.levels << 28)
        cdef uint64_t at
        cdef const Cell* there
        hashed[0] = mixed(row.site, row.register_, within, row.window_ms)
        at = hashed[0] & self.cell_mask
        while self.cell_index[at] != 0:
            if self.cell_index[at] >> 32 == hashed[0]:
                there = &self.cells[place_of(self.cell_index[at])]
                if (there.window_ms == row.window_ms and there.rack == row.rack
                        and there.site == row.site and there.hub == row.hub
                        and there.register_ == row.register_ and there.levels == row.levels):
                    break
            at = (at + 1) & self.cell_mask
        return at

    cdef int _take(self, const Sample* row, uint32_t hashed, int64_t received_ms) except -1:
        cdef uint64_t at
        cdef int32_t head, other, mate, cell
        cdef uint32_t cell_hash
        cdef const Held* known
        cdef bint decides
        cdef int fault
        if received_ms > self.watermark_ms:
            self.watermark_ms = received_ms
        if row.fault:
            return row.fault
        if self._is_closed(row.window_ms):
            return LATE
        at = self._find(row, hashed)
        head = place_of(self.instants[at])
        if head == NONE:
            cell = place_of(self.cell_index[self._find_cell(row, &cell_hash)])
            if cell != NONE:
                return self._take_first(row, hashed, at, cell)
        other = head
        while other != NONE:
            known = &self.held[other]
            if (known.source == row.source and known.revision == row.revision
                    and known.start_ms == row.start_ms):
                return DUPLICATE
            other = known.link
        mate = self._mate(row.kind, row.start_ms, head)
        decides = mate == NONE or self._better(row, self._winner(mate))
        fault = self._misfit(row, mate, decides)
        if fault:
            return fault
        self._put(row, hashed, mate, decides)
        return ACCEPTED if decides else SUPERSEDED

    cdef inline int _take_first(
        self, const Sample* row, uint32_t hashed, uint64_t at, int32_t cell
    ) except -1:
        """The first reading of its instant, whose entry goes to `at`, into windows that are there."""
        cdef int32_t new = <int32_t>self.count
        cdef int32_t level, place
        cdef const int32_t* places = self.cells[cell].places
        cdef Row* total
        for level in range(LEVELS):
            place = places[level]
            if place == NONE:
                continue
            total = &self.windows[place].row
            if total.unit != row.unit:
                return OTHER_UNIT
            if (total.sum > INT64_MAX - row.sample
                    or total.energy_mj > INT64_MAX - row.energy_mj):
                return OVERFLOW
        self.held[new] = held_of(row, cell, NONE, True)
        self.instants[at] = entry_of(hashed, new)
        self.count += 1
        for level in range(LEVELS):
            place = places[level]
            if place != NONE:
                self._touch(place, 1)
                add(&self.windows[place], &self.held[new])
        return ACCEPTED

    cdef int _restore(self, const Sample* row, uint32_t hashed) except -1:
        """A reading that was accepted before, as it was."""
        cdef uint64_t at = self._find(row, hashed)
        cdef int32_t head = place_of(self.instants[at]), cell, mate
        cdef uint32_t cell_hash
        if head == NONE:
            cell = place_of(self.cell_index[self._find_cell(row, &cell_hash)])
            if cell != NONE and self._take_first(row, hashed, at, cell) == ACCEPTED:
                return 0
        mate = self._mate(row.kind, row.start_ms, head)
        self._put(row, hashed, mate, mate == NONE or self._better(row, self._winner(mate)))
        return 0

    cdef inline int32_t _mate(self, uint8_t kind, int64_t start_ms, int32_t at) noexcept nogil:
        """The newest reading of the slot, from `at` on; NONE for a new slot."""
        while at != NONE and (self.held[at].kind != kind
                              or self.held[at].start_ms != start_ms):
            at = self.held[at].link
        return at

    cdef Held* _winner(self, int32_t mate) noexcept nogil:
        """The reading of the slot that is sampled."""
        cdef int32_t at = mate
        while not self.held[at].sampled:
            at = self._mate(self.held[mate].kind, self.held[mate].start_ms, self.held[at].link)
        return &self.held[at]

    cdef bint _better(self, const Sample* one, const Held* other) except -1:
        if one.revision != other.revision:
            return one.revision > other.revision
        return self.names[one.source] < self.names[other.source]

    cdef int _misfit(self, const Sample* row, int32_t mate, bint decides) except -1:
        """Why the sample cannot be added to its windows; 0 if it can."""
        cdef int32_t level, place, k
        cdef int64_t total, total_mj
        cdef uint32_t hashed
        cdef Row key
        cdef const Held* winner = NULL
        cdef const Row* window
        if mate != NONE:
            winner = self._winner(mate)
        for level in range(LEVELS):
            if not row.levels >> level & 1:
                continue
            key = empty_row(row, level)
            place = place_of(self.index[self._find_window(&key, &hashed)])
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
                    if self.cells[winner.cell].places[k] == place:
                        total -= winner.sample
                        total_mj -= winner.energy_mj
            if total > INT64_MAX - row.sample or total_mj > INT64_MAX - row.energy_mj:
                return OVERFLOW
        return 0

    cdef int _put(self, const Sample* row, uint32_t hashed, int32_t mate, bint decides) except -1:
        """Add the reading to its slot (of which `mate` is the newest) and its windows."""
        cdef int32_t new = <int32_t>self.count, cell = self._cell_of(row)
        cdef int32_t level, place
        cdef const int32_t* places = self.cells[cell].places
        cdef Held* winner = self._winner(mate) if mate != NONE else NULL
        cdef uint64_t at = self._find(row, hashed)
        self.held[new] = held_of(row, cell, place_of(self.instants[at]), decides)
        self.instants[at] = entry_of(hashed, new)
        self.count += 1
        if mate == NONE:
            for level in range(LEVELS):
                if places[level] != NONE:
                    self._touch(places[level], 1)
        else:
            self._touch_slot(new, mate)
        if not decides:
            return 0
        if winner != NULL:
            winner.sampled = False
            for level in range(LEVELS):
                place = self.cells[winner.cell].places[level]
                if place != NONE and remove(&self.windows[place], winner):
                    self.narrowed = True
        for level in range(LEVELS):
            if places[level] != NONE:
                add(&self.windows[places[level]], &self.held[new])
        return 0

    cdef int _touch_slot(self, int32_t new, int32_t mate) except -1:
        """One revision more for each window of the slot's readings; all of them for a new one."""
        cdef int32_t at = mate, level, place
        readings = []
        while at != NONE:
            readings.append(at)
            at = self._mate(self.held[new].kind, self.held[new].start_ms, self.held[at].link)
        touched = {}
        for reading in reversed(readings):
            for level in range(LEVELS):
                place = self.cells[self.held[<Py_ssize_t>reading].cell].places[level]
                if place != NONE:
                    touched[place] = 1
        for level in range(LEVELS):
            place = self.cells[self.held[new].cell].places[level]
            if place != NONE and place not in touched:
                touched[place] = len(readings) + 1
        for window, readings_more in touched.items():
            self._touch(window, readings_more)
        return 0

    cdef int32_t _cell_of(self, const Sample* row) except -2:
        """The cell that the reading is in, made with its windows if need be."""
        cdef uint32_t hashed
        cdef uint64_t at
        cdef Cell* cell
        cdef int32_t level
        self._reserve_cells()
        at = self._find_cell(row, &hashed)
        if self.cell_index[at] == 0:
            cell = &self.cells[self.cell_count]
            cell.window_ms = row.window_ms
            cell.site = row.site
            cell.rack = row.rack
            cell.hub = row.hub
            cell.register_ = row.register_
            cell.levels = row.levels
            for level in range(LEVELS):
                cell.places[level] = (
                    self._window_of(row, level) if row.levels >> level & 1 else NONE
                )
            self.cell_index[at] = entry_of(hashed, <int32_t>self.cell_count)
            self.cell_count += 1
        return place_of(self.cell_index[at])

    cdef int32_t _window_of(self, const Sample* row, uint8_t level) except -2:
        """The window of the level that the reading is in, made if need be."""
        cdef Row key = empty_row(row, level)
        cdef uint32_t hashed
        cdef uint64_t at
        cdef Window* window
        self._reserve_windows()
        at = self._find_window(&key, &hashed)
        if self.index[at] == 0:
            window = &self.windows[self.window_count]
            memset(window, 0, sizeof(Window))
            window.row = key
            self.index[at] = entry_of(hashed, <int32_t>self.window_count)
            self.window_count += 1
        return place_of(self.index[at])

    cdef inline void _touch(self, int32_t place, int64_t readings) noexcept nogil:
        self.windows[place].row.revision += readings
        if self.windows[place].touched_by != self.batch:
            self.windows[place].touched_by = self.batch
            self.changed[self.changed_count] = place
            self.changed_count += 1

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
            if not self.held[i].sampled:
                continue
            sample = self.held[i].sample
            for level in range(LEVELS):
                place = self.cells[self.held[i].cell].places[level]
                if place != NONE and self.windows[place].narrowed:
                    window = &self.windows[place]
                    window.row.min = min(window.row.min, sample)
                    window.row.max = max(window.row.max, sample)
        for i in range(self.window_count):
            self.windows[i].narrowed = False
        return 0

    cdef _rows(self):
        """The changed windows, in the order in which the batch touched them."""
        cdef cnp.ndarray rows = np.empty(self.changed_count, layout.WINDOW)
        cdef Row* out = <Row*>cnp.PyArray_DATA(rows)
        cdef Py_ssize_t i
        cdef const Window* window
        for i in range(self.changed_count):
            window = &self.windows[self.changed[i]]
            out[i] = window.row
            out[i].p95_bucket = bucket_p95(&window.sketch, window.row.count)
        return rows

    cdef _sketches(self):
        """(ends, data): sketch.encode of each changed window, of racks nothing."""
        cdef cnp.ndarray ends = np.zeros(self.changed_count + 1, np.int32)
        cdef int32_t* end = <int32_t*>cnp.PyArray_DATA(ends)
        cdef Py_ssize_t i, most = 0
        cdef const Window* window
        cdef cnp.ndarray data
        cdef uint8_t* first
        cdef uint8_t* out
        for i in range(self.changed_count):
            window = &self.windows[self.changed[i]]
            if window.row.level != RACK:
                most += sketch_bytes_max(&window.sketch)
        if most > 0x7FFFFFFF:
            raise OverflowError("more than 2 GB of sketches in one batch")
        data = np.empty(most, np.uint8)
        first = out = <uint8_t*>cnp.PyArray_DATA(data)
        for i in range(self.changed_count):
            window = &self.windows[self.changed[i]]
            if window.row.level != RACK:
                out = sketch_into(out, &window.sketch)
            end[i + 1] = <int32_t>(out - first)
        return ends, data[: out - first]
