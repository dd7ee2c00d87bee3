# Dropping readings of the compiled twin in place: what stays moves up, in its order.
#
#     readings  what is before one in its cell, or shares its instant, is told by its new place
#     cells     stay while they have a reading; so do windows while they have a cell
#     series    stay, and so do tracks: there are no more of them than texts allow
#
# All readings of an instant go together, and a window that loses any is closed: nobody adds to it.
# The memory stays the state's, for a fresh page costs more than what is written there.

from libc.stdint cimport INT64_MAX, INT64_MIN, int32_t, int64_t, uint32_t
from libc.stdlib cimport free

from kernels.rollup._layout cimport APART, LENGTH, LEVELS, NONE, Apart, Cell, Held, Track, Window
from kernels.rollup._places cimport RACK, Places, enter_window, forget
from kernels.rollup._readings cimport Readings
from kernels.rollup._tables cimport emptied, grown

cdef enum:
    STAYS = -1  # of a window, in place of the batch that touched it

cdef struct Moved:  # new places by the old; -1 for what went
    int32_t* readings  # of one that went: that of the next older of its cell that stayed, or -1
    int32_t* cells
    int32_t* windows


cdef inline int64_t drop_until(
    Readings* readings, Places* places, int64_t closed_ms
) except -1:
    """Drop the readings that end then or before, and what only they are in; gives the largest sum
    of samples or energies of a window."""
    cdef size_t rows = readings.count, cells = places.cell_count, windows = places.window_count
    cdef int64_t most
    cdef Moved moved
    if rows + cells + windows >= places.moved_room:
        places.moved_room = rows + cells + windows + 1
        places.moved = <int32_t*>grown(places.moved, places.moved_room, sizeof(int32_t))
    moved.readings = places.moved
    moved.cells = moved.readings + rows
    moved.windows = moved.cells + cells
    with nogil:
        move_readings(readings, &moved, closed_ms)
        move_cells(places, &moved)
        most = move_windows(places, &moved)
        tell_readings(readings, &moved)
        tell_cells(places, &moved)
    return most


cdef inline void move_readings(
    Readings* readings, const Moved* moved, int64_t closed_ms
) noexcept nogil:
    cdef int32_t i, before, size = 0
    cdef Held* held
    readings.apart_count = 0
    readings.first_end_ms = INT64_MAX
    for i in range(<int32_t>readings.count):
        held = &readings.held[i]
        before = NONE if held.before == NONE else moved.readings[held.before]
        if held.end_ms <= closed_ms:
            moved.readings[i] = before
            continue
        held.before = before
        if held.rest & APART:
            keep_apart(readings, moved, held)
        readings.first_end_ms = min(readings.first_end_ms, held.end_ms)
        moved.readings[i] = size
        readings.held[size] = held[0]
        size += 1
    readings.count = size
    readings.entered = 0
    emptied(&readings.instants)


cdef inline void keep_apart(
    Readings* readings, const Moved* moved, Held* held
) noexcept nogil:
    cdef Apart* kept = &readings.apart[readings.apart_count]
    kept[0] = readings.apart[held.rest >> LENGTH]
    held.rest &= (1 << LENGTH) - 1
    held.rest |= <uint32_t>readings.apart_count << LENGTH
    if kept.link != NONE:
        kept.link = moved.readings[kept.link]
    readings.apart_count += 1


cdef inline void move_cells(Places* places, const Moved* moved) noexcept nogil:
    """Cells with a reading; the chains of their windows, by the old places, are made again."""
    cdef int32_t i, level, newest, size = 0
    cdef Cell* cell
    cdef Track* track
    cdef Window* window
    for i in range(<int32_t>places.track_count):
        places.tracks[i].latest_ms = INT64_MIN
        places.tracks[i].cell = NONE
    for i in range(<int32_t>places.cell_count):
        newest = moved.readings[places.cells[i].newest]
        if newest == NONE:
            moved.cells[i] = NONE
            continue
        moved.cells[i] = size
        cell = &places.cells[size]
        cell[0] = places.cells[i]
        cell.newest = newest
        track = &places.tracks[cell.track]
        if cell.window_ms >= track.latest_ms:
            track.latest_ms = cell.window_ms
            track.cell = size
        for level in range(LEVELS):
            if cell.places[level] != NONE:
                window = &places.windows[cell.places[level]]
                if window.touched_by != STAYS:
                    window.touched_by = STAYS
                    window.first = size
                    window.cells = NONE
                cell.others[level] = window.cells
                window.cells = size
        size += 1
    places.cell_count = size
    places.cells_entered = 0
    emptied(&places.by_cell)


cdef inline int64_t move_windows(Places* places, const Moved* moved) noexcept nogil:
    """Windows with a cell; gives the largest of their sums."""
    cdef int32_t i, size = 0
    cdef int64_t most = 0
    cdef Window* window
    emptied(&places.by_window)
    forget(places)
    places.entered_count = 0
    for i in range(<int32_t>places.window_count):
        if places.windows[i].touched_by != STAYS:
            free(places.windows[i].counts)
            moved.windows[i] = NONE
            continue
        moved.windows[i] = size
        window = &places.windows[size]
        window[0] = places.windows[i]
        window.touched_by = 0
        most = max(most, window.sum, window.energy_mj)
        if window.level != RACK:
            enter_window(places, size)
        size += 1
    places.window_count = size
    places.batch = 0
    return most


cdef inline void tell_readings(Readings* readings, const Moved* moved) noexcept nogil:
    """The new places of their cells."""
    cdef Py_ssize_t i
    for i in range(readings.count):
        readings.held[i].cell = moved.cells[readings.held[i].cell]
    for i in range(readings.series_count):
        if readings.series[i].cell != NONE:
            readings.series[i].cell = moved.cells[readings.series[i].cell]


cdef inline void tell_cells(Places* places, const Moved* moved) noexcept nogil:
    """The new places of their windows."""
    cdef Py_ssize_t i
    cdef int32_t level
    for i in range(places.cell_count):
        for level in range(LEVELS):
            if places.cells[i].places[level] != NONE:
                places.cells[i].places[level] = moved.windows[places.cells[i].places[level]]
