"""The ledger, for the loops that read batches into it and write usage from it."""

cimport cython
from libc.stdint cimport int32_t, int64_t, uint8_t

from kernels.meter._reading cimport Rates, Reading, Row
from kernels.meter._store cimport Store
from kernels.meter._table cimport Table

cdef enum:
    BATCH_ROWS = 128  # rows that are looked at together: they stay in the first cache
    NONE = -1


@cython.final
cdef class Ledger:
    cdef public int64_t retention_ms
    cdef public int64_t watermark_ms
    cdef readonly object names
    cdef Store store
    cdef Py_ssize_t count, slot_count
    cdef int64_t earliest_ms  # no reading held ends before it
    cdef Table table
    cdef dict tails
    cdef int32_t* changed  # slots that the batch touched, in that order
    cdef Py_ssize_t changed_count, changed_room
    cdef int32_t batch

    cdef int begin(self, Py_ssize_t size) except -1
    cdef Reading* room(self, Py_ssize_t* size) noexcept nogil
    cdef int take(
        self, const Reading* rows, const Rates* rates, Py_ssize_t size, Py_ssize_t first,
        uint8_t* outcomes, list refused,
    ) except -1
    cpdef int reserve(self, Py_ssize_t count) except -1
    cdef void _row(self, Py_ssize_t place, int32_t revision, Row* row) noexcept nogil
    cdef _usage(self)
    cdef void _index(self) noexcept nogil
