"""Arrow's C data interface: columns as they are in memory, without an object for each.

https://arrow.apache.org/docs/format/CDataInterface.html

What `__arrow_c_array__` hands over: of a batch its columns as children.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t


cdef struct ArrowSchema:
    const char* format
    const char* name
    const char* metadata
    int64_t flags
    int64_t n_children
    ArrowSchema** children
    ArrowSchema* dictionary
    void (*release)(ArrowSchema*) noexcept nogil
    void* private_data


cdef struct ArrowArray:
    int64_t length
    int64_t null_count  # -1: not counted
    int64_t offset
    int64_t n_buffers
    int64_t n_children
    const void** buffers
    ArrowArray** children
    ArrowArray* dictionary
    void (*release)(ArrowArray*) noexcept nogil
    void* private_data


cdef inline bint has_null(const ArrowArray* array) noexcept nogil:
    cdef const uint8_t* valid = <const uint8_t*>array.buffers[0]
    cdef int64_t at
    if valid == NULL or array.null_count == 0:
        return False
    if array.null_count > 0:
        return True
    for at in range(array.offset, array.offset + array.length):
        if not valid[at >> 3] >> (at & 7) & 1:
            return True
    return False


cdef inline int check_indices(const int32_t* indices, Py_ssize_t size, int64_t count) except -1:
    """A row that names a text beyond its dictionary is an error, not another text."""
    cdef uint32_t known = <uint32_t>count, beyond = 0
    cdef Py_ssize_t i
    for i in range(size):
        beyond |= <uint32_t>indices[i] >= known
    if beyond:
        raise IndexError(f"a row names a text beyond the {count} of its dictionary")
    return 0
