# The Arrow C data interface: a batch's columns as they are in memory, without an object for each.

from libc.stdint cimport int64_t

cdef extern from *:
    """
    #ifndef ARROW_C_DATA_INTERFACE
    #define ARROW_C_DATA_INTERFACE
    #include <stdint.h>
    struct ArrowSchema {
      const char* format; const char* name; const char* metadata;
      int64_t flags; int64_t n_children;
      struct ArrowSchema** children; struct ArrowSchema* dictionary;
      void (*release)(struct ArrowSchema*); void* private_data;
    };
    struct ArrowArray {
      int64_t length; int64_t null_count; int64_t offset; int64_t n_buffers; int64_t n_children;
      const void** buffers; struct ArrowArray** children; struct ArrowArray* dictionary;
      void (*release)(struct ArrowArray*); void* private_data;
    };
    #endif
    """
    cdef struct ArrowSchema:
        const char* format
        int64_t n_children
        ArrowSchema** children
        ArrowSchema* dictionary

    cdef struct ArrowArray:
        int64_t length
        int64_t null_count  # -1: not counted
        int64_t offset
        int64_t n_children
        const void** buffers
        ArrowArray** children
        ArrowArray* dictionary


cdef inline bint has_null(const ArrowArray* array) noexcept nogil:
    cdef const unsigned char* valid = <const unsigned char*>array.buffers[0]
    cdef int64_t i
    if valid == NULL or array.null_count == 0:
        return False
    if array.null_count > 0:
        return True
    for i in range(array.offset, array.offset + array.length):
        if not valid[i >> 3] >> (i & 7) & 1:
            return True
    return False
