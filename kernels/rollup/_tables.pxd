# Memory and hashing of the compiled twin's tables.
#
# A table is open addressing over entries (hash << 32 | place + 1), 0 = empty: a look at the row
# behind an entry is needed only where 32 bits of the hash agree, and none to make the table larger.

from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.string cimport memset

cdef extern from *:
    """
    #if defined(__GNUC__)
    #define gridloom_prefetch(at) __builtin_prefetch(at)
    #else
    #define gridloom_prefetch(at) ((void)(at))
    #endif
    """
    void prefetch "gridloom_prefetch"(const void* at) noexcept nogil

cdef extern from "_blocks.h":
    void* larger "gridloom_larger"(void* block, size_t size) noexcept nogil
    void* zeros "gridloom_zeros"(size_t size) noexcept nogil
    void let_go "gridloom_let_go"(void* block) noexcept nogil


cdef struct Table:
    uint64_t* entries
    uint64_t mask


cdef inline void emptied(Table* table) noexcept nogil:
    if table.entries != NULL:
        memset(table.entries, 0, (table.mask + 1) * sizeof(uint64_t))


cdef inline uint32_t mixed(int32_t one, int32_t other, int32_t third, int64_t ms) noexcept nogil:
    cdef uint64_t h = <uint64_t>ms * <uint64_t>0x9E3779B97F4A7C15
    h ^= (<uint64_t><uint32_t>one << 32) | <uint64_t><uint32_t>other
    h ^= h >> 32
    h *= <uint64_t>0xD6E8FEB86659FD93
    h ^= <uint64_t><uint32_t>third
    h ^= h >> 32
    h *= <uint64_t>0xD6E8FEB86659FD93
    return <uint32_t>(h >> 32)


cdef inline uint64_t entry_of(uint32_t hashed, Py_ssize_t place) noexcept nogil:
    return <uint64_t>hashed << 32 | <uint64_t>(place + 1)


cdef inline int32_t place_of(uint64_t entry) noexcept nogil:
    """The place that an entry names; -1 for an empty one."""
    return <int32_t>(<uint32_t>entry) - 1


cdef inline void* grown(void* block, size_t count, size_t size) except NULL:
    """The block with room for so many of this size; `let_go` ends it."""
    cdef void* bigger = larger(block, count * size)
    if bigger == NULL:
        raise MemoryError("no memory for the open windows; shard the readings topic")
    return bigger


cdef inline Py_ssize_t larger_room(Py_ssize_t count, Py_ssize_t more) noexcept nogil:
    """Room for so many more and as many again, a sixteenth of many: large blocks are not copied."""
    cdef Py_ssize_t all_ = count + more
    return all_ + max(<Py_ssize_t>1024, all_ if all_ < 1 << 15 else all_ // 16)


cdef inline int reserve(Table* table, size_t count) except -1:
    """Room for `count` entries that fill at most two thirds of the table."""
    cdef size_t least = count + count // 2, size = 2048
    cdef uint64_t* entries
    cdef uint64_t i, at
    if table.entries != NULL and least <= table.mask:
        return 0
    while size <= least:
        size *= 2
    entries = <uint64_t*>zeros(size * sizeof(uint64_t))
    if entries == NULL:
        raise MemoryError("no memory for the open windows; shard the readings topic")
    if table.entries != NULL:
        for i in range(table.mask + 1):
            if table.entries[i]:
                at = (table.entries[i] >> 32) & (size - 1)
                while entries[at]:
                    at = (at + 1) & (size - 1)
                entries[at] = table.entries[i]
        let_go(table.entries)
    table.entries = entries
    table.mask = size - 1
    return 0
