"""What a batch is in, and its arrays, as Arrow's C data interface takes them over."""

from libc.stdint cimport int64_t, uintptr_t
from libc.stdlib cimport free
from libc.string cimport memset

from kernels._arrow cimport ArrowArray

cdef enum:
    COLUMNS = 96
    ALIGNED = 64


cdef struct Owner:  # the arrays: of columns, then of dictionaries
    Py_ssize_t texts
    char* dictionary[COLUMNS]
    ArrowArray arrays[2 * COLUMNS]
    ArrowArray* children[COLUMNS]
    const void* buffers[6 * COLUMNS]


cdef inline void let_go(ArrowArray* root) noexcept nogil:
    """Whatever thread lets go of a batch's last column: no Python here."""
    cdef Owner* owner = <Owner*>root.private_data
    cdef Py_ssize_t text
    for text in range(owner.texts):
        free(owner.dictionary[text])
    free(owner)
    root.release = NULL


cdef inline void let_go_part(ArrowArray* array) noexcept nogil:
    """A column goes with its batch: Arrow does not move it out."""
    array.release = NULL


cdef inline char* aligned(char* at) noexcept nogil:
    return <char*>(((<uintptr_t>at) + ALIGNED - 1) & ~<uintptr_t>(ALIGNED - 1))


cdef inline void lay(
    ArrowArray* array, const void** buffers, int64_t rows, const void* first, const void* second
) noexcept nogil:
    """An array without nulls; second: its data behind the offsets, or NULL."""
    memset(array, 0, sizeof(ArrowArray))
    buffers[0] = NULL
    buffers[1] = first
    buffers[2] = second
    array.length = rows
    array.n_buffers = 3 if second != NULL else 2
    array.buffers = buffers
    array.release = let_go_part
