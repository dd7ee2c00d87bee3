# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The compiled twin of reference.Ledger: same rows in, same rows out, same order.

    readings  [Reading 0][Reading 1]...      in order of acceptance; `slot` is a place in slots
    link      next reading of the same instant (meter, register, end); -1 ends the chain
    table     open addressing: hash(meter, register, end) -> newest reading of the instant, + 1,
              beside the hash, so that only the instant's own reading is looked at
    slots     winner, revision; a counter's slots are a list by end (beside: before, after)
    tails     {meter << 32 | register: last slot of the counter}

A batch's rows are written where they will stay, behind the last reading, and taken from there: a
row that is accepted is not copied, unless one before it was not.
"""

from libc.stdint cimport INT64_MAX, int32_t, int64_t, uint8_t, uint32_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy

import numpy as np

cimport numpy as cnp

from kernels.meter import layout

from kernels.meter._compact cimport move_kept, unlink
from kernels.meter._counting cimport MJ, QUESTIONABLE, RESET, usage_of
from kernels.meter._reading cimport REGISTER, Rates, Reading, Row, of_row, to_row
from kernels.meter._store cimport (
    BLOCK_ROWS, TOUCHED, Beside, Block, Slot, beside_at, free_store, link_at, make_room, rates_at,
    rates_of, reading_at, slot_at,
)
from kernels.meter._table cimport Entry, clear, find, free_table, head, look_up, widen

cnp.import_array()

cdef enum:  # layout.Outcome
    ACCEPTED, DUPLICATE, SUPERSEDED, CONFLICT, LATE, UNLISTED, REVERSED, NEGATIVE

cdef uint8_t KINDS = len(layout.KINDS)
cdef uint8_t UNITS = len(layout.UNITS)
cdef uint8_t QUALITIES = len(layout.USAGE_QUALITIES)

assert sizeof(Row) == layout.READING.itemsize, "Row is not layout.READING"
assert sizeof(Row) == sizeof(Reading) + sizeof(Rates), "Reading and Rates are not a Row"
assert sizeof(Block) - BLOCK_ROWS * (sizeof(Rates) + sizeof(Beside)) == TOUCHED
assert (REGISTER, MJ) == (layout.REGISTER, layout.MJ)
assert (RESET, QUESTIONABLE) == (layout.RESET, layout.QUESTIONABLE)


cdef class Ledger:
    def __dealloc__(self):
        free_store(&self.store)
        free_table(&self.table)
        free(self.changed)

    def __init__(self, rows, names, retention_ms, watermark_ms=layout.NEVER_MS):
        self.names = names
        self.retention_ms = retention_ms
        self.watermark_ms = watermark_ms
        self.earliest_ms = INT64_MAX
        self.tails = {}
        self.fill(rows)

    def fill(self, rows):
        """Take in readings that rows() or piece() gave, in their order."""
        cdef Py_ssize_t i, first = 0, length, size = len(rows)
        cdef cnp.ndarray array = np.ascontiguousarray(rows)
        cdef const Row* given = row_in(array)
        cdef uint32_t[BATCH_ROWS] tags
        cdef Reading* room
        cdef Entry* entry
        cdef Slot* slot
        cdef int32_t revision
        cdef bint decides
        self.reserve(self.count + size)
        while first < size:
            length = size - first
            room = self.room(&length)
            for i in range(length):
                of_row(&given[first + i], &room[i])
            look_up(&self.table, room, length, tags)
            for i in range(length):
                entry = find(&self.table, &self.store, &room[i], tags[i])
                revision = room[i].slot
                put(self, &room[i], given[first + i].rates, entry, tags[i], &slot, &decides)
                slot.revision = revision
            first += length

    def __len__(self):
        return self.count

    def apply(self, rows):
        cdef cnp.ndarray array = np.ascontiguousarray(rows)
        cdef const Row* given = row_in(array)
        cdef Py_ssize_t first = 0, i, length, size = len(array)
        cdef cnp.ndarray outcomes = np.zeros(size, np.uint8)
        cdef uint8_t* outcome = <uint8_t*>cnp.PyArray_DATA(outcomes)
        cdef Reading* room
        cdef Rates[BATCH_ROWS] rates
        refused = []
        self.begin(size)
        while first < size:
            length = size - first
            room = self.room(&length)
            for i in range(length):
                of_row(&given[first + i], &room[i])
                rates[i] = given[first + i].rates
            self.take(room, rates, length, first, &outcome[first], refused)
            first += length
        conflicts = [(row, kept) for row, _, _, kept in refused if kept is not None]
        return outcomes, self._usage(), conflicts

    def newest(self, Py_ssize_t count):
        """The last `count` readings accepted, of slot revision 0."""
        assert count <= self.count, "so many readings were not accepted"
        cdef cnp.ndarray rows = np.empty(count, layout.READING)
        cdef Row* out = row_in(rows)
        cdef Py_ssize_t i
        for i in range(count):
            self._row(self.count - count + i, 0, &out[i])
        return rows

    def rows(self):
        """The readings of open slots, and of each counter the last closed one it counts from."""
        return self.piece(0, self.live())[0]

    def piece(self, Py_ssize_t first, Py_ssize_t limit):
        """(at most `limit` of rows(), from the first-th reading on; where the next piece begins)."""
        cdef cnp.ndarray live = np.empty(min(limit, self.count - first), layout.READING)
        cdef Row* out = row_in(live)
        cdef Py_ssize_t size = 0
        cdef const Reading* reading
        while first < self.count and size < limit:
            reading = reading_at(&self.store, first)
            if is_live(self, reading):
                self._row(first, slot_at(&self.store, reading.slot).revision, &out[size])
                size += 1
            first += 1
        return live[:size], first

    def live(self):
        """How many readings rows() would give."""
        cdef Py_ssize_t i, size = 0
        if self.earliest_ms > self.watermark_ms - self.retention_ms:
            return self.count
        for i in range(self.count):
            size += is_live(self, reading_at(&self.store, i))
        return size

    def compact(self):
        """Drop the readings that rows() leaves out, and their slots; order and answers stay."""
        cdef cnp.ndarray places = np.empty(self.count, np.int32)
        cdef cnp.ndarray slots = np.full(self.slot_count, NONE, np.int32)
        cdef int32_t* place = <int32_t*>cnp.PyArray_DATA(places)  # of each reading; NONE: dropped
        cdef int32_t* moved = <int32_t*>cnp.PyArray_DATA(slots)  # of each slot
        cdef int32_t size = 0
        cdef Py_ssize_t i
        if self.count == 0:
            return
        for i in range(self.count):
            unlink(&self.store, place, i)
            place[i] = NONE
            if is_live(self, reading_at(&self.store, i)):
                place[i] = size
                size += 1
        self.slot_count = move_kept(&self.store, place, self.count, moved, self.slot_count)
        self.count = size
        self.tails = {counter: moved[<int32_t>tail] for counter, tail in self.tails.items()}
        self._index()

    cdef void _row(self, Py_ssize_t place, int32_t revision, Row* row) noexcept nogil:
        """The reading at `place` as a row, its slot being of this revision."""
        cdef Reading reading = reading_at(&self.store, place)[0]
        reading.slot = revision
        to_row(&reading, rates_of(&self.store, place), row)

    cpdef int reserve(self, Py_ssize_t count) except -1:
        """Room for `count` readings, each of an instant of its own."""
        make_room(&self.store, count)
        widen(&self.table, self.table.used + count - self.count)
        return 0

    cdef void _index(self) noexcept nogil:
        """Fill the table anew; ascending, so that the newest of an instant ends up as its head."""
        cdef Py_ssize_t i, first = 0, length
        cdef uint32_t[BATCH_ROWS] tags
        cdef const Reading* readings
        cdef Entry* entry
        clear(&self.table)
        self.earliest_ms = INT64_MAX
        while first < self.count:
            length = min(BATCH_ROWS, self.count - first)  # a block's rows are a multiple of it
            readings = reading_at(&self.store, first)
            look_up(&self.table, readings, length, tags)
            for i in range(length):
                entry = find(&self.table, &self.store, &readings[i], tags[i])
                head(&self.table, entry, tags[i], <int32_t>(first + i))
                self.earliest_ms = min(self.earliest_ms, readings[i].end_ms)
            first += length

    cdef int begin(self, Py_ssize_t size) except -1:
        """A batch of so many rows begins."""
        cdef void* bigger
        if self.changed_room < 2 * size:  # a row touches its slot and the next one of its counter
            bigger = realloc(self.changed, 2 * size * sizeof(int32_t))
            if bigger == NULL:
                raise MemoryError("no memory for a batch's slots; send smaller batches")
            self.changed, self.changed_room = <int32_t*>bigger, 2 * size
        self.batch += 1
        self.changed_count = 0
        return self.reserve(self.count + size)

    cdef Reading* room(self, Py_ssize_t* size) noexcept nogil:
        """Where the batch's next rows are written, and for how many of the `size` left it is."""
        size[0] = min(size[0], BATCH_ROWS, BLOCK_ROWS - self.count % BLOCK_ROWS)
        return reading_at(&self.store, self.count)

    cdef int take(
        self, const Reading* rows, const Rates* rates, Py_ssize_t size, Py_ssize_t first,
        uint8_t* outcomes, list refused,
    ) except -1:
        """Take the rows that were written into the room, and say what became of each.

        rates: of each row; NULL: all 0. refused gets (row of the batch, outcome, the reading, of a
        conflict the one that is kept).
        """
        cdef Py_ssize_t i
        cdef int32_t known = NONE
        cdef uint32_t[BATCH_ROWS] tags
        cdef Rates own
        own.rating_w = own.register_modulus = 0
        look_up(&self.table, rows, size, tags)
        for i in range(size):
            if rates != NULL:
                own = rates[i]
            outcomes[i] = take_one(self, &rows[i], own, tags[i], &known)
            if outcomes[i] >= CONFLICT:
                row, kept = np.empty(1, layout.READING), None
                to_row(&rows[i], own, row_in(row))
                if outcomes[i] == CONFLICT:
                    kept = np.empty(1, layout.READING)
                    self._row(known, 0, row_in(kept))
                refused.append((first + i, outcomes[i], row, kept))
        return 0

    cdef _usage(self):
        """The changed slots' usage, in the order in which the batch touched them."""
        cdef cnp.ndarray usage = np.empty(self.changed_count, layout.READING)
        cdef Row* out = row_in(usage)
        cdef Py_ssize_t i, size = 0
        cdef const Slot* slot
        cdef const Reading* shown
        cdef Reading counted
        for i in range(self.changed_count):
            slot = slot_at(&self.store, self.changed[i])
            shown = usage_of(&self.store, slot, &counted)
            if shown == NULL:
                continue
            counted = shown[0]
            counted.slot = slot.revision
            to_row(&counted, rates_of(&self.store, slot.winner), &out[size])
            size += 1
        return usage[:size]


cdef inline Row* row_in(cnp.ndarray rows) noexcept:
    return <Row*>cnp.PyArray_DATA(rows)


cdef inline int take_one(
    Ledger self, const Reading* reading, Rates rates, uint32_t tag, int32_t* kept
) except -1:
    """What becomes of the reading; of a conflict, `kept` is the reading that came first."""
    cdef int32_t at, place, after
    cdef Entry* entry
    cdef const Reading* known
    cdef Slot* slot
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
    entry = find(&self.table, &self.store, reading, tag)
    at = entry.newest - 1
    while at != NONE:
        known = reading_at(&self.store, at)
        if (known.source == reading.source and known.revision == reading.revision
                and known.start_ms == reading.start_ms):
            if (known.quantity == reading.quantity and known.unit == reading.unit
                    and known.kind == reading.kind and known.quality == reading.quality
                    and known.epoch == reading.epoch):
                return DUPLICATE
            kept[0] = at
            return CONFLICT
        at = link_at(&self.store, at)[0]
    place = put(self, reading, rates, entry, tag, &slot, &decides)
    touch(self, slot, place)
    if not decides:
        return SUPERSEDED
    if reading.kind == REGISTER:
        after = beside_at(&self.store, place).after
        if after != NONE:
            touch(self, slot_at(&self.store, after), after)
    return ACCEPTED


cdef inline void touch(Ledger self, Slot* slot, int32_t place) noexcept nogil:
    slot.revision += 1
    if slot.touched_by != self.batch:
        slot.touched_by = self.batch
        self.changed[self.changed_count] = place
        self.changed_count += 1


cdef inline int32_t put(
    Ledger self, const Reading* reading, Rates rates, Entry* entry, uint32_t tag,
    Slot** slot, bint* decides,
) except -1:
    """Add the reading to its slot, whose place it gives; `entry` is that of the reading's instant."""
    cdef int32_t place = <int32_t>self.count
    cdef int32_t at = entry.newest - 1
    cdef Reading* own = reading_at(&self.store, place)
    if own != reading:
        own[0] = reading[0]
    if own.kind == REGISTER:
        rates_at(&self.store, place)[0] = rates
    link_at(&self.store, place)[0] = at
    head(&self.table, entry, tag, place)
    self.count += 1
    self.earliest_ms = min(self.earliest_ms, own.end_ms)
    while at != NONE and reading_at(&self.store, at).kind != own.kind:
        at = link_at(&self.store, at)[0]
    own.slot = <int32_t>self.slot_count if at == NONE else reading_at(&self.store, at).slot
    slot[0] = slot_at(&self.store, own.slot)
    if at == NONE:
        self.slot_count += 1
        slot[0].winner = place
        slot[0].revision = slot[0].touched_by = 0
        decides[0] = True
        if own.kind == REGISTER:
            chain(self, own)
    else:
        decides[0] = better(self, own, reading_at(&self.store, slot[0].winner))
        if decides[0]:
            slot[0].winner = place
    return own.slot


cdef int chain(Ledger self, const Reading* reading) except -1:
    """A counter's new slot goes to its place by end."""
    cdef int32_t before, after = NONE
    cdef Beside* beside = beside_at(&self.store, reading.slot)
    counter = (<int64_t>reading.meter << 32) | reading.register_
    before = self.tails.get(counter, NONE)
    while before != NONE and end_ms(self, before) > reading.end_ms:
        after = before
        before = beside_at(&self.store, before).before
    if after == NONE:
        self.tails[counter] = reading.slot
    else:
        beside_at(&self.store, after).before = reading.slot
    if before != NONE:
        beside_at(&self.store, before).after = reading.slot
    beside.before = before
    beside.after = after
    return 0


cdef inline int64_t end_ms(Ledger self, int32_t slot) noexcept nogil:
    return reading_at(&self.store, slot_at(&self.store, slot).winner).end_ms


cdef int better(Ledger self, const Reading* one, const Reading* other) except -1:
    if one.revision != other.revision:
        return one.revision > other.revision
    if one.source != other.source:
        return self.names[one.source] < self.names[other.source]
    return one.start_ms < other.start_ms


cdef inline bint is_live(Ledger self, const Reading* reading) noexcept nogil:
    cdef int64_t horizon_ms = self.watermark_ms - self.retention_ms
    cdef int32_t after
    if reading.end_ms > horizon_ms:
        return True
    if reading.kind != REGISTER:
        return False
    after = beside_at(&self.store, reading.slot).after
    return after == NONE or end_ms(self, after) > horizon_ms
