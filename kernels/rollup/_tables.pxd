# Memory and hashing of the compiled twin's tables.
#
# A table is open addressing over entries (hash << 32 | place + 1), 0 = empty: a look at the row
# behind an entry is needed only where 32 bits of the hash agree, and none to make the table larger.

from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport calloc, free, realloc

cdef extern from *:
    """
    #if defined(__GNUC__)
    #define gridloom_prefetch(at) __builtin_prefetch(at)
    #else
    #define gridloom_prefetch(at) ((void)(at))
    #endif
    #if defined(__linux__)
    #include <sys/mman.h>
    /* Pages of 2 MB for the whole of a large block: a fault for each 4 KB costs as much as its use. */
    static void gridloom_large_pages(void* block, size_t size) {
        const size_t page = 4096, least = (size_t)8 << 20;
        size_t first = ((size_t)block + page - 1) / page * page;
        size_t end = ((size_t)block + size) / page * page;
        if (size >= least) madvise((void*)first, end - first, MADV_HUGEPAGE);
    }
    #else
    static void gridloom_large_pages(void* block, size_t size) { (void)block; (void)size; }
    #endif
    """
    void prefetch "gridloom_prefetch"(const void* at) noexcept nogil
    void large_pages "gridloom_large_pages"(void* block, size_t size) noexcept nogil


cdef struct Table:
    uint64_t* entries
    uint64_t mask


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
    cdef void* bigger = realloc(block, count * size)
    if bigger == NULL:
        raise MemoryError("no memory for the open windows; shard the readings topic")
    large_pages(bigger, count * size)
    return bigger


cdef inline int reserve(Table* table, size_t count) except -1:
    """Room for `count` entries that fill at most two thirds of the table."""
    cdef size_t least = count + count // 2, size = 2048
    cdef uint64_t* larger
    cdef uint64_t i, at
    if table.entries != NULL and least <= table.mask:
        return 0
    while size <= least:
        size *= 2
    larger = <uint64_t*>calloc(size, sizeof(uint64_t))
    if larger == NULL:
        raise MemoryError("no memory for the open windows; shard the readings topic")
    large_pages(larger, size * sizeof(uint64_t))
    if table.entries != NULL:
        for i in range(table.mask + 1):
            if table.entries[i]:
                at = (table.entries[i] >> 32) & (size - 1)
                while larger[at]:
                    at = (at + 1) & (size - 1)
                larger[at] = table.entries[i]
        free(table.entries)
    table.entries = larger
    table.mask = size - 1
    return 0
