# Memory and hashing of the compiled twin's tables.

from libc.stdint cimport int32_t, int64_t, uint64_t
from libc.stdlib cimport calloc, free, realloc


cdef inline uint64_t mixed(int32_t one, int32_t other, int32_t third, int64_t ms) noexcept nogil:
    cdef uint64_t h = <uint64_t>ms * <uint64_t>0x9E3779B97F4A7C15
    h ^= (<uint64_t><unsigned int>one << 32) | <uint64_t><unsigned int>other
    h ^= h >> 32
    h *= <uint64_t>0xD6E8FEB86659FD93
    h ^= <uint64_t><unsigned int>third
    h ^= h >> 32
    h *= <uint64_t>0xD6E8FEB86659FD93
    return h ^ (h >> 32)


cdef inline void* grown(void* block, size_t count, size_t size) except NULL:
    cdef void* bigger = realloc(block, count * size)
    if bigger == NULL:
        raise MemoryError("no memory for the open windows; shard the readings topic")
    return bigger


cdef inline int32_t* emptied(int32_t* table, size_t size) except NULL:
    free(table)
    table = <int32_t*>calloc(size, sizeof(int32_t))
    if table == NULL:
        raise MemoryError("no memory for the open windows; shard the readings topic")
    return table
