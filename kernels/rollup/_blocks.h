/* Blocks of memory that begin at a line of the cache and become larger.

   A large block is pages of its own within a range of addresses that has room for twice as many: it
   grows by asking for more of them, all at once, and takes them along where the range ends. So nothing
   is copied and no page is fresh twice. A very large one has pages of 2 MB where the machine has such:
   small ones are mostly dearer, unless they have just been somebody else's.
   What a block is stands in the line before it. */
#ifndef GRIDLOOM_BLOCKS_H
#define GRIDLOOM_BLOCKS_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#if defined(__linux__)
#include <sys/mman.h>
#endif

#define GRIDLOOM_LINE ((size_t)64)
#define GRIDLOOM_PAGE ((size_t)2 << 20)
#define GRIDLOOM_LARGE ((size_t)1 << 20)
#define GRIDLOOM_HUGE ((size_t)128 << 20)
#define GRIDLOOM_POPULATE_WRITE 23 /* of madvise, from Linux 5.14 on; an older one refuses it */

typedef struct {
    void* first;  /* of the memory that was asked for */
    size_t size;  /* bytes of the block */
    size_t range; /* bytes of addresses from `first` on; 0: it is the heap's */
    size_t used;  /* of these bytes there are pages */
} gridloom_block;

static inline gridloom_block* gridloom_head(void* block) {
    return (gridloom_block*)((char*)block - GRIDLOOM_LINE);
}

static inline void* gridloom_headed(void* first, size_t offset, size_t size, size_t range) {
    char* block = (char*)first + offset;
    gridloom_block* head = gridloom_head(block);
    head->first = first;
    head->size = size;
    head->range = range;
    head->used = 0;
    return block;
}

#if defined(__linux__)
static inline size_t gridloom_pages(size_t size) {
    return (size + GRIDLOOM_LINE + GRIDLOOM_PAGE - 1) / GRIDLOOM_PAGE * GRIDLOOM_PAGE;
}

/* A range of addresses without pages that begins where a large page does. */
static inline char* gridloom_range(size_t range) {
    char* all = (char*)mmap(NULL, range + GRIDLOOM_PAGE, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    size_t before;
    if (all == (char*)MAP_FAILED) return NULL;
    before = (GRIDLOOM_PAGE - (size_t)((uintptr_t)all % GRIDLOOM_PAGE)) % GRIDLOOM_PAGE;
    if (before) munmap(all, before);
    if (before < GRIDLOOM_PAGE) munmap(all + before + range, GRIDLOOM_PAGE - before);
    if (range >= GRIDLOOM_HUGE) madvise(all + before, range, MADV_HUGEPAGE);
    return all + before;
}

/* Pages for the block's size; what has none gets them at its first use otherwise. */
static inline void* gridloom_populated(void* block, size_t size) {
    gridloom_block* head = gridloom_head(block);
    size_t used = (size + GRIDLOOM_LINE + 4095) / 4096 * 4096;
    head->size = size;
    if (used > head->used) {
        madvise((char*)head->first + head->used, used - head->used, GRIDLOOM_POPULATE_WRITE);
        head->used = used;
    }
    return block;
}
#endif

/* Fresh bytes, NULL where there are none; zeros where they are pages. */
static inline void* gridloom_block_of(size_t size) {
    void* first;
#if defined(__linux__)
    if (size >= GRIDLOOM_LARGE) {
        size_t range = 2 * gridloom_pages(size);
        first = gridloom_range(range);
        if (first == NULL) return NULL;
        return gridloom_populated(gridloom_headed(first, GRIDLOOM_LINE, size, range), size);
    }
#endif
    first = malloc(size + 2 * GRIDLOOM_LINE);
    if (first == NULL) return NULL;
    return gridloom_headed(
        first, 2 * GRIDLOOM_LINE - (size_t)((uintptr_t)first % GRIDLOOM_LINE), size, 0);
}

static inline void gridloom_let_go(void* block) {
    gridloom_block* head;
    if (block == NULL) return;
    head = gridloom_head(block);
#if defined(__linux__)
    if (head->range) {
        munmap(head->first, head->range);
        return;
    }
#endif
    free(head->first);
}

/* The block with room for so many bytes, never fewer than before; NULL: it is as it was. */
static inline void* gridloom_larger(void* block, size_t size) {
    void* larger;
    if (block == NULL) return gridloom_block_of(size);
#if defined(__linux__)
    if (gridloom_head(block)->range) {
        gridloom_block* head = gridloom_head(block);
        if (gridloom_pages(size) > head->range) {
            size_t range = 2 * gridloom_pages(size), old = head->range;
            char* first = gridloom_range(range);
            if (first == NULL) return NULL;
            if (mremap(head->first, old, old, MREMAP_MAYMOVE | MREMAP_FIXED, first) == MAP_FAILED) {
                munmap(first, range);
                return NULL;
            }
            block = first + GRIDLOOM_LINE;
            head = gridloom_head(block);
            head->first = first;
            head->range = range;
        }
        return gridloom_populated(block, size);
    }
#endif
    larger = gridloom_block_of(size);
    if (larger == NULL) return NULL;
    memcpy(larger, block, size < gridloom_head(block)->size ? size : gridloom_head(block)->size);
    gridloom_let_go(block);
    return larger;
}

static inline void* gridloom_zeros(size_t size) {
    void* block = gridloom_block_of(size);
    if (block != NULL && gridloom_head(block)->range == 0) memset(block, 0, size);
    return block;
}

#endif
