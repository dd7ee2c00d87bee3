# Readings of the compiled twin: how they are held, and how those of the same instant are found.
#
#     held      [reading 0][reading 1]...     in order of acceptance
#     series    by (meter, register): the latest end that was accepted
#     instants  table: (meter, register, end) -> newest reading of the instant
#
# A reading later than all of its series is the first of its instant: nobody looks into `instants`
# for it, and it is entered there only once some reading comes out of order.

from libc.stdint cimport int16_t, int32_t, int64_t, uint32_t, uint64_t
from libc.string cimport memset

from kernels.rollup._layout cimport NONE, Cell, Held, Sample, Series
from kernels.rollup._tables cimport (
    Table,
    entry_of,
    grown,
    larger_room,
    let_go,
    mixed,
    place_of,
    prefetch,
    reserve,
)

cdef enum:
    BLOCK = 32  # entries asked of memory together

cdef struct Readings:
    Held* held
    Py_ssize_t count, room
    int64_t first_end_ms # no reading ends before
    Py_ssize_t entered   # the first so many are in `instants`
    Table instants
    Series* series
    Py_ssize_t series_count, series_room
    int32_t* by_meter    # first series of each meter by its code, + 1
    Py_ssize_t meters


cdef inline void freed(Readings* readings) noexcept nogil:
    let_go(readings.held)
    let_go(readings.instants.entries)
    let_go(readings.series)
    let_go(readings.by_meter)


cdef inline int make_room(Readings* readings, Py_ssize_t more, Py_ssize_t texts) except -1:
    """Room for so many readings more, of meters whose codes are below `texts`."""
    if readings.count + more > readings.room:
        readings.room = larger_room(readings.count, more)
        readings.held = <Held*>grown(readings.held, readings.room, sizeof(Held))
    if texts > readings.meters:
        texts *= 2
        readings.by_meter = <int32_t*>grown(readings.by_meter, texts, sizeof(int32_t))
        memset(
            readings.by_meter + readings.meters, 0, (texts - readings.meters) * sizeof(int32_t)
        )
        readings.meters = texts
    return 0


cdef inline Series* series_of(Readings* readings, const Sample* row) except NULL:
    """The reading's series, made if need be."""
    cdef int32_t place = readings.by_meter[row.meter] - 1
    while place != NONE:
        if readings.series[place].register_ == row.register_:
            return &readings.series[place]
        place = readings.series[place].other
    return made_series(readings, row)


cdef inline Series* made_series(Readings* readings, const Sample* row) except NULL:
    cdef Series* series
    if readings.series_count == readings.series_room:
        readings.series_room = larger_room(readings.series_room, 1)
        readings.series = <Series*>grown(readings.series, readings.series_room, sizeof(Series))
    series = &readings.series[readings.series_count]
    series.latest_ms = <int64_t>1 << 63
    series.register_ = row.register_
    series.cell = NONE
    series.other = readings.by_meter[row.meter] - 1
    readings.series_count += 1
    readings.by_meter[row.meter] = <int32_t>readings.series_count
    return series


cdef inline Held* hold(
    Readings* readings, const Sample* row, Cell* cells, int32_t cell, int32_t link, bint sampled
) noexcept nogil:
    """Append a reading; there is room."""
    cdef Held* held = &readings.held[readings.count]
    held.start_ms = row.start_ms
    held.end_ms = row.end_ms
    held.revision = row.revision
    held.sample = row.sample
    held.energy_mj = row.energy_mj
    held.meter = row.meter
    held.source = row.source
    held.cell = cell
    held.link = link
    held.before = cells[cell].newest
    held.bucket = <int16_t>row.bucket
    held.kind = row.kind
    held.sampled = sampled
    readings.first_end_ms = min(readings.first_end_ms, row.end_ms)
    cells[cell].newest = <int32_t>readings.count
    readings.count += 1
    return held


cdef inline int enter_all(Readings* readings, const Cell* cells) except -1:
    """Every reading into `instants`, in place of the one that it links to, if any."""
    cdef uint32_t[BLOCK] hashes
    cdef const Held* held
    cdef Py_ssize_t i, size
    cdef int32_t link
    cdef uint64_t at
    cdef uint64_t* entries
    if readings.entered == readings.count and readings.instants.entries != NULL:
        return 0
    reserve(&readings.instants, readings.count + 1)
    entries = readings.instants.entries
    while readings.entered < readings.count:
        size = min(<Py_ssize_t>BLOCK, readings.count - readings.entered)
        for i in range(size):
            held = &readings.held[readings.entered + i]
            hashes[i] = mixed(held.meter, cells[held.cell].register_, 0, held.end_ms)
            prefetch(&entries[hashes[i] & readings.instants.mask])
        for i in range(size):
            at = hashes[i] & readings.instants.mask
            link = readings.held[readings.entered + i].link
            while entries[at] != 0 and place_of(entries[at]) != link:
                at = (at + 1) & readings.instants.mask
            entries[at] = entry_of(hashes[i], readings.entered + i)
        readings.entered += size
    return 0


cdef inline uint64_t instant_of(
    const Readings* readings, const Cell* cells, const Sample* row, uint32_t* hashed
) noexcept nogil:
    """The table's place of the reading's instant: where it is, or where it would go."""
    cdef uint64_t at
    cdef const Held* there
    hashed[0] = mixed(row.meter, row.register_, 0, row.end_ms)
    at = hashed[0] & readings.instants.mask
    while readings.instants.entries[at] != 0:
        if readings.instants.entries[at] >> 32 == hashed[0]:
            there = &readings.held[place_of(readings.instants.entries[at])]
            if (there.end_ms == row.end_ms and there.meter == row.meter
                    and cells[there.cell].register_ == row.register_):
                break
        at = (at + 1) & readings.instants.mask
    return at


cdef inline int32_t mate_of(
    const Readings* readings, int32_t at, int kind, int64_t start_ms
) noexcept nogil:
    """The newest reading of the slot, from `at` on; -1 for a new slot."""
    while at != NONE and (readings.held[at].kind != kind
                          or readings.held[at].start_ms != start_ms):
        at = readings.held[at].link
    return at


cdef inline Held* winner_of(const Readings* readings, int32_t mate) noexcept nogil:
    """The reading of the slot that is sampled."""
    cdef int32_t at = mate
    cdef const Held* first = &readings.held[mate]
    while not readings.held[at].sampled:
        at = mate_of(readings, readings.held[at].link, first.kind, first.start_ms)
    return &readings.held[at]
