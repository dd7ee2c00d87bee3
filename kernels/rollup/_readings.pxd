# Readings of the compiled twin: how they are held, and how those of the same instant are found.
#
#     held      [reading 0][reading 1]...     in order of acceptance
#     apart     of some of them, in the same order: what most do not need
#     series    by (meter, register): the latest end that was accepted
#     instants  table: (series, end) -> newest reading of the instant
#
# A reading later than all of its series is the first of its instant: nobody looks into `instants`
# for it, and it is entered there only once some reading comes out of order.

from libc.stdint cimport int16_t, int32_t, int64_t, uint32_t, uint64_t
from libc.string cimport memset

from kernels.rollup._bucket cimport bucket_of
from kernels.rollup._layout cimport (
    APART,
    APARTS,
    ENERGY,
    KIND,
    LENGTH,
    NONE,
    SAMPLED,
    Apart,
    Cell,
    Held,
    Sample,
    Series,
)
from kernels.rollup._power cimport power
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
    Apart* apart
    Py_ssize_t apart_count, apart_room
    int64_t first_end_ms # no reading ends before
    Py_ssize_t entered   # the first so many are in `instants`
    Table instants
    Series* series
    Py_ssize_t series_count, series_room
    int32_t listings     # saves that listed their texts
    int32_t* by_meter    # first series of each meter by its code, + 1
    Py_ssize_t meters
    const int64_t* bounds # of the buckets
    const int16_t* guess


cdef inline void freed(Readings* readings) noexcept nogil:
    let_go(readings.held)
    let_go(readings.apart)
    let_go(readings.instants.entries)
    let_go(readings.series)
    let_go(readings.by_meter)


cdef inline int make_room(Readings* readings, Py_ssize_t more, Py_ssize_t texts) except -1:
    """Room for so many readings more, of meters whose codes are below `texts`."""
    if readings.count + more > readings.room:
        readings.room = larger_room(readings.count, more)
        readings.held = <Held*>grown(readings.held, readings.room, sizeof(Held))
    if readings.apart_count + more > APARTS:
        raise MemoryError("too many revised or long readings at once; shard the readings topic")
    if readings.apart_count + more > readings.apart_room:
        readings.apart_room = larger_room(readings.apart_count, more)
        readings.apart = <Apart*>grown(readings.apart, readings.apart_room, sizeof(Apart))
    if texts > readings.meters:
        texts *= 2
        readings.by_meter = <int32_t*>grown(readings.by_meter, texts, sizeof(int32_t))
        memset(
            readings.by_meter + readings.meters, 0, (texts - readings.meters) * sizeof(int32_t)
        )
        readings.meters = texts
    return 0


cdef inline int32_t series_of(Readings* readings, const Sample* row) except -1:
    """The reading's series, made if need be."""
    cdef int32_t place = readings.by_meter[row.meter] - 1
    while place != NONE:
        if readings.series[place].register_ == row.register_:
            return place
        place = readings.series[place].other
    return made_series(readings, row)


cdef inline int32_t made_series(Readings* readings, const Sample* row) except -1:
    cdef Series* series
    if readings.series_count == readings.series_room:
        readings.series_room = larger_room(readings.series_room, 1)
        readings.series = <Series*>grown(readings.series, readings.series_room, sizeof(Series))
    series = &readings.series[readings.series_count]
    series.latest_ms = <int64_t>1 << 63
    series.meter = row.meter
    series.register_ = row.register_
    series.source = row.source
    series.cell = NONE
    series.listed_by = 0
    series.other = readings.by_meter[row.meter] - 1
    readings.series_count += 1
    readings.by_meter[row.meter] = <int32_t>readings.series_count
    return <int32_t>(readings.series_count - 1)


cdef inline void hold(
    Readings* readings, const Sample* row, int32_t series, Cell* cells, int32_t cell,
    int32_t link, bint sampled
) noexcept nogil:
    """Append a reading; there is room."""
    cdef Held* held = &readings.held[readings.count]
    cdef uint64_t length = <uint64_t>row.end_ms - <uint64_t>row.start_ms
    held.end_ms = row.end_ms
    held.quantity = row.energy_mj if row.energy_mj else row.sample
    held.series = series
    held.cell = cell
    held.before = cells[cell].newest
    held.rest = (
        (SAMPLED if sampled else 0) | (ENERGY if row.energy_mj else 0)
        | <uint32_t>row.kind << KIND
    )
    if (length >> (32 - LENGTH) or row.revision or link != NONE
            or row.source != readings.series[series].source):
        held.rest |= APART | <uint32_t>readings.apart_count << LENGTH
        put_apart(readings, row, link)
    else:
        held.rest |= <uint32_t>length << LENGTH
    readings.first_end_ms = min(readings.first_end_ms, row.end_ms)
    cells[cell].several = held.before != NONE
    cells[cell].newest = <int32_t>readings.count
    readings.count += 1


cdef inline void put_apart(Readings* readings, const Sample* row, int32_t link) noexcept nogil:
    cdef Apart* apart = &readings.apart[readings.apart_count]
    apart.start_ms = row.start_ms
    apart.revision = row.revision
    apart.source = row.source
    apart.link = link
    readings.apart_count += 1


cdef inline Apart apart_of(const Readings* readings, int32_t reading) noexcept nogil:
    """Start, revision, source and link of a reading."""
    cdef const Held* held = &readings.held[reading]
    cdef Apart alone
    if held.rest & APART:
        return readings.apart[held.rest >> LENGTH]
    alone.start_ms = held.end_ms - <int64_t>(held.rest >> LENGTH)
    alone.revision = 0
    alone.source = readings.series[held.series].source
    alone.link = NONE
    return alone


cdef inline int kind_of(const Held* held) noexcept nogil:
    return held.rest >> KIND & 3


cdef inline int64_t energy_of(const Held* held) noexcept nogil:
    return held.quantity if held.rest & ENERGY else 0


cdef inline int64_t sample_of(const Readings* readings, int32_t reading) noexcept nogil:
    cdef const Held* held = &readings.held[reading]
    cdef int64_t sample = held.quantity
    if held.rest & ENERGY:
        power(held.quantity, held.end_ms - apart_of(readings, reading).start_ms, &sample)
    return sample


cdef inline int32_t bucket_in(const Readings* readings, int32_t reading) noexcept nogil:
    """The bucket of the reading's sample."""
    return bucket_of(sample_of(readings, reading), readings.bounds, readings.guess)


cdef inline int enter_all(Readings* readings) except -1:
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
            hashes[i] = mixed(held.series, 0, 0, held.end_ms)
            prefetch(&entries[hashes[i] & readings.instants.mask])
        for i in range(size):
            at = hashes[i] & readings.instants.mask
            link = apart_of(readings, <int32_t>(readings.entered + i)).link
            while entries[at] != 0 and place_of(entries[at]) != link:
                at = (at + 1) & readings.instants.mask
            entries[at] = entry_of(hashes[i], readings.entered + i)
        readings.entered += size
    return 0


cdef inline uint64_t instant_of(
    const Readings* readings, int32_t series, int64_t end_ms, uint32_t* hashed
) noexcept nogil:
    """The table's place of the instant: where it is, or where it would go."""
    cdef uint64_t at
    cdef const Held* there
    hashed[0] = mixed(series, 0, 0, end_ms)
    at = hashed[0] & readings.instants.mask
    while readings.instants.entries[at] != 0:
        if readings.instants.entries[at] >> 32 == hashed[0]:
            there = &readings.held[place_of(readings.instants.entries[at])]
            if there.end_ms == end_ms and there.series == series:
                break
        at = (at + 1) & readings.instants.mask
    return at


cdef inline int32_t mate_of(
    const Readings* readings, int32_t at, int kind, int64_t start_ms
) noexcept nogil:
    """The newest reading of the slot, from `at` on; -1 for a new slot."""
    cdef Apart apart
    while at != NONE:
        apart = apart_of(readings, at)
        if apart.start_ms == start_ms and kind_of(&readings.held[at]) == kind:
            break
        at = apart.link
    return at


cdef inline int32_t winner_of(const Readings* readings, int32_t mate) noexcept nogil:
    """The reading of the slot that is sampled."""
    cdef int32_t at = mate
    while not readings.held[at].rest & SAMPLED:
        at = mate_of(
            readings,
            apart_of(readings, at).link,
            kind_of(&readings.held[mate]),
            apart_of(readings, mate).start_ms,
        )
    return at
