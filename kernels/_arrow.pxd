"""Arrow arrays in memory, by Arrow's C data interface: what `__arrow_c_array__` hands over.

https://arrow.apache.org/docs/format/CDataInterface.html
"""

from libc.stdint cimport int64_t, uint8_t


cdef struct ArrowArray:
    int64_t length
    int64_t null_count
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
    for at in range(array.offset, array.offset + array.length):
        if not valid[at >> 3] >> (at & 7) & 1:
            return True
    return False
