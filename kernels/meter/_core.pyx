# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The compiled twin of reference.Ledger: same rows in, same rows out, same order.

    readings  [Reading 0][Reading 1]...      in order of acceptance; `slot` is a place in slots
    link      next reading of the same instant (meter, register, end); -1 ends the chain
    table     open addressing: hash(meter, register, end) -> newest reading of the instant, + 1,
              beside a part of the hash, so that only the instant's own reading is looked at
    slots     winner, revision; a counter's slots are a list by end (before, after)
    tails     {meter << 32 | register: last slot of the counter}
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcpy, memset

import numpy as np

cimport numpy as cnp

from kernels.meter import layout

from kernels.meter._counting cimport MJ, QUESTIONABLE, RESET, count_up
from kernels.meter._reading cimport Reading, hash_of

cnp.import_array()

cdef extern from *:
    void __builtin_prefetch(const void* place) noexcept nogil

cdef struct Slot:
    int32_t winner
    int32_t revision
    int32_t before
    int32_t after
    int32_t touched_by  # the last batch that touched it

cdef struct Entry:
    int32_t newest
    uint32_t tag

cdef enum:
    ACCEPTED = 0
    DUPLICATE = 1
    SUPERSEDED = 2
    CONFLICT = 3
    LATE = 4
    UNLISTED = 5
    REVERSED = 6
    NEGATIVE = 7
    NONE = -1

cdef enum:
    AHEAD = 12  # rows whose place in the table is fetched while earlier ones are taken

cdef uint8_t KINDS = len(layout.KINDS)
cdef uint8_t UNITS = len(layout.UNITS)
cdef uint8_t QUALITIES = len(layout.USAGE_QUALITIES)
cdef uint8_t REGISTER = layout.REGISTER

assert sizeof(Reading) == layout.READING.itemsize, "Reading is not layout.READING"
assert (MJ, RESET, QUESTIONABLE) == (layout.MJ, layout.RESET, layout.QUESTIONABLE)


cdef inline void* grown(void* block, size_t count, size_t size) except NULL:
    cdef void* bigger = realloc(block, count * size)
    if bigger == NULL:
        raise MemoryError("no memory for the meter's slots; shard the readings topic")
    return bigger


cdef class Ledger:
    cdef public int64_t retention_ms
    cdef public int64_t watermark_ms
    cdef readonly object names
    cdef Reading* readings
    cdef int32_t* link
    cdef Slot* slots
    cdef Entry* table
    cdef uint64_t mask
    cdef Py_ssize_t count, room, slot_count, slot_room
    cdef dict tails
    cdef int32_t* changed  # slots that the batch touched, in that order
    cdef Py_ssize_t changed_count, changed_room
    cdef int32_t batch

    def __cinit__(self):
        self.readings = NULL
        self.link = NULL
        self.slots = NULL
        self.table = NULL
        self.changed = NULL

    def __dealloc__(self):
        free(self.readings)
        free(self.link)
        free(self.slots)
        free(self.table)
        free(self.changed)

    def __init__(self, rows, names, retention_ms, watermark_ms=layout.NEVER_MS):
        self.names = names
        self.retention_ms = retention_ms
        self.watermark_ms = watermark_ms
        self.tails = {}
        self.fill(rows)

    def fill(self, rows):
        """Take in readings that rows() or piece() gave, in their order."""
        cdef Py_ssize_t i, size = len(rows)
        cdef cnp.ndarray array = np.ascontiguousarray(rows)
        cdef Reading* given = <Reading*>cnp.PyArray_DATA(array)
        self.reserve(self.count + size)
        for i in range(size):
            if i + AHEAD < size:
                self._prefetch(&given[i + AHEAD])
            self._put(&given[i], self._find(&given[i]))
            self.slots[self.readings[self.count - 1].slot].revision = given[i].slot

    def __len__(self):
        return self.count

    def apply(self, rows):
        cdef cnp.ndarray array = np.ascontiguousarray(rows)
        cdef Reading* given = <Reading*>cnp.PyArray_DATA(array)
        cdef Py_ssize_t i, size = len(array)
        cdef cnp.ndarray outcomes = np.zeros(size, np.uint8)
        cdef uint8_t* outcome = <uint8_t*>cnp.PyArray_DATA(outcomes)
        cdef int32_t kept = NONE
        conflicts = []
        self.batch += 1
        self.changed_count = 0
        if self.changed_room < 2 * size:  # a row touches its slot and the next one of its counter
            self.changed_room = 2 * size
            self.changed = <int32_t*>grown(self.changed, self.changed_room, sizeof(int32_t))
        self.reserve(self.count + size)
        for i in range(size):
            if i + AHEAD < size:
                self._prefetch(&given[i + AHEAD])
            outcome[i] = self._take(&given[i], &kept)
            if outcome[i] == CONFLICT:
                conflicts.append((i, self._copy(kept)))
        return outcomes, self._usage(), conflicts

    def rows(self):
        """The readings of open slots, and of each counter the last closed one it counts from."""
        return self.piece(0, self.live())[0]

    def piece(self, Py_ssize_t first, Py_ssize_t limit):
        """(at most `limit` of rows(), from the first-th reading on; where the next piece begins)."""
        cdef cnp.ndarray live = np.empty(min(limit, self.count - first), layout.READING)
        cdef Reading* out = <Reading*>cnp.PyArray_DATA(live)
        cdef Py_ssize_t size = 0
        cdef Reading* reading
        while first < self.count and size < limit:
            reading = &self.readings[first]
            first += 1
            if self._is_live(reading):
                out[size] = reading[0]
                out[size].slot = self.slots[reading.slot].revision
                size += 1
        return live[:size], first

    def live(self):
        """How many readings rows() would give."""
        cdef Py_ssize_t i, size = 0
        for i in range(self.count):
            size += self._is_live(&self.readings[i])
        return size

    def compact(self):
        """Drop the readings that rows() leaves out, and their slots; order and answers stay."""
        cdef cnp.ndarray places = np.empty(self.count, np.int32)
        cdef cnp.ndarray slots = np.full(self.slot_count, NONE, np.int32)
        cdef int32_t* place = <int32_t*>cnp.PyArray_DATA(places)  # of each reading; NONE: dropped
        cdef int32_t* moved = <int32_t*>cnp.PyArray_DATA(slots)  # of each slot
        cdef int32_t size = 0, slot_count = 0, at, older
        cdef Py_ssize_t i
        cdef Slot slot
        if self.count == 0:
            return
        for i in range(self.count):
            older = self.link[i]
            if older != NONE and place[older] == NONE:
                self.link[i] = self.link[older]  # which is a kept one already, or none
            place[i] = NONE
            if self._is_live(&self.readings[i]):
                place[i] = size
                size += 1
        for i in range(self.count):
            if place[i] == NONE:
                continue
            at = place[i]
            older = self.link[i]
            self.link[at] = place[older] if older != NONE else NONE
            self.readings[at] = self.readings[i]
            if moved[self.readings[i].slot] == NONE:  # slots are in the order of first readings
                moved[self.readings[i].slot] = slot_count
                slot_count += 1
            self.readings[at].slot = moved[self.readings[at].slot]
        for i in range(self.slot_count):
            if moved[i] == NONE:
                continue
            slot = self.slots[i]
            slot.winner = place[slot.winner]
            slot.before = moved[slot.before] if slot.before != NONE else NONE
            slot.after = moved[slot.after] if slot.after != NONE else NONE
            self.slots[moved[i]] = slot
        self.tails = {counter: moved[<int32_t>tail] for counter, tail in self.tails.items()}
        self.count, self.slot_count = size, slot_count
        memset(self.table, 0, (self.mask + 1) * sizeof(Entry))
        self._index()

    cdef _copy(self, int32_t place):
        cdef cnp.ndarray one = np.empty(1, layout.READING)
        memcpy(cnp.PyArray_DATA(one), &self.readings[place], sizeof(Reading))
        return one

    cpdef int reserve(self, Py_ssize_t count) except -1:
        """Room for `count` readings: as many slots, and a table at most half full."""
        cdef Py_ssize_t size
        if count <= self.room:
            return 0
        self.room = max(1024, count + count // 2)
        self.readings = <Reading*>grown(self.readings, self.room, sizeof(Reading))
        self.link = <int32_t*>grown(self.link, self.room, sizeof(int32_t))
        self.slots = <Slot*>grown(self.slots, self.room, sizeof(Slot))
        size = 2048
        while size < 2 * self.room:
            size *= 2
        if self.table != NULL and size == self.mask + 1:
            return 0
        free(self.table)
        self.table = <Entry*>calloc(size, sizeof(Entry))
        if self.table == NULL:
            raise MemoryError("no memory for the meter's slots; shard the readings topic")
        self.mask = size - 1
        self._index()
        return 0

    cdef void _index(self) noexcept nogil:
        """Fill the table; ascending, so that the newest of an instant ends up as its head."""
        cdef Py_ssize_t i
        for i in range(self.count):
            if i + AHEAD < self.count:
                self._prefetch(&self.readings[i + AHEAD])
            self.table[self._find(&self.readings[i])].newest = <int32_t>(i + 1)

    cdef inline void _prefetch(self, const Reading* reading) noexcept nogil:
        cdef uint64_t at = hash_of(reading) & self.mask
        __builtin_prefetch(&self.table[at])

    cdef inline uint64_t _find(self, const Reading* reading) noexcept nogil:
        """The table's place of the reading's instant: where it is, or where it now goes."""
        cdef uint64_t hashed = hash_of(reading)
        cdef uint64_t at = hashed & self.mask
        cdef uint32_t tag = <uint32_t>(hashed >> 32)
        cdef const Reading* there
        while self.table[at].newest != 0:
            if self.table[at].tag == tag:
                there = &self.readings[self.table[at].newest - 1]
                if (there.end_ms == reading.end_ms and there.meter == reading.meter
                        and there.register_ == reading.register_):
                    return at
            at = (at + 1) & self.mask
        self.table[at].tag = tag
        return at

    cdef int _take(self, const Reading* reading, int32_t* kept) except -1:
        cdef int32_t at, slot, after
        cdef uint64_t instant
        cdef const Reading* known
        cdef bint decides
        if reading.received_ms > self.watermark_ms:
            self.watermark_ms = reading.received_ms
        if reading.kind >= KINDS or reading.unit >= UNITS or reading.quality >= QUALITIES:
            return UNLISTED
        if reading.end_ms <= reading.start_ms:
            return REVERSED
        if reading.quantity < 0:
            return NEGATIVE
        if reading.end_ms <= self.watermark_ms - self.retention_ms:
            return LATE
        instant = self._find(reading)
        at = self.table[instant].newest - 1
        while at != NONE:
            known = &self.readings[at]
            if (known.source == reading.source and known.revision == reading.revision
                    and known.start_ms == reading.start_ms):
                if (known.quantity == reading.quantity and known.unit == reading.unit
                        and known.kind == reading.kind and known.quality == reading.quality
                        and known.epoch == reading.epoch):
                    return DUPLICATE
                kept[0] = at
                return CONFLICT
            at = self.link[at]
        decides = self._put(reading, instant)
        slot = self.readings[self.count - 1].slot
        self._touch(slot)
        if decides:
            after = self.slots[slot].after
            if after != NONE:
                self._touch(after)
            return ACCEPTED
        return SUPERSEDED

    cdef int _touch(self, int32_t slot) except -1:
        self.slots[slot].revision += 1
        if self.slots[slot].touched_by != self.batch:
            self.slots[slot].touched_by = self.batch
            self.changed[self.changed_count] = slot
            self.changed_count += 1
        return 0

    cdef int _put(self, const Reading* reading, uint64_t instant) except -1:
        """Add the reading to its slot, `instant` being its place in the table; does it decide?"""
        cdef int32_t place = <int32_t>self.count
        cdef int32_t at = self.table[instant].newest - 1
        cdef Slot* slot
        self.readings[place] = reading[0]
        self.link[place] = at
        self.table[instant].newest = place + 1
        self.count += 1
        while at != NONE and self.readings[at].kind != reading.kind:
            at = self.link[at]
        if at == NONE:
            self._open(place)
            return True
        self.readings[place].slot = self.readings[at].slot
        slot = &self.slots[self.readings[at].slot]
        if self._better(reading, &self.readings[slot.winner]):
            slot.winner = place
            return True
        return False

    cdef int _open(self, int32_t place) except -1:
        """A new slot for the reading; a counter's goes to its place by end."""
        cdef Reading* reading = &self.readings[place]
        cdef int32_t new = <int32_t>self.slot_count
        cdef int32_t before = NONE, after = NONE
        cdef Slot* slot = &self.slots[new]
        reading.slot = new
        self.slot_count += 1
        if reading.kind == REGISTER:
            counter = (<int64_t>reading.meter << 32) | reading.register_
            before = self.tails.get(counter, NONE)
            while before != NONE and self._end_ms(before) > reading.end_ms:
                after = before
                before = self.slots[before].before
            if after == NONE:
                self.tails[counter] = new
            else:
                self.slots[after].before = new
            if before != NONE:
                self.slots[before].after = new
        slot.winner = place
        slot.revision = 0
        slot.before = before
        slot.after = after
        slot.touched_by = 0
        return 0

    cdef inline int64_t _end_ms(self, int32_t slot) noexcept nogil:
        return self.readings[self.slots[slot].winner].end_ms

    cdef int _better(self, const Reading* one, const Reading* other) except -1:
        if one.revision != other.revision:
            return one.revision > other.revision
        if one.source != other.source:
            return self.names[one.source] < self.names[other.source]
        return one.start_ms < other.start_ms

    cdef _usage(self):
        """The changed slots' usage, in the order in which the batch touched them."""
        cdef cnp.ndarray usage = np.empty(self.changed_count, layout.READING)
        cdef Reading* out = <Reading*>cnp.PyArray_DATA(usage)
        cdef Py_ssize_t i, size = 0
        cdef int32_t place
        cdef Slot* slot
        cdef const Reading* previous
        for i in range(self.changed_count):
            place = self.changed[i]
            slot = &self.slots[place]
            out[size] = self.readings[slot.winner]
            out[size].slot = slot.revision
            if out[size].kind == REGISTER:
                if slot.before == NONE:
                    continue  # a counter's first reading is where counting starts
                previous = &self.readings[self.slots[slot.before].winner]
                count_up(previous, &out[size])
            size += 1
        return usage[:size]

    cdef inline bint _is_live(self, const Reading* reading) noexcept nogil:
        cdef int64_t horizon_ms = self.watermark_ms - self.retention_ms
        cdef int32_t after
        if reading.end_ms > horizon_ms:
            return True
        after = self.slots[reading.slot].after
        return reading.kind == REGISTER and (after == NONE or self._end_ms(after) > horizon_ms)
