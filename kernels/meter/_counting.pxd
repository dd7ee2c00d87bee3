"""A slot's usage, and a counter's difference between two readings: as the reference has them."""

from libc.stdint cimport int32_t, int64_t

from kernels.meter._reading cimport REGISTER, Rates, Reading
from kernels.meter._store cimport Slot, Store, beside_at, rates_at, reading_at, slot_at

cdef extern from *:
    """
    typedef __int128 gridloom_wide;
    """
    ctypedef long long gridloom_wide

cdef enum:  # places in layout.UNITS and layout.USAGE_QUALITIES
    MJ = 0
    QUESTIONABLE = 2
    RESET = 3


cdef inline void count_up(const Reading* previous, Rates rates, Reading* row) noexcept nogil:
    """reference.difference, written into the later reading's row."""
    cdef gridloom_wide allowed_mj = <gridloom_wide>rates.rating_w * (row.end_ms - previous.end_ms)
    cdef bint unbounded = rates.rating_w == 0 or row.unit != MJ
    cdef int64_t counted
    row.start_ms = previous.end_ms
    if row.unit == previous.unit and row.epoch >= previous.epoch:
        if row.epoch == previous.epoch:
            counted = row.quantity - previous.quantity
            if rates.register_modulus > 0:
                counted %= rates.register_modulus
                if counted < 0:
                    counted += rates.register_modulus
            if counted >= 0 and (unbounded or counted <= allowed_mj):
                row.quantity = counted
                row.quality = max(previous.quality, row.quality)
                return
        if unbounded or row.quantity <= allowed_mj:
            row.quality = RESET
            return
    row.quantity = 0
    row.quality = QUESTIONABLE


cdef inline const Reading* usage_of(
    const Store* store, const Slot* slot, Reading* counted
) noexcept nogil:
    """The reading that is the slot's usage; a counter's is made in `counted`.

    NULL for a counter's first reading: there counting starts.
    """
    cdef const Reading* winner = reading_at(store, slot.winner)
    cdef int32_t before
    if winner.kind != REGISTER:
        return winner
    before = beside_at(store, winner.slot).before
    if before == -1:
        return NULL
    counted[0] = winner[0]
    count_up(
        reading_at(store, slot_at(store, before).winner), rates_at(store, slot.winner)[0], counted
    )
    return counted
