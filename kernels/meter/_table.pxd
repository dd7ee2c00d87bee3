"""The table of instants: (meter, register, end) -> newest reading of it.

Open addressing, at most half full. A reading's tag is its hash; its own place is the tag's low
bits, so that a table is widened from its entries alone, in their order.
"""

from libc.stdint cimport int32_t, uint32_t, uint64_t
from libc.string cimport memset

from kernels.meter._reading cimport Reading, tag_of
from kernels.meter._store cimport Store, gridloom_free_widened, gridloom_widened, reading_at

cdef extern from *:
    void __builtin_prefetch(const void* place) noexcept nogil


cdef struct Entry:
    int32_t newest  # place of the reading, + 1; 0: nothing here
    uint32_t tag


cdef struct Table:
    Entry* entries
    uint64_t mask
    Py_ssize_t used


cdef inline void look_up(
    const Table* table, const Reading* readings, Py_ssize_t size, uint32_t* tags
) noexcept nogil:
    """Each reading's tag; their places in the table are on their way to the cache."""
    cdef Py_ssize_t i
    for i in range(size):
        tags[i] = tag_of(&readings[i])
        __builtin_prefetch(&table.entries[tags[i] & table.mask])


cdef inline Entry* find(
    const Table* table, const Store* store, const Reading* reading, uint32_t tag
) noexcept nogil:
    """The entry of the reading's instant: where it is, or where it now goes."""
    cdef uint64_t at = tag & table.mask
    cdef Entry* entry = &table.entries[at]
    cdef const Reading* there
    while entry.newest != 0:
        if entry.tag == tag:
            there = reading_at(store, entry.newest - 1)
            if (there.end_ms == reading.end_ms and there.meter == reading.meter
                    and there.register_ == reading.register_):
                return entry
        at = (at + 1) & table.mask
        entry = &table.entries[at]
    return entry


cdef inline void head(Table* table, Entry* entry, uint32_t tag, int32_t place) noexcept nogil:
    """The reading at `place` is the newest of its instant."""
    table.used += entry.newest == 0
    entry.newest = place + 1
    entry.tag = tag


cdef inline void clear(Table* table) noexcept nogil:
    memset(table.entries, 0, (table.mask + 1) * sizeof(Entry))
    table.used = 0


cdef inline int widen(Table* table, Py_ssize_t instants) except -1:
    """Make it large enough for so many instants."""
    cdef uint64_t size = table.mask + 1 if table.entries != NULL else 0
    cdef uint64_t wider = size if size else 2048
    cdef void* entries
    while wider < <uint64_t>(2 * instants):
        wider *= 2
    if wider == size:
        return 0
    entries = gridloom_widened(table.entries, size * sizeof(Entry), wider * sizeof(Entry))
    if entries == NULL:
        raise MemoryError("no memory for the meter's slots; shard the readings topic")
    table.entries = <Entry*>entries
    table.mask = wider - 1
    if size:
        spread(table, size)
    return 0


cdef inline void spread(Table* table, uint64_t size) noexcept nogil:
    """Put the entries of the first `size` places where the widened table has them, in place.

    From behind a free place on, in order: an entry's new place is never one that another still
    waits in, for those between its own place and where it was are done.
    """
    cdef uint64_t first = 0, i, at
    cdef Entry* entry
    cdef Entry moved
    while table.entries[first].newest != 0:
        first += 1
    for i in range(size):
        entry = &table.entries[(first + i) & (size - 1)]
        if entry.newest == 0:
            continue
        moved = entry[0]
        entry.newest = 0
        at = moved.tag & table.mask
        while table.entries[at].newest != 0:
            at = (at + 1) & table.mask
        table.entries[at] = moved


cdef inline void free_table(Table* table) noexcept nogil:
    if table.entries != NULL:
        gridloom_free_widened(table.entries, (table.mask + 1) * sizeof(Entry))
