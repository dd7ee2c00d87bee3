# Memory and hashing of the compiled twin's tables.
#
# A table is open addressing over entries (hash << 32 | place + 1), 0 = empty: a look at the row
# behind an entry is needed only where 32 bits of the hash agree, and none to make the table larger.

from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, realloc

cdef extern from *:
    """
    #if defined(__GNUC__)
    #define gridloom_prefetch(at) __builtin_prefetch(at)
    #else
    #define gridloom_prefetch(at) ((void)(at))
    #endif
    """
    void prefetch "gridloom_prefetch"(const void* at) noexcept nogil


cdef inline uint32_t mixed(int32_t one, int32_t other, int32_t third, int64_t ms) noexcept nogil:
    cdef uint64_t h = <uint64_t>ms * <uint64_t>0x9E3779B97F4A7C15
    h ^= (<uint64_t><uint32_t>one << 32) | <uint64_t><uint32_t>other
    h ^= h >> 32
    h *= <uint64_t>0xD6E8FEB86659FD93
    h ^= <uint64_t><uint32_t>third
    h ^= h >> 32
    h *= <uint64_t>0xD6E8FEB86659FD93
    return <uint32_t>(h >> 32)


cdef inline uint64_t entry_of(uint32_t hashed, int32_t place) noexcept nogil:
    return <uint64_t>hashed << 32 | <uint64_t>(place + 1)


cdef inline int32_t place_of(uint64_t entry) noexcept nogil:
    """The place that an entry names; -1 for an empty one."""
    return <int32_t>(<uint32_t>entry) - 1


cdef inline void* grown(void* block, size_t count, size_t size) except NULL:
    cdef void* bigger = realloc(block, count * size)
    if bigger == NULL:
        raise MemoryError("no memory for the open windows; shard the readings topic")
    return bigger


cdef inline uint64_t* widened(uint64_t* table, uint64_t* mask, size_t size) except NULL:
    """The table with room for `size` entries, a power of two; `mask` is that of the old one."""
    cdef uint64_t* larger = <uint64_t*>calloc(size, sizeof(uint64_t))
    cdef uint64_t i, at
    if larger == NULL:
        raise MemoryError("no memory for the open windows; shard the readings topic")
    if table != NULL:
        for i in range(mask[0] + 1):
            if table[i]:
                at = (table[i] >> 32) & (size - 1)
                while larger[at]:
                    at = (at + 1) & (size - 1)
                larger[at] = table[i]
        free(table)
    mask[0] = size - 1
    return larger


cdef inline size_t power_of_two(size_t least) noexcept nogil:
    cdef size_t size = 2048
    while size < least:
        size *= 2
    return size
