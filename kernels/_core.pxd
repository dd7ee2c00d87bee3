"""The table of texts, for the kernels whose loops look up texts themselves."""

from libc.stdint cimport int32_t, int64_t, uint64_t

cdef enum:
    SLACK = 16  # bytes behind the last text that may be read and written with it


cdef class Texts:
    cdef readonly list names
    cdef char* arena
    cdef int64_t* ends
    cdef uint64_t* hashes
    cdef int32_t* table
    cdef int32_t* place  # of a text in the list that is being made, + 1; zero between calls
    cdef uint64_t mask
    cdef Py_ssize_t count, room, arena_room
    cdef int32_t last  # the code that was asked for last

    cdef int32_t find(self, const char* text, Py_ssize_t size) except -1
    cdef Py_ssize_t renumber(self, int32_t* codes, Py_ssize_t size, int32_t* used) noexcept nogil
    cdef int64_t length(self, const int32_t* codes, Py_ssize_t size) noexcept nogil
    cdef void write(
        self, const int32_t* codes, Py_ssize_t size, int32_t* offsets, char* data
    ) noexcept nogil
    cdef int _reserve(self, Py_ssize_t room) except -1
