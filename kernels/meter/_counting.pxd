"""A counter's difference between two neighbouring readings: the compiled reference.difference."""

from libc.stdint cimport int64_t

from kernels.meter._reading cimport Reading

cdef extern from *:
    """
    typedef __int128 gridloom_wide;
    """
    ctypedef long long gridloom_wide

cdef enum:  # places in layout.UNITS and layout.USAGE_QUALITIES
    MJ = 0
    QUESTIONABLE = 2
    RESET = 3


cdef inline void count_up(const Reading* previous, Reading* row) noexcept nogil:
    """reference.difference, written into the later reading's row."""
    cdef gridloom_wide allowed_mj = <gridloom_wide>row.rating_w * (row.end_ms - previous.end_ms)
    cdef bint unbounded = row.rating_w == 0 or row.unit != MJ
    cdef int64_t counted
    row.start_ms = previous.end_ms
    if row.unit == previous.unit and row.epoch >= previous.epoch:
        if row.epoch == previous.epoch:
            counted = row.quantity - previous.quantity
            if row.register_modulus > 0:
                counted %= row.register_modulus
                if counted < 0:
                    counted += row.register_modulus
            if counted >= 0 and (unbounded or counted <= allowed_mj):
                row.quantity = counted
                row.quality = max(previous.quality, row.quality)
                return
        if unbounded or row.quantity <= allowed_mj:
            row.quality = RESET
            return
    row.quantity = 0
    row.quality = QUESTIONABLE
