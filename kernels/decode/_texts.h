/* Texts: each distinct text has one code, in order of first sight; open addressing.

   A text of up to 24 bytes stands in its entry, so that most look-ups touch one line of cache. */
#ifndef GRIDLOOM_TEXTS_H
#define GRIDLOOM_TEXTS_H

#include <stdlib.h>

#include "_scan.h"

#define PROBES_MAX 256 /* beyond: made to collide; the row is declined */
#define NO_CODE -1
#define NO_MEMORY -2

typedef struct {
    uint64_t word[3]; /* the first 24 bytes, zeros behind the end */
    int32_t size;
    int32_t code; /* + 1; 0 = empty */
} Entry;

typedef struct {
    Entry *entries;
    uint64_t mask;
    int64_t count, room;       /* texts */
    int64_t *starts;           /* code -> place of its bytes; count + 1 of them */
    byte *bytes;               /* the texts, one after another */
    int64_t bytes_room;
    uint32_t *stamps;          /* code -> the last column it was used in */
    int32_t *places;           /* code -> its place in that column's dictionary */
    uint32_t stamp;
} Texts;

static const uint64_t TEXT_MASKS[25][3] = {
#define M(n) ((n) >= 8 ? ~0ull : (n) <= 0 ? 0ull : (1ull << (8 * ((n) & 7))) - 1)
#define ROW(n) {M(n), M((n) - 8), M((n) - 16)}
    ROW(0),  ROW(1),  ROW(2),  ROW(3),  ROW(4),  ROW(5),  ROW(6),  ROW(7),  ROW(8),
    ROW(9),  ROW(10), ROW(11), ROW(12), ROW(13), ROW(14), ROW(15), ROW(16), ROW(17),
    ROW(18), ROW(19), ROW(20), ROW(21), ROW(22), ROW(23), ROW(24),
#undef ROW
#undef M
};

INLINE uint64_t mixed(uint64_t a, uint64_t b, uint64_t c, uint64_t size) {
    uint64_t h = (a ^ size) * 0x9E3779B97F4A7C15ull;
    h ^= (b + 0x165667B19E3779F9ull) * 0xD6E8FEB86659FD93ull;
    h ^= (c + 0x27D4EB2F165667C5ull) * 0xC2B2AE3D27D4EB4Full;
    h ^= h >> 32;
    h *= 0xD6E8FEB86659FD93ull;
    return h ^ (h >> 29);
}

INLINE uint64_t hash_of(const Entry *text, const byte *p) {
    uint64_t h = mixed(text->word[0], text->word[1], text->word[2], (uint64_t)text->size);
    for (int64_t at = 24; at < text->size; at += 8)
        h = mixed(h, load8(p + at) & low_bytes(text->size - at), 0, 8);
    return h;
}

static void texts_free(Texts *t) {
    free(t->entries);
    free(t->starts);
    free(t->bytes);
    free(t->stamps);
    free(t->places);
}

static int texts_grow(Texts *t) {
    int64_t room = t->room ? 2 * t->room : 512;
    uint64_t size = 2 * (uint64_t)room; /* half full at most: probes are short */
    Entry *entries = calloc(size, sizeof(Entry));
    int64_t *starts = realloc(t->starts, (size_t)(room + 1) * sizeof(int64_t));
    if (starts) t->starts = starts;
    uint32_t *stamps = realloc(t->stamps, (size_t)room * sizeof(uint32_t));
    if (stamps) t->stamps = stamps;
    int32_t *places = realloc(t->places, (size_t)room * sizeof(int32_t));
    if (places) t->places = places;
    if (!entries || !starts || !stamps || !places) {
        free(entries);
        return NO_MEMORY;
    }
    memset(stamps + t->count, 0, (size_t)(room - t->count) * sizeof(uint32_t));
    if (!t->room) starts[0] = 0;
    for (uint64_t i = 0; t->entries && i <= t->mask; i++) {
        const Entry *old = &t->entries[i];
        if (!old->code) continue;
        uint64_t at = hash_of(old, t->bytes + starts[old->code - 1]) & (size - 1);
        while (entries[at].code) at = (at + 1) & (size - 1);
        entries[at] = *old;
    }
    free(t->entries);
    t->entries = entries;
    t->mask = size - 1;
    t->room = room;
    return 0;
}

/* A new text at its place in the table: its code, or NO_MEMORY. */
static int32_t texts_add(Texts *t, Entry *place, const Entry *text, const byte *p) {
    int64_t start = t->starts[t->count];
    if (start + text->size + PAD > t->bytes_room) {
        int64_t room = 2 * (start + text->size + PAD) + 4096;
        byte *bytes = realloc(t->bytes, (size_t)room);
        if (!bytes) return NO_MEMORY;
        t->bytes = bytes;
        t->bytes_room = room;
    }
    memcpy(t->bytes + start, p, (size_t)text->size);
    memset(t->bytes + start + text->size, 0, PAD);
    *place = *text;
    place->code = (int32_t)++t->count;
    t->starts[t->count] = start + text->size;
    return place->code - 1;
}

/* The entry of `size` bytes at p, without a code. */
INLINE Entry entry_of(const byte *p, int64_t size) {
    const uint64_t *mask = TEXT_MASKS[size < 24 ? size : 24];
    Entry text = {
        {load8(p) & mask[0], load8(p + 8) & mask[1], load8(p + 16) & mask[2]}, (int32_t)size, 0};
    return text;
}

INLINE int same_entry(const Entry *a, const Entry *b) {
    return ((a->word[0] ^ b->word[0]) | (a->word[1] ^ b->word[1]) | (a->word[2] ^ b->word[2]) |
            (uint64_t)(a->size ^ b->size)) == 0;
}

/* The code of a text; NO_CODE where too many others are in its way, or NO_MEMORY. */
INLINE int32_t texts_code(Texts *t, const Entry *text, const byte *p) {
    uint64_t at = hash_of(text, p) & t->mask;
    for (int probe = 0; probe < PROBES_MAX; probe++, at = (at + 1) & t->mask) {
        Entry *there = &t->entries[at];
        if (!there->code) {
            if (t->count < t->room) return texts_add(t, there, text, p);
            if (t->count >= INT32_MAX / 2 || texts_grow(t)) return NO_MEMORY;
            at = (hash_of(text, p) - 1) & t->mask;
            continue;
        }
        if (same_entry(there, text) &&
            (text->size <= 24 ||
             !memcmp(t->bytes + t->starts[there->code - 1], p, (size_t)text->size)))
            return there->code - 1;
    }
    return NO_CODE;
}

/* Codes to places in a dictionary of the codes in use, in order of first use: used[place] = code.
   A null's place is 0. Returns the dictionary's size. */
static int64_t texts_places(
    Texts *t, const int32_t *codes, const byte *valid, int64_t rows, int32_t *places, int32_t *used) {
    int64_t size = 0;
    int32_t last = -1, place = 0;
    if (++t->stamp == 0) { /* wrapped: no stamp is of this column */
        memset(t->stamps, 0, (size_t)t->count * sizeof(uint32_t));
        t->stamp = 1;
    }
    for (int64_t i = 0; i < rows; i++) {
        if (valid && !valid[i]) {
            places[i] = 0;
            continue;
        }
        if (codes[i] != last) {
            last = codes[i];
            if (t->stamps[last] != t->stamp) {
                t->stamps[last] = t->stamp;
                t->places[last] = (int32_t)size;
                used[size++] = last;
            }
            place = t->places[last];
        }
        places[i] = place;
    }
    return size;
}

#endif
