"""The ledger, for the loops that pack its readings."""

cimport cython
from libc.stdint cimport int32_t, int64_t

from kernels.rollup._layout cimport Row, Sample, Saved, Window
from kernels.rollup._places cimport Places
from kernels.rollup._readings cimport Readings


@cython.final
cdef class Ledger:
    cdef public int64_t open_ms
    cdef public int64_t watermark_ms
    cdef readonly object names
    cdef Readings readings
    cdef Places places
    cdef int64_t most  # no sum of samples or of energies is above it
    cdef list narrowed  # windows that lost their smallest or largest sample

    cdef void _save(self, Saved* row, Py_ssize_t i) noexcept nogil
    cdef bint _is_live(self, Py_ssize_t i) noexcept nogil
    cdef int _begin(self, Py_ssize_t rows) except -1
    cdef int _end(self) except -1
    cdef int _put(self, const Sample* row) except -1
    cdef int _put_first(self, const Sample* row, int32_t place, int32_t cell) except -1
    cdef void _count_in(self, int64_t sample, int64_t energy_mj) noexcept nogil
    cdef int32_t _cell_for(self, const Sample* row, int32_t last) except -3
    cdef int _put_beside(self, const Sample* row, int32_t series, int32_t head) except -1
    cdef int _exchange(self, const Sample* row, int32_t cell, int32_t winner) except -1
    cdef bint _is_better(self, const Sample* one, int32_t reading) except -1
    cdef int _misfit_alone(self, const Sample* row) except -1
    cdef int _touch_slot(self, int32_t cell, int32_t mate) except -1
    cdef int _note_narrowed(self, int32_t place) except -1
    cdef _rows(self)
    cdef void _row(self, Row* out, const Window* window) noexcept nogil
    cdef _sketches(self)
