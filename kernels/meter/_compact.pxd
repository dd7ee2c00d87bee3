"""Readings dropped in place: those that are kept move down, in their order, and so do their slots."""

from libc.stdint cimport int32_t

from kernels.meter._reading cimport REGISTER, Reading
from kernels.meter._store cimport (
    Beside,
    Slot,
    Store,
    beside_at,
    link_at,
    rates_at,
    reading_at,
    slot_at,
)

cdef enum:
    DROPPED = -1  # as a place; as a link and as a neighbour -1 is none


cdef inline void unlink(Store* store, const int32_t* place, Py_ssize_t at) noexcept nogil:
    """The next reading of the instant of reading `at`: the next that is kept, those before it being
    unlinked already."""
    cdef int32_t* link = link_at(store, at)
    if link[0] != DROPPED and place[link[0]] == DROPPED:
        link[0] = link_at(store, link[0])[0]  # which is a kept one, or none


cdef inline Py_ssize_t move_kept(
    Store* store, const int32_t* place, Py_ssize_t count, int32_t* moved, Py_ssize_t slot_count
) noexcept nogil:
    """Move each reading to its place, and each slot that has one; how many slots there are then.

    moved: the new place of each slot, all DROPPED before; slots stay in the order of first readings.
    """
    cdef Py_ssize_t i
    cdef int32_t slots = 0, older
    cdef Reading* reading
    cdef Slot slot
    cdef Beside beside
    for i in range(count):
        if place[i] == DROPPED:
            continue
        older = link_at(store, i)[0]
        link_at(store, place[i])[0] = place[older] if older != DROPPED else DROPPED
        reading = reading_at(store, place[i])
        reading[0] = reading_at(store, i)[0]
        if reading.kind == REGISTER:
            rates_at(store, place[i])[0] = rates_at(store, i)[0]
        if moved[reading.slot] == DROPPED:
            moved[reading.slot] = slots
            slots += 1
        reading.slot = moved[reading.slot]
    for i in range(slot_count):
        if moved[i] == DROPPED:
            continue
        slot = slot_at(store, i)[0]
        slot.winner = place[slot.winner]
        slot_at(store, moved[i])[0] = slot
        if reading_at(store, slot.winner).kind == REGISTER:
            beside = beside_at(store, i)[0]
            beside.before = moved[beside.before] if beside.before != DROPPED else DROPPED
            beside.after = moved[beside.after] if beside.after != DROPPED else DROPPED
            beside_at(store, moved[i])[0] = beside
    return slots
