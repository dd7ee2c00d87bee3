/* Words of text: loads, masks, the first byte of a string that needs a look, runs of digits.

   Every load may read up to PAD bytes past the row: the caller sees to it that they are there.
   Words are little-endian on every machine, so that the first byte is the lowest. */
#ifndef GRIDLOOM_SCAN_H
#define GRIDLOOM_SCAN_H

#include <stdint.h>
#include <string.h>

#if defined(__x86_64__) && defined(__GNUC__)
#define GRIDLOOM_X86 1
#include <immintrin.h>
#else
#define GRIDLOOM_X86 0
#endif

#define PAD 64
#define INLINE static inline __attribute__((always_inline))
#define APART __attribute__((noinline))
#define LIKELY(c) __builtin_expect(!!(c), 1)
#define UNLIKELY(c) __builtin_expect(!!(c), 0)

#define ONES 0x0101010101010101ull
#define HIGHS 0x8080808080808080ull
#define ZEROS 0x3030303030303030ull /* eight digits 0 */

typedef uint8_t byte;

INLINE uint64_t load8(const byte *p) {
    uint64_t word;
    memcpy(&word, p, 8);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    word = __builtin_bswap64(word);
#endif
    return word;
}

/* The lowest `size` bytes of a word; all of it from 8 on, none below 1. */
INLINE uint64_t low_bytes(int64_t size) {
    return size >= 8 ? ~0ull : size <= 0 ? 0 : (1ull << (8 * size)) - 1;
}

INLINE int is_blank(byte c) { return c == ' ' || c == '\t' || c == '\r'; }

INLINE const byte *skip_blanks(const byte *p, const byte *end) {
    while (p < end && is_blank(*p)) p++;
    return p;
}

/* Bytes of a word that end or break plain text: quote, backslash, control, or beyond ASCII. The
   lowest bit that is set is exact; those above it may be borrows. */
INLINE uint64_t special8(uint64_t word) {
    uint64_t quote = word ^ (ONES * '"'), escape = word ^ (ONES * '\\');
    uint64_t found = ((quote - ONES) & ~quote) | ((escape - ONES) & ~escape);
    return (found | (word - ONES * 0x20) | word) & HIGHS;
}

/* The first special byte at or after p; some place at or past `end` where there is none. */
INLINE const byte *special_scalar(const byte *p, const byte *end) {
    for (; p < end; p += 8) {
        uint64_t found = special8(load8(p));
        if (found) return p + (__builtin_ctzll(found) >> 3);
    }
    return p;
}

#if GRIDLOOM_X86
__attribute__((target("avx2"))) INLINE const byte *special_avx2(const byte *p, const byte *end) {
    const __m256i quote = _mm256_set1_epi8('"'), escape = _mm256_set1_epi8('\\');
    const __m256i space = _mm256_set1_epi8(' ');
    for (; p < end; p += 32) {
        __m256i text = _mm256_loadu_si256((const __m256i *)p);
        /* signed: control characters and all beyond ASCII are below a space */
        __m256i found = _mm256_or_si256(
            _mm256_cmpgt_epi8(space, text),
            _mm256_or_si256(_mm256_cmpeq_epi8(text, quote), _mm256_cmpeq_epi8(text, escape)));
        uint32_t places = (uint32_t)_mm256_movemask_epi8(found);
        if (places) return p + __builtin_ctz(places);
    }
    return p;
}
#endif

/* How many digits the word begins with, 0 to 8. */
INLINE int digits_in(uint64_t word) {
    uint64_t off = word ^ ZEROS; /* 0 to 9 where a digit is */
    uint64_t other = ((off + 0x7676767676767676ull) | off) & HIGHS;
    return other ? __builtin_ctzll(other) >> 3 : 8;
}

/* The number that the first `count` digits of the word write, count 1 to 8. */
INLINE uint64_t digits_value(uint64_t word, int count) {
    word = (word ^ ZEROS) << (64 - 8 * count); /* zeros in front */
    word = (word * 2561) >> 8;
    word = ((word & 0x00FF00FF00FF00FFull) * 6553601) >> 16;
    return ((word & 0x0000FFFF0000FFFFull) * 42949672960001ull) >> 32;
}

/* Size of the UTF-8 character at p (beyond ASCII), 0 where it is none. */
static inline int utf8_size(const byte *p) {
#define NEXT(i) ((p[i] & 0xC0) == 0x80)
    byte c = p[0];
    if (c < 0xC2 || c > 0xF4) return 0;
    if (!NEXT(1)) return 0;
    if (c < 0xE0) return 2;
    if (c == 0xE0 && p[1] < 0xA0) return 0; /* overlong */
    if (c == 0xED && p[1] > 0x9F) return 0; /* a surrogate */
    if (!NEXT(2)) return 0;
    if (c < 0xF0) return 3;
    if (c == 0xF0 && p[1] < 0x90) return 0;
    if (c == 0xF4 && p[1] > 0x8F) return 0; /* beyond U+10FFFF */
    return NEXT(3) ? 4 : 0;
#undef NEXT
}

#endif
