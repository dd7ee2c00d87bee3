# Cells and windows of the compiled twin: how a reading's are found, made and added to.
#
#     cells    readings of one place, register, unit and window; table of those before a track's latest
#     tracks   the cells of one site, register and rack; the latest window that has any
#     windows  table of those of sites and hubs; a rack's is that of any of its cells
#
# A cell of a window later than all of its track is the first there: nobody looks for it, and it is
# entered in the cells' table only once somebody looks for an earlier one.
# A batch's samples gather by cell, and their windows are told of them together.

from libc.stdint cimport (
    INT64_MAX,
    INT64_MIN,
    int16_t,
    int32_t,
    int64_t,
    uint8_t,
    uint32_t,
    uint64_t,
)
from libc.stdlib cimport free
from libc.string cimport memset

from kernels.rollup._layout cimport (
    GATHERED,
    LEVELS,
    NONE,
    OTHER_UNIT,
    OVERFLOW,
    Cell,
    Gathered,
    Recent,
    Sample,
    Track,
    Window,
)
from kernels.rollup._readings cimport Readings, energy_of, sample_of
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
from kernels.rollup._window cimport add, add_one

cdef enum:
    BLOCK = 32  # entries asked of memory together
    RACK = 0
    SITE = 1
    RECENT = 256  # windows known at once: their sites' and hubs' registers take turns
    TOLD = 4096  # cells that gather at a time: they and their windows stay in the second cache

cdef struct Places:
    Cell* cells
    Window* windows
    Track* tracks
    Table by_cell        # of the first `cells_entered`
    Table by_track
    Table by_window
    Recent* recent       # by a hash of level, place and register
    Py_ssize_t cell_count, cell_room, window_count, window_room, entered_count
    Py_ssize_t cells_entered, track_count, track_room
    int32_t* racks       # windows that the batch touched, in that order: those of racks,
    int32_t* others      # and those of sites and hubs
    Py_ssize_t racks_count, others_count, others_room
    Gathered* gathered   # of the cells that the batch added to since the windows were told
    Py_ssize_t gathered_count
    int32_t batch
    int32_t* moved       # what _compact.pxd writes where everything went; kept for the next time
    size_t moved_room


cdef inline void released(Places* places) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(places.window_count):
        free(places.windows[i].counts)
    let_go(places.cells)
    let_go(places.windows)
    let_go(places.tracks)
    let_go(places.by_cell.entries)
    let_go(places.by_track.entries)
    let_go(places.by_window.entries)
    let_go(places.recent)
    let_go(places.racks)
    let_go(places.others)
    let_go(places.gathered)
    let_go(places.moved)


cdef inline int begin(Places* places) except -1:
    """A batch begins."""
    places.batch += 1
    places.racks_count = places.others_count = places.gathered_count = 0
    if places.gathered == NULL:
        places.gathered = <Gathered*>grown(NULL, TOLD, sizeof(Gathered))
        places.recent = <Recent*>grown(NULL, RECENT, sizeof(Recent))
        forget(places)
    return 0


cdef inline bint is_in(const Sample* row, const Cell* cell) noexcept nogil:
    return (
        cell.window_ms == row.window_ms and cell.site == row.site and cell.rack == row.rack
        and cell.hub == row.hub and cell.register_ == row.register_
        and cell.levels == row.levels and cell.unit == row.unit
    )


cdef inline int32_t track_of(Places* places, const Sample* row) except -1:
    """The track of the reading's site, register and rack, made if need be."""
    cdef uint32_t hashed = mixed(row.site, row.register_, row.rack, 0)
    cdef uint64_t at
    cdef Track* track
    reserve(&places.by_track, places.track_count + 1)
    at = hashed & places.by_track.mask
    while places.by_track.entries[at] != 0:
        if places.by_track.entries[at] >> 32 == hashed:
            track = &places.tracks[place_of(places.by_track.entries[at])]
            if (track.rack == row.rack and track.site == row.site
                    and track.register_ == row.register_):
                return place_of(places.by_track.entries[at])
        at = (at + 1) & places.by_track.mask
    if places.track_count == places.track_room:
        places.track_room = larger_room(places.track_room, 1)
        places.tracks = <Track*>grown(places.tracks, places.track_room, sizeof(Track))
    track = &places.tracks[places.track_count]
    track.latest_ms = INT64_MIN
    track.cell = NONE
    track.listed_by = 0
    track.site = row.site
    track.register_ = row.register_
    track.rack = row.rack
    places.by_track.entries[at] = entry_of(hashed, places.track_count)
    places.track_count += 1
    return <int32_t>(places.track_count - 1)


cdef inline int enter_cells(Places* places) except -1:
    """Every cell into the table of cells."""
    cdef uint32_t[BLOCK] hashes
    cdef const Cell* cell
    cdef Py_ssize_t i, size
    cdef uint64_t at
    cdef uint64_t* entries
    reserve(&places.by_cell, places.cell_count + 1)
    entries = places.by_cell.entries
    while places.cells_entered < places.cell_count:
        size = min(<Py_ssize_t>BLOCK, places.cell_count - places.cells_entered)
        for i in range(size):
            cell = &places.cells[places.cells_entered + i]
            hashes[i] = mixed(cell.site, cell.register_, cell.rack, cell.window_ms)
            prefetch(&entries[hashes[i] & places.by_cell.mask])
        for i in range(size):
            at = hashes[i] & places.by_cell.mask
            while entries[at] != 0:
                at = (at + 1) & places.by_cell.mask
            entries[at] = entry_of(hashes[i], places.cells_entered + i)
        places.cells_entered += size
    return 0


cdef inline int32_t cell_of(
    const Places* places, const Sample* row, int32_t* rack
) noexcept nogil:
    """The reading's cell, or -1, with every cell entered; `rack`: the window of its rack, or -1."""
    cdef int32_t place
    cdef const Cell* there
    cdef uint32_t hashed = mixed(row.site, row.register_, row.rack, row.window_ms)
    cdef uint64_t at = hashed & places.by_cell.mask
    rack[0] = NONE
    while places.by_cell.entries[at] != 0:
        if places.by_cell.entries[at] >> 32 == hashed:
            place = place_of(places.by_cell.entries[at])
            there = &places.cells[place]
            if is_in(row, there):
                rack[0] = there.places[RACK]
                return place
            if (there.window_ms == row.window_ms and there.rack == row.rack
                    and there.site == row.site and there.register_ == row.register_
                    and there.places[RACK] != NONE):
                rack[0] = there.places[RACK]
        at = (at + 1) & places.by_cell.mask
    return NONE


cdef inline void forget(Places* places) noexcept nogil:
    """The windows' places are others: none is known at once."""
    memset(places.recent, 0, RECENT * sizeof(Recent))


cdef inline int32_t window_of(Places* places, const Sample* row, uint8_t level) noexcept nogil:
    """The reading's window by site or hub, or -1."""
    cdef int32_t place = row.site if level == SITE else row.hub
    cdef uint32_t near = <uint32_t>place * 2 + level + <uint32_t>row.register_ * 61
    cdef Recent* recent = &places.recent[near % RECENT]
    if not (recent.window_ms == row.window_ms and recent.place == place
            and recent.register_ == row.register_ and recent.level == level):
        recent.window = found_window(places, row, level, place)
        recent.window_ms = row.window_ms
        recent.place = place
        recent.register_ = row.register_
        recent.level = level if recent.window != NONE else 0
    return recent.window


cdef inline int32_t found_window(
    const Places* places, const Sample* row, uint8_t level, int32_t place
) noexcept nogil:
    """The window of that site or hub by the table, or -1."""
    cdef int32_t window
    cdef const Cell* there
    cdef uint32_t hashed = mixed(place, row.register_, level, row.window_ms)
    cdef uint64_t at = hashed & places.by_window.mask
    while places.by_window.entries[at] != 0:
        if places.by_window.entries[at] >> 32 == hashed:
            window = place_of(places.by_window.entries[at])
            there = &places.cells[places.windows[window].first]
            if (there.window_ms == row.window_ms and places.windows[window].level == level
                    and there.register_ == row.register_
                    and (there.site if level == SITE else there.hub) == place):
                return window
        at = (at + 1) & places.by_window.mask
    return NONE


cdef inline void enter_window(Places* places, int32_t window) noexcept nogil:
    """A window of a site or hub into its table, which has room and not yet such a one."""
    cdef uint8_t level = places.windows[window].level
    cdef const Cell* first = &places.cells[places.windows[window].first]
    cdef int32_t place = first.site if level == SITE else first.hub
    cdef uint32_t hashed = mixed(place, first.register_, level, first.window_ms)
    cdef uint64_t at = hashed & places.by_window.mask
    while places.by_window.entries[at] != 0:
        at = (at + 1) & places.by_window.mask
    places.by_window.entries[at] = entry_of(hashed, window)
    places.entered_count += 1


cdef inline int32_t known_windows(
    Places* places, const Sample* row, int32_t track, int32_t* found
) except -2:
    """The reading's cell, or -1; `found`: by level its windows that are there, -1 for the others."""
    cdef int32_t level, rack = NONE, cell = places.tracks[track].cell
    if cell != NONE and row.window_ms > places.tracks[track].latest_ms:
        cell = NONE
    elif cell != NONE and not is_in(row, &places.cells[cell]):
        enter_cells(places)
        cell = cell_of(places, row, &rack)
    for level in range(LEVELS):
        found[level] = NONE
        if row.levels >> level & 1:
            if cell != NONE:
                found[level] = places.cells[cell].places[level]
            elif level == RACK:
                found[level] = rack
            else:
                found[level] = window_of(places, row, <uint8_t>level)
    return cell


cdef inline int misfit(
    const Places* places, const Sample* row, const int32_t* known, const Readings* readings,
    int32_t winner, bint decides
) noexcept nogil:
    """Why the sample cannot be added to these windows in place of `winner`, or -1; 0 if it can."""
    cdef int32_t level, k
    cdef int64_t total, total_mj
    for level in range(LEVELS):
        if known[level] == NONE:
            continue
        if places.windows[known[level]].unit != row.unit:
            return OTHER_UNIT
        if not decides:
            continue
        total = places.windows[known[level]].sum
        total_mj = places.windows[known[level]].energy_mj
        if winner != NONE:
            for k in range(LEVELS):
                if places.cells[readings.held[winner].cell].places[k] == known[level]:
                    total -= sample_of(readings, winner)
                    total_mj -= energy_of(&readings.held[winner])
        if total > INT64_MAX - row.sample or total_mj > INT64_MAX - row.energy_mj:
            return OVERFLOW
    return 0


cdef inline int32_t made_cell(
    Places* places, const Sample* row, int32_t track, const int32_t* known
) except -1:
    """A new cell of the track for the reading; of its windows those of `known` are there."""
    cdef int32_t level, place, new = <int32_t>places.cell_count
    cdef Cell* cell
    if places.cell_count == places.cell_room:
        places.cell_room = larger_room(places.cell_room, 1)
        places.cells = <Cell*>grown(places.cells, places.cell_room, sizeof(Cell))
    cell = &places.cells[new]
    cell.window_ms = row.window_ms
    cell.site = row.site
    cell.rack = row.rack
    cell.hub = row.hub
    cell.register_ = row.register_
    cell.levels = row.levels
    cell.unit = row.unit
    cell.several = False
    cell.gathered = cell.newest = NONE
    cell.track = track
    if row.window_ms >= places.tracks[track].latest_ms:
        places.tracks[track].latest_ms = row.window_ms
        places.tracks[track].cell = new
    places.cell_count += 1
    for level in range(LEVELS):
        place = NONE
        if row.levels >> level & 1:
            place = known[level]
            if place == NONE:
                place = made_window(places, row, <uint8_t>level, new)
            cell.others[level] = places.windows[place].cells
            places.windows[place].cells = new
        cell.places[level] = place
    return new


cdef inline int32_t made_window(
    Places* places, const Sample* row, uint8_t level, int32_t cell
) except -1:
    """The window of the level that the reading is in, and the cell is its first."""
    cdef Window* window
    if places.window_count == places.window_room:
        places.window_room = larger_room(places.window_room, 1)
        places.windows = <Window*>grown(places.windows, places.window_room, sizeof(Window))
        places.racks = <int32_t*>grown(places.racks, places.window_room, sizeof(int32_t))
    window = &places.windows[places.window_count]
    memset(window, 0, sizeof(Window))
    window.level = level
    window.unit = row.unit
    window.first = cell
    window.cells = NONE
    if level != RACK:
        reserve(&places.by_window, places.entered_count + 1)
        if places.entered_count == places.others_room:
            places.others_room = larger_room(places.others_room, 1)
            places.others = <int32_t*>grown(places.others, places.others_room, sizeof(int32_t))
        enter_window(places, <int32_t>places.window_count)
    places.window_count += 1
    return <int32_t>(places.window_count - 1)


cdef inline void touch(Places* places, int32_t place) noexcept nogil:
    if places.windows[place].touched_by != places.batch:
        places.windows[place].touched_by = places.batch
        if places.windows[place].level == RACK:
            places.racks[places.racks_count] = place
            places.racks_count += 1
        else:
            places.others[places.others_count] = place
            places.others_count += 1


cdef inline int add_first(
    Places* places, int32_t place, const Sample* row, const Readings* readings
) except -1:
    """Add the first reading of a cell to its windows at once; it is held later."""
    cdef const Cell* cell = &places.cells[place]
    cdef Window* window
    cdef int32_t level
    for level in range(LEVELS):
        if cell.places[level] != NONE:
            window = &places.windows[cell.places[level]]
            touch(places, cell.places[level])
            add_one(window, row, places.cells, places.gathered, readings)
            window.revision += 1
    return 0


cdef inline int gather(
    Places* places, int32_t place, const Sample* row, const Readings* readings
) except -1:
    """Add the reading to what its cell has gathered; its windows are touched, and told later."""
    cdef Gathered* gathered
    if places.cells[place].gathered == NONE:
        begin_gathering(places, place)
    gathered = &places.gathered[places.cells[place].gathered]
    gathered.sum += row.sample
    gathered.energy_mj += row.energy_mj
    gathered.min = min(gathered.min, row.sample)
    gathered.max = max(gathered.max, row.sample)
    gathered.buckets[gathered.size] = <int16_t>row.bucket
    gathered.size += 1
    if gathered.size == GATHERED:
        tell(places, gathered, readings)
    return 0


cdef inline void begin_gathering(Places* places, int32_t place) noexcept nogil:
    cdef Cell* cell = &places.cells[place]
    cdef int32_t level
    cell.gathered = <int32_t>places.gathered_count
    places.gathered_count += 1
    places.gathered[cell.gathered].cell = place
    empty(&places.gathered[cell.gathered])
    for level in range(LEVELS):
        if cell.places[level] != NONE:
            touch(places, cell.places[level])


cdef inline void empty(Gathered* gathered) noexcept nogil:
    gathered.size = 0
    gathered.sum = gathered.energy_mj = 0
    gathered.min = 0x7FFFFFFFFFFFFFFF
    gathered.max = 0


cdef inline int tell(Places* places, Gathered* gathered, const Readings* readings) except -1:
    """Add what was gathered to its windows."""
    cdef const Cell* cell = &places.cells[gathered.cell]
    cdef Window* window
    cdef int32_t level
    for level in range(LEVELS):
        if cell.places[level] != NONE:
            window = &places.windows[cell.places[level]]
            add(window, gathered, places.cells, places.gathered, readings)
            window.revision += gathered.size
    empty(gathered)
    return 0


cdef inline int tell_all(Places* places, const Readings* readings) except -1:
    """Now every window has all of its samples."""
    cdef Py_ssize_t i
    for i in range(places.gathered_count):
        if places.gathered[i].size:
            tell(places, &places.gathered[i], readings)
        places.cells[places.gathered[i].cell].gathered = NONE
    places.gathered_count = 0
    return 0
