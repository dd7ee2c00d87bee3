"""Memory that stays from call to call, so that its pages are fresh only once."""

from libc.stdlib cimport realloc


cdef struct Block:
    char* data
    Py_ssize_t room


cdef inline char* reserved(Block* block, Py_ssize_t size) except NULL:
    """The block's bytes, at least `size`; what was in it stays."""
    cdef char* bigger
    if size > block.room or block.data == NULL:
        bigger = <char*>realloc(block.data, size + size // 4 + 64)
        if bigger == NULL:
            raise MemoryError("no memory for the streams of a batch; shard the topic")
        block.data = bigger
        block.room = size + size // 4 + 64
    return block.data
