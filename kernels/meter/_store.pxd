"""Readings and slots in blocks of one huge page each, so that nothing held is moved to make room.

Fresh memory costs more than what is written to it: 4 KiB at a time, the kernel's work on it is half
of a new row's time; 2 MiB at a time it is a tenth. The first block is an ordinary one, so that a
small state stays small.
"""

from libc.stdint cimport int32_t
from libc.stdlib cimport free, realloc

from kernels.meter._reading cimport Reading

cdef extern from *:
    """
    #include <stdlib.h>
    #include <string.h>
    #include <sys/mman.h>
    #define GRIDLOOM_PAGE ((size_t)2 << 20)

    /* Where there are no huge pages it stays as it is. */
    static inline void gridloom_huge(void* place, size_t size) {
    #ifdef MADV_HUGEPAGE
        size_t first = ((size_t)place + 4095) & ~(size_t)4095;
        size_t end = ((size_t)place + size) & ~(size_t)4095;
        if (size >= GRIDLOOM_PAGE) madvise((void*)first, end - first, MADV_HUGEPAGE);
    #else
        (void)place; (void)size;
    #endif
    }

    static inline char* gridloom_map(size_t size) {
        void* place = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        return place == MAP_FAILED ? NULL : (char*)place;
    }

    /* Not by malloc: its header would part each block from the next. */
    static inline void* gridloom_block(int huge) {
        char* place = gridloom_map(GRIDLOOM_PAGE);
        size_t before = -(size_t)place & (GRIDLOOM_PAGE - 1);
        if (place && before) {  /* an older kernel does not align it by itself */
            munmap(place, GRIDLOOM_PAGE);
            place = gridloom_map(2 * GRIDLOOM_PAGE);
            if (!place) return NULL;
            before = -(size_t)place & (GRIDLOOM_PAGE - 1);
            if (before) munmap(place, before);
            place += before;
            munmap(place + GRIDLOOM_PAGE, GRIDLOOM_PAGE - before);
        }
        if (place && huge) gridloom_huge(place, GRIDLOOM_PAGE);
        return place;
    }

    static inline void gridloom_free_block(void* block) {
        munmap(block, GRIDLOOM_PAGE);
    }

    static inline void* gridloom_zeroed(size_t size) {
        void* block = NULL;
        if (size >= GRIDLOOM_PAGE) {
            block = gridloom_map(size);
            if (block) gridloom_huge(block, size);
        } else if (posix_memalign(&block, 64, size) == 0) {
            memset(block, 0, size);
        } else {
            return NULL;
        }
        return block;
    }

    static inline void gridloom_free_zeroed(void* block, size_t size) {
        if (size >= GRIDLOOM_PAGE) munmap(block, size);
        else free(block);
    }
    """
    void* gridloom_block(bint huge) noexcept nogil
    void gridloom_free_block(void* block) noexcept nogil
    void* gridloom_zeroed(size_t size) noexcept nogil  # at a line of the cache
    void gridloom_free_zeroed(void* block, size_t size) noexcept nogil

cdef enum:
    SHIFT = 14
    BLOCK_ROWS = 1 << SHIFT


cdef struct Slot:
    int32_t winner
    int32_t revision
    int32_t before
    int32_t after
    int32_t touched_by  # the last batch that touched it


cdef struct Block:  # 2 MiB less 128 KiB
    Reading[BLOCK_ROWS] readings
    Slot[BLOCK_ROWS] slots
    int32_t[BLOCK_ROWS] link  # next reading of the same instant (meter, register, end)


cdef struct Store:
    Block** blocks
    Py_ssize_t count, room  # blocks there are; places in `blocks`


cdef inline Reading* reading_at(const Store* store, Py_ssize_t place) noexcept nogil:
    return &store.blocks[place >> SHIFT].readings[place & (BLOCK_ROWS - 1)]


cdef inline Slot* slot_at(const Store* store, Py_ssize_t place) noexcept nogil:
    return &store.blocks[place >> SHIFT].slots[place & (BLOCK_ROWS - 1)]


cdef inline int32_t* link_at(const Store* store, Py_ssize_t place) noexcept nogil:
    return &store.blocks[place >> SHIFT].link[place & (BLOCK_ROWS - 1)]


cdef inline int make_room(Store* store, Py_ssize_t rows) except -1:
    """Blocks for so many rows."""
    cdef Py_ssize_t blocks = (rows + BLOCK_ROWS - 1) >> SHIFT
    cdef void* bigger
    if blocks > store.room:
        bigger = realloc(store.blocks, 2 * blocks * sizeof(Block*))
        if bigger == NULL:
            raise MemoryError("no memory for the meter's slots; shard the readings topic")
        store.blocks = <Block**>bigger
        store.room = 2 * blocks
    while store.count < blocks:
        store.blocks[store.count] = <Block*>gridloom_block(store.count > 0)
        if store.blocks[store.count] == NULL:
            raise MemoryError("no memory for the meter's slots; shard the readings topic")
        store.count += 1
    return 0


cdef inline void free_store(Store* store) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(store.count):
        gridloom_free_block(store.blocks[i])
    free(store.blocks)
