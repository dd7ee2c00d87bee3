"""Readings and slots in blocks of 2 MiB, so that nothing held is moved to make room.

Fresh memory costs more than what is written to it: a fault for each page, 4 KiB. A block's pages
are asked for at once, which is cheaper by a third. Huge pages would be cheaper by far, but where a
machine takes back what is free, as virtual ones do, they are the pages that it has taken back, and
getting those again costs five times as much. The first block is left to itself, so that a small
state stays small.
"""

from libc.stdint cimport int32_t
from libc.stdlib cimport free, realloc

from kernels.meter._reading cimport REGISTER, Rates, Reading

cdef extern from *:
    """
    #include <stdlib.h>
    #include <string.h>
    #include <sys/mman.h>
    #define GRIDLOOM_BLOCK ((size_t)2 << 20)

    static inline void gridloom_touch(void* place, size_t size) {
    #ifdef MADV_POPULATE_WRITE
        madvise(place, size, MADV_POPULATE_WRITE);
    #else
        (void)place; (void)size;
    #endif
    }

    static inline void* gridloom_map(size_t size) {
        void* place = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        return place == MAP_FAILED ? NULL : place;
    }

    /* `touched`: bytes that will be written to. */
    static inline void* gridloom_block(size_t touched) {
        void* block = gridloom_map(GRIDLOOM_BLOCK);
        if (block && touched) gridloom_touch(block, touched);
        return block;
    }

    static inline void gridloom_free_block(void* block) {
        munmap(block, GRIDLOOM_BLOCK);
    }

    static inline void gridloom_free_widened(void* block, size_t size) {
        if (size >= GRIDLOOM_BLOCK) munmap(block, size);
        else free(block);
    }

    /* `block` of `size` bytes (NULL and 0 at first) with zeros behind them; of 2^n bytes, n > 5. */
    static inline void* gridloom_widened(void* block, size_t size, size_t wider) {
        void* larger = NULL;
    #ifdef MREMAP_MAYMOVE
        if (size >= GRIDLOOM_BLOCK) {
            larger = mremap(block, size, wider, MREMAP_MAYMOVE);
            if (larger == MAP_FAILED) return NULL;
            gridloom_touch((char*)larger + size, wider - size);
            return larger;
        }
    #endif
        if (wider >= GRIDLOOM_BLOCK) {
            larger = gridloom_map(wider);
            if (larger) gridloom_touch(larger, wider);
        } else if (posix_memalign(&larger, 64, wider) == 0) {
            memset(larger, 0, wider);
        }
        if (larger && size) {
            memcpy(larger, block, size);
            gridloom_free_widened(block, size);
        }
        return larger;
    }
    """
    void* gridloom_block(size_t touched) noexcept nogil
    void gridloom_free_block(void* block) noexcept nogil
    void* gridloom_widened(void* block, size_t size, size_t wider) noexcept nogil
    void gridloom_free_widened(void* block, size_t size) noexcept nogil

cdef enum:
    SHIFT = 14
    BLOCK_ROWS = 1 << SHIFT
    TOUCHED = BLOCK_ROWS * (80 + 12 + 4)  # of a block without counters


cdef struct Slot:
    int32_t winner
    int32_t revision
    int32_t touched_by  # the last batch that touched it


cdef struct Beside:  # the slots of a counter's readings before and after; -1: none
    int32_t before
    int32_t after


cdef struct Block:  # 2 MiB less 128 KiB
    Reading[BLOCK_ROWS] readings
    Slot[BLOCK_ROWS] slots
    int32_t[BLOCK_ROWS] link  # next reading of the same instant (meter, register, end)
    # only of counters; without them no page is ever touched from here on
    Rates[BLOCK_ROWS] rates
    Beside[BLOCK_ROWS] beside


cdef struct Store:
    Block** blocks
    Py_ssize_t count, room  # blocks there are; places in `blocks`


cdef inline Reading* reading_at(const Store* store, Py_ssize_t place) noexcept nogil:
    return &store.blocks[place >> SHIFT].readings[place & (BLOCK_ROWS - 1)]


cdef inline Slot* slot_at(const Store* store, Py_ssize_t place) noexcept nogil:
    return &store.blocks[place >> SHIFT].slots[place & (BLOCK_ROWS - 1)]


cdef inline int32_t* link_at(const Store* store, Py_ssize_t place) noexcept nogil:
    return &store.blocks[place >> SHIFT].link[place & (BLOCK_ROWS - 1)]


cdef inline Rates* rates_at(const Store* store, Py_ssize_t place) noexcept nogil:
    return &store.blocks[place >> SHIFT].rates[place & (BLOCK_ROWS - 1)]


cdef inline Beside* beside_at(const Store* store, Py_ssize_t place) noexcept nogil:
    return &store.blocks[place >> SHIFT].beside[place & (BLOCK_ROWS - 1)]


cdef inline Rates rates_of(const Store* store, Py_ssize_t place) noexcept nogil:
    cdef Rates none
    if reading_at(store, place).kind == REGISTER:
        return rates_at(store, place)[0]
    none.rating_w = none.register_modulus = 0
    return none


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
        store.blocks[store.count] = <Block*>gridloom_block(TOUCHED if store.count else 0)
        if store.blocks[store.count] == NULL:
            raise MemoryError("no memory for the meter's slots; shard the readings topic")
        store.count += 1
    return 0


cdef inline void free_store(Store* store) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(store.count):
        gridloom_free_block(store.blocks[i])
    free(store.blocks)
