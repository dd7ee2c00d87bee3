# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The compiled twin of reference.Ledger: same rows in, same windows out, same order.

    readings  in order of acceptance, by series and by instant (_readings.pxd)
    places    their cells and windows                          (_places.pxd)

Most rows are later than all of their series, in the cell of the one before or in a new one: what
they add gathers in the cell until the batch is over. All others take the longer way.
"""

cimport cython
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memset

import numpy as np

cimport numpy as cnp

from kernels.rollup._bucket cimport bucket_of
from kernels.rollup._compact cimport drop_until
from kernels.rollup._layout cimport (
    ACCEPTED,
    DUPLICATE,
    KIND,
    LATE,
    LENGTH,
    LEVELS,
    NONE,
    OTHER_UNIT,
    SAMPLED,
    SUPERSEDED,
    Apart,
    Cell,
    Held,
    Row,
    Sample,
    Saved,
    Series,
    Window,
)
from kernels.rollup._places cimport (
    TOLD,
    Places,
    add_first,
    begin,
    gather,
    is_in,
    known_windows,
    made_cell,
    misfit,
    released,
    tell_all,
    touch,
    track_of,
)
from kernels.rollup._readings cimport (
    Readings,
    apart_of,
    enter_all,
    freed,
    hold,
    instant_of,
    kind_of,
    make_room,
    mate_of,
    series_of,
    winner_of,
)
from kernels.rollup._tables cimport entry_of, place_of, reserve
from kernels.rollup._window cimport (
    add_one,
    remove,
    row_into,
    saved_into,
    sketch_bytes_max,
    sketch_into,
    widen,
)

from kernels.rollup import layout, sketch
from schemas.telemetry import KINDS

cnp.import_array()

cdef int64_t INT64_MAX = 0x7FFFFFFFFFFFFFFF

cdef uint8_t MJ = layout.UNITS.index("mJ")

cdef const int64_t[::1] BOUNDS = sketch.BOUNDS
cdef const int16_t[::1] GUESS = sketch.GUESS

assert sizeof(Sample) == layout.SAMPLE.itemsize, "Sample is not layout.SAMPLE"
assert sizeof(Saved) == layout.SAVED.itemsize, "Saved is not layout.SAVED"
assert sizeof(Row) == layout.WINDOW.itemsize, "Row is not layout.WINDOW"
assert sizeof(Window) == sizeof(Cell) == 2 * sizeof(Held) == 64, "a line of the cache is 64 bytes"
assert len(KINDS) <= 1 << (LENGTH - KIND), "a kind is too many"


@cython.final
cdef class Ledger:
    def __cinit__(self):
        memset(&self.readings, 0, sizeof(Readings))
        self.readings.first_end_ms = INT64_MAX
        self.readings.bounds = &BOUNDS[0]
        self.readings.guess = &GUESS[0]
        memset(&self.places, 0, sizeof(Places))

    def __dealloc__(self):
        freed(&self.readings)
        released(&self.places)

    def __init__(self, rows, names, open_ms, watermark_ms=layout.NEVER_MS):
        cdef Py_ssize_t i
        cdef cnp.ndarray array = np.ascontiguousarray(rows)
        cdef const Sample* given = <const Sample*>cnp.PyArray_DATA(array)
        self.names = names
        self.open_ms = open_ms
        self.watermark_ms = watermark_ms
        self.narrowed = []
        reserve(&self.places.by_window, 1)
        self._begin(len(array))
        for i in range(len(array)):
            if not 0 <= given[i].meter < self.readings.meters:
                raise IndexError(f"a row names text {given[i].meter} of {len(names)}")
            if self._put(&given[i]) not in (ACCEPTED, SUPERSEDED):
                raise ValueError("a reading of the state does not fit those before it")
        self._end()

    def __len__(self):
        return self.readings.count

    def apply(self, rows, received_ms):
        cdef cnp.ndarray array = np.ascontiguousarray(rows)
        cdef cnp.ndarray received = np.ascontiguousarray(received_ms)
        cdef const Sample* given = <const Sample*>cnp.PyArray_DATA(array)
        cdef const int64_t* receipts = <const int64_t*>cnp.PyArray_DATA(received)
        cdef Py_ssize_t i, size = len(array)
        cdef cnp.ndarray outcomes = np.empty(size, np.uint8)
        cdef uint8_t* outcome = <uint8_t*>cnp.PyArray_DATA(outcomes)
        self._begin(size)
        for i in range(size):
            if receipts[i] > self.watermark_ms:
                self.watermark_ms = receipts[i]
            if given[i].fault:
                outcome[i] = given[i].fault
            elif given[i].window_ms <= self.watermark_ms - self.open_ms:
                outcome[i] = LATE
            else:
                outcome[i] = self._put(&given[i])
        self._end()
        return outcomes, self._rows(), self._sketches()

    def live(self):
        """How many there are that a row of an open window may still repeat or revise."""
        cdef Py_ssize_t i, size = 0
        if self.readings.first_end_ms > self.watermark_ms - self.open_ms:
            return self.readings.count
        for i in range(self.readings.count):
            size += self._is_live(i)
        return size

    def piece(self, Py_ssize_t at, out):
        """Write the next live readings; (how many, where those after them begin)."""
        cdef cnp.ndarray given = out
        cdef Saved* row = <Saved*>cnp.PyArray_DATA(given)
        cdef Py_ssize_t found = 0, room = len(given)
        assert given.dtype == layout.SAVED and given.flags.c_contiguous
        while at < self.readings.count:
            if self._is_live(at):
                if found == room:
                    break
                self._save(&row[found], at)
                found += 1
            at += 1
        return found, at

    def compact(self):
        """Drop the readings that no row of an open window may repeat or revise."""
        self.most = drop_until(&self.readings, &self.places, self.watermark_ms - self.open_ms)

    cdef void _save(self, Saved* row, Py_ssize_t i) noexcept nogil:
        saved_into(row, &self.readings, <int32_t>i, self.places.cells, MJ)

    cdef inline bint _is_live(self, Py_ssize_t i) noexcept nogil:
        return self.readings.held[i].end_ms > self.watermark_ms - self.open_ms

    cdef int _begin(self, Py_ssize_t rows) except -1:
        make_room(&self.readings, rows, len(self.names))
        return begin(&self.places)

    cdef int _end(self) except -1:
        tell_all(&self.places, &self.readings)
        if self.narrowed:
            for place in self.narrowed:
                widen(&self.places.windows[<Py_ssize_t>place], self.places.cells, &self.readings)
            self.narrowed.clear()
        return 0

    cdef inline int _put(self, const Sample* row) except -1:
        """Take a reading in, unless it is a duplicate or does not fit its windows."""
        cdef int32_t place = series_of(&self.readings, row)
        cdef Series* series = &self.readings.series[place]
        cdef int32_t head, cell = series.cell
        cdef uint32_t hashed
        cdef uint64_t at
        cdef int fault
        if row.end_ms <= series.latest_ms:
            enter_all(&self.readings)
            at = instant_of(&self.readings, place, row.end_ms, &hashed)
            head = place_of(self.readings.instants.entries[at])
            if head != NONE:
                return self._put_beside(row, place, head)
        if max(row.sample, row.energy_mj) > INT64_MAX - self.most:
            fault = self._misfit_alone(row)
            if fault:
                return fault
        if cell == NONE or not is_in(row, &self.places.cells[cell]):
            cell = self._cell_for(row, cell)
            if cell < NONE:
                return OTHER_UNIT
            if self.places.cells[cell].newest == NONE and (
                series.cell == NONE or not self.places.cells[series.cell].several
            ):
                return self._put_first(row, place, cell)
        self._count_in(row.sample, row.energy_mj)
        if self.places.gathered_count == TOLD:
            tell_all(&self.places, &self.readings)
        hold(&self.readings, row, place, self.places.cells, cell, NONE, True)
        gather(&self.places, cell, row, &self.readings)
        series.cell = cell
        series.latest_ms = max(series.latest_ms, row.end_ms)
        return ACCEPTED

    cdef int _put_first(self, const Sample* row, int32_t place, int32_t cell) except -1:
        """Take in the first reading of a cell at once, where no second one is expected."""
        cdef Series* series = &self.readings.series[place]
        self._count_in(row.sample, row.energy_mj)
        add_first(&self.places, cell, row, &self.readings)
        hold(&self.readings, row, place, self.places.cells, cell, NONE, True)
        series.cell = cell
        series.latest_ms = max(series.latest_ms, row.end_ms)
        return ACCEPTED

    cdef inline void _count_in(self, int64_t sample, int64_t energy_mj) noexcept nogil:
        cdef int64_t larger = max(sample, energy_mj)
        self.most = INT64_MAX if larger > INT64_MAX - self.most else self.most + larger

    cdef int32_t _cell_for(self, const Sample* row, int32_t last) except -3:
        """The cell of the reading, made if need be; -2 where one of its windows has another unit.
        `last`: that of its series' last reading, or -1."""
        cdef int32_t[LEVELS] known
        cdef const Cell* near
        cdef int32_t level, cell, track = NONE
        if last != NONE:
            near = &self.places.cells[last]
            if near.rack == row.rack and near.site == row.site:
                track = near.track
        if track == NONE:
            track = track_of(&self.places, row)
        cell = known_windows(&self.places, row, track, known)
        if cell != NONE:
            return cell
        for level in range(LEVELS):
            if known[level] != NONE and self.places.windows[known[level]].unit != row.unit:
                return -2
        return made_cell(&self.places, row, track, known)

    cdef int _put_beside(self, const Sample* row, int32_t series, int32_t head) except -1:
        """Take in a reading of an instant that has some, the newest of which is `head`."""
        cdef int32_t other = head, mate, cell, track, winner = NONE
        cdef int32_t[LEVELS] known
        cdef Apart there
        cdef uint32_t hashed
        cdef uint64_t at
        cdef bint decides
        cdef int fault
        while other != NONE:
            there = apart_of(&self.readings, other)
            if (there.source == row.source and there.revision == row.revision
                    and there.start_ms == row.start_ms):
                return DUPLICATE
            other = there.link
        tell_all(&self.places, &self.readings)
        mate = mate_of(&self.readings, head, row.kind, row.start_ms)
        if mate != NONE:
            winner = winner_of(&self.readings, mate)
        decides = winner == NONE or self._is_better(row, winner)
        track = track_of(&self.places, row)
        cell = known_windows(&self.places, row, track, known)
        fault = misfit(&self.places, row, known, &self.readings, winner, decides)
        if fault:
            return fault
        if cell == NONE:
            cell = made_cell(&self.places, row, track, known)
        self._touch_slot(cell, mate)
        if decides:
            self._exchange(row, cell, winner)
        at = instant_of(&self.readings, series, row.end_ms, &hashed)
        self.readings.instants.entries[at] = entry_of(hashed, self.readings.count)
        hold(&self.readings, row, series, self.places.cells, cell, head, decides)
        self.readings.entered = self.readings.count
        return ACCEPTED if decides else SUPERSEDED

    cdef int _exchange(self, const Sample* row, int32_t cell, int32_t winner) except -1:
        """Take the slot's sample out of its windows, and that of the reading into the cell's."""
        cdef int32_t level, place
        self._count_in(row.sample, row.energy_mj)
        if winner != NONE:
            self.readings.held[winner].rest &= ~<uint32_t>SAMPLED
            for level in range(LEVELS):
                place = self.places.cells[self.readings.held[winner].cell].places[level]
                if place != NONE and remove(
                    &self.places.windows[place], &self.readings, winner
                ):
                    self._note_narrowed(place)
        for level in range(LEVELS):
            place = self.places.cells[cell].places[level]
            if place != NONE:
                add_one(
                    &self.places.windows[place], row, self.places.cells, self.places.gathered,
                    &self.readings,
                )
        return 0

    cdef bint _is_better(self, const Sample* one, int32_t reading) except -1:
        cdef Apart other = apart_of(&self.readings, reading)
        if one.revision != other.revision:
            return one.revision > other.revision
        return self.names[one.source] < self.names[other.source]

    cdef int _misfit_alone(self, const Sample* row) except -1:
        """Why the first sample of its slot cannot be added to its windows; 0 if it can."""
        cdef int32_t[LEVELS] known
        tell_all(&self.places, &self.readings)
        known_windows(&self.places, row, track_of(&self.places, row), known)
        return misfit(&self.places, row, known, &self.readings, NONE, True)

    cdef int _touch_slot(self, int32_t cell, int32_t mate) except -1:
        """One revision more for each window of the slot's readings, of which `mate` is the newest
        but for the new one, in `cell`; for a window that is new to the slot all of them."""
        cdef int32_t at = mate, level, place
        readings = []
        while at != NONE:
            readings.append(at)
            at = mate_of(
                &self.readings,
                apart_of(&self.readings, at).link,
                kind_of(&self.readings.held[mate]),
                apart_of(&self.readings, mate).start_ms,
            )
        touched = {}
        for reading in reversed(readings):
            for level in range(LEVELS):
                place = self.places.cells[self.readings.held[<Py_ssize_t>reading].cell].places[level]
                if place != NONE:
                    touched[place] = 1
        for level in range(LEVELS):
            place = self.places.cells[cell].places[level]
            if place != NONE and place not in touched:
                touched[place] = len(readings) + 1
        for window, readings_more in touched.items():
            touch(&self.places, window)
            self.places.windows[<Py_ssize_t>window].revision += <uint32_t>readings_more
        return 0

    cdef int _note_narrowed(self, int32_t place) except -1:
        if not self.places.windows[place].narrowed:
            self.places.windows[place].narrowed = True
            self.narrowed.append(place)
        return 0

    cdef _rows(self):
        """The changed windows of racks, then the others, in the order in which they were touched."""
        cdef Py_ssize_t i, racks = self.places.racks_count, others = self.places.others_count
        cdef cnp.ndarray rows = np.empty(racks + others, layout.WINDOW)
        cdef Row* out = <Row*>cnp.PyArray_DATA(rows)
        for i in range(racks):
            self._row(out + i, &self.places.windows[self.places.racks[i]])
        for i in range(others):
            self._row(out + racks + i, &self.places.windows[self.places.others[i]])
        return rows

    cdef inline void _row(self, Row* out, const Window* window) noexcept nogil:
        row_into(out, window, self.places.cells, bucket_of(window.max, &BOUNDS[0], &GUESS[0]))

    cdef _sketches(self):
        """(ends, data): sketch.encode of each changed window of a site or hub."""
        cdef Py_ssize_t i, size = self.places.others_count, most = 0
        cdef cnp.ndarray ends = np.empty(size + 1, np.int32)
        cdef int32_t* end = <int32_t*>cnp.PyArray_DATA(ends)
        cdef cnp.ndarray data
        cdef uint8_t* first
        cdef uint8_t* out
        for i in range(size):
            most += sketch_bytes_max(&self.places.windows[self.places.others[i]])
        if most > 0x7FFFFFFF:
            raise OverflowError("more than 2 GB of sketches in one batch")
        data = np.empty(most, np.uint8)
        first = out = <uint8_t*>cnp.PyArray_DATA(data)
        end[0] = 0
        for i in range(size):
            out = sketch_into(
                out,
                &self.places.windows[self.places.others[i]],
                self.places.cells,
                self.places.gathered,
                &self.readings,
            )
            end[i + 1] = <int32_t>(out - first)
        return ends, data[: out - first]
