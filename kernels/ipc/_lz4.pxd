"""One block of LZ4, written a word at a time: the compiled reference.lz4_block.

    sequence   token u8 (literals << 4 | match - 4) | more of the literals' count | literals
               | offset u16 | more of the match's count

A column's values are words of 4 or 8 bytes, so a match begins and ends with a word: a quarter or an
eighth of the steps of a general compressor. A match is 8 bytes at least: of codes that come in a
pattern, one code alone would always find its last neighbour, and never the pattern.

One exception: a number of 8 bytes that was not seen before, but ends in the bytes of the one before
it, as times, offsets and small amounts do, has those bytes from there: 4 to 7 of its 8.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

cdef enum:
    TABLE_BITS = 12
    FEWEST_BITS = 6
    FARTHEST = 65535
    TAIL = 16  # bytes of a block that no match begins in
    LITERAL_TAIL = 8  # ... and that no match ends in: LZ4's rules ask for 12 and 5
    KEY = 8  # bytes of a match at least
    WIDE = 32  # bytes that are compared at once
    PATIENCE = 5  # log2 of the misses after which the next word is skipped as well
    LEAST_MATCH = 4  # LZ4's own: counted from
    BRIEF = 8  # literals that are copied as one word

cdef extern from *:
    int __builtin_clzll(unsigned long long number) noexcept nogil


cdef inline uint64_t key_at(const uint8_t* at) noexcept nogil:
    cdef uint64_t key
    memcpy(&key, at, KEY)
    return key


cdef inline bint same(const uint8_t* one, const uint8_t* other) noexcept nogil:
    """Whether WIDE bytes are: most columns are a few long runs, and reading them is the cost."""
    return (
        (key_at(one) ^ key_at(other))
        | (key_at(one + 8) ^ key_at(other + 8))
        | (key_at(one + 16) ^ key_at(other + 16))
        | (key_at(one + 24) ^ key_at(other + 24))
    ) == 0


cdef inline uint32_t half_at(const uint8_t* at) noexcept nogil:
    cdef uint32_t half
    memcpy(&half, at, 4)
    return half


cdef inline uint8_t* put_length(uint8_t* out, Py_ssize_t count) noexcept nogil:
    """What of a count is beyond the 15 of its half of the token."""
    if count < 15:
        return out
    count -= 15
    while count >= 255:
        out[0] = 255
        out += 1
        count -= 255
    out[0] = <uint8_t>count
    return out + 1


cdef inline uint8_t* put_literals(
    uint8_t* out, const uint8_t* data, Py_ssize_t count
) noexcept nogil:
    """The token, its lower half open, and the literals; up to BRIEF bytes there are read and
    written beyond them."""
    if count <= BRIEF:
        out[0] = <uint8_t>(count << 4)
        memcpy(out + 1, data, BRIEF)
        return out + 1 + count
    out[0] = <uint8_t>((count if count < 15 else 15) << 4)
    out = put_length(out + 1, count)
    memcpy(out, data, count)
    return out + count


cdef inline Py_ssize_t lz4_block(
    const uint8_t* data, Py_ssize_t size, int width, uint8_t* out, Py_ssize_t room, uint32_t* table
) noexcept nogil:
    """Bytes written for `size` bytes of words, `width` bytes each; 0 where `room` does not do.

    table: of 1 << TABLE_BITS places, whatever is in it.
    """
    cdef Py_ssize_t at = 0, anchor = 0, misses = 0, seen, match, literals
    cdef uint64_t other
    cdef uint8_t* place = out
    cdef uint8_t* limit = out + room
    cdef uint8_t* token
    cdef uint64_t key, slot
    cdef int bits = FEWEST_BITS
    while bits < TABLE_BITS and (width << bits) < size:
        bits += 1
    memset(table, 0, sizeof(uint32_t) << bits)
    while at <= size - TAIL:
        key = key_at(data + at)
        slot = (key * <uint64_t>0x9E3779B97F4A7C15) >> (64 - bits)
        seen = <Py_ssize_t>table[slot] - 1
        table[slot] = <uint32_t>(at + 1)
        if seen < 0 or at - seen > FARTHEST or key_at(data + seen) != key:
            other = key ^ key_at(data + at - 8) if width == 8 and at else ~<uint64_t>0
            if 0 < other < <uint64_t>1 << 32:
                match = __builtin_clzll(other) >> 3
                literals = at + 8 - match - anchor
                if limit - place < literals + literals // 255 + 5:
                    return 0
                token = place
                place = put_literals(place, data + anchor, literals)
                token[0] |= <uint8_t>(match - LEAST_MATCH)
                place[0] = 8
                place[1] = 0
                place += 2
                at += 8
                anchor = at
                continue
            at += width * (1 + (misses >> PATIENCE))
            misses += 1
            continue
        match = KEY
        while at + match <= size - LITERAL_TAIL - WIDE and same(
            data + at + match, data + seen + match
        ):
            match += WIDE
        while at + match <= size - LITERAL_TAIL - KEY and key_at(data + at + match) == key_at(
            data + seen + match
        ):
            match += KEY
        if width == 4 and at + match <= size - LITERAL_TAIL - 4 and half_at(
            data + at + match
        ) == half_at(data + seen + match):
            match += 4
        literals = at - anchor
        if limit - place < literals + literals // 255 + match // 255 + 5:
            return 0
        token = place
        place = put_literals(place, data + anchor, literals)
        place[0] = <uint8_t>(at - seen)
        place[1] = <uint8_t>((at - seen) >> 8)
        at += match
        anchor = at
        match -= LEAST_MATCH
        token[0] |= <uint8_t>(match if match < 15 else 15)
        place = put_length(place + 2, match)
        misses = 0
    literals = size - anchor
    if limit - place < literals + literals // 255 + 2:
        return 0
    place[0] = <uint8_t>((literals if literals < 15 else 15) << 4)
    place = put_length(place + 1, literals)
    memcpy(place, data + anchor, literals)  # nothing is read beyond the block
    return place + literals - out
