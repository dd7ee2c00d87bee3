"""A frame of LZ4 read into memory of its own: the compiled reference_reader.unframed.

    frame   magic u32 | flags, sizes, check u8 | blocks | 0 u32
    block   size u32, highest bit: as it is | sequences (_lz4.pxd), the last one of literals alone

Only frames of blocks of 64 KB without checksums, linked or not, each block but the last one full:
what this library and Arrow's C++ write. Whatever the bytes are, nothing is read beyond them and
nothing written beyond SLACK bytes behind the room.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

cdef enum:
    MAGIC = 0x184D2204
    ALONE = 0x824060  # flags, sizes, check of a frame whose blocks do not refer to each other
    LINKED = 0xC04040
    HEADER = 7
    BLOCK_MAX = 65536
    MOST = 255  # bytes of output that a byte of input can stand for
    SLACK = 64  # bytes behind a room that may be written
    STEP = 16
    FEW = 128  # bytes up to which a match is copied a step at a time
    LAST_LITERALS = 5  # of a block, at least
    LAST_MATCH = 12  # bytes before a block's end that its last match begins at the latest


cdef inline uint32_t word_at(const uint8_t* at) noexcept nogil:
    cdef uint32_t word
    memcpy(&word, at, 4)
    return word


cdef inline Py_ssize_t length(
    Py_ssize_t count, const uint8_t** data, const uint8_t* end
) noexcept nogil:
    """A count whose half of the token is 15; -1 where the bytes end before it does."""
    cdef const uint8_t* at = data[0]
    while at < end:
        count += at[0]
        at += 1
        if at[-1] != 255:
            data[0] = at
            return count
    return -1


cdef inline void repeat(uint8_t* out, Py_ssize_t offset, Py_ssize_t count) noexcept nogil:
    """Writes `count` bytes of what stands `offset` bytes before, again and again."""
    cdef uint8_t* stop = out + count
    if offset >= STEP and count <= FEW:
        while out < stop:
            memcpy(out, out - offset, STEP)
            out += STEP
        return
    while out < stop:  # twice as many are there after each copy
        count = min(offset, stop - out)
        memcpy(out, out - offset, count)
        out += count
        offset += offset


cdef inline uint64_t rotated(uint64_t word, int bits) noexcept nogil:
    return word >> bits | word << (-bits & 63)


cdef inline void fill(uint8_t* out, uint64_t word, Py_ssize_t count) noexcept nogil:
    """Writes `count` bytes of the word, again and again."""
    cdef uint8_t* stop = out + count
    while out < stop:
        memcpy(out, &word, 8)
        memcpy(out + 8, &word, 8)
        out += STEP


cdef inline bint unlz4_block(
    const uint8_t* data, Py_ssize_t size, const uint8_t* lowest, uint8_t* out, Py_ssize_t room
) noexcept nogil:
    """Whether the bytes are one block of exactly `room` bytes that refers to none below `lowest`."""
    cdef const uint8_t* end = data + size
    cdef uint8_t* stop = out + room
    cdef Py_ssize_t count, offset
    # The last 8 bytes written, where `known`: a read of what two writes have left would wait for both.
    cdef uint64_t last = 0, more
    cdef bint known = False
    cdef uint16_t back
    cdef uint8_t token
    while data < end:
        token = data[0]
        data += 1
        count = token >> 4
        if count == 15:
            count = length(15, &data, end)
        if count < 0 or count > end - data or count > stop - out:
            return False
        if count >= 8:
            memcpy(&last, data + count - 8, 8)
            known = True
        elif count and end - data >= 8:
            memcpy(&more, data, 8)
            last = last >> (8 * count) | more << (64 - 8 * count)
        elif count:
            known = False
        if count <= STEP and end - data >= STEP:
            memcpy(out, data, STEP)
        else:
            memcpy(out, data, count)
        data += count
        out += count
        if data == end:
            return out == stop
        if end - data < 2 or stop - out < LAST_MATCH:
            return False
        memcpy(&back, data, 2)
        data += 2
        offset = back
        count = token & 15
        if count == 15:
            count = length(15, &data, end)
            if count < 0:
                return False
        count += 4
        if offset == 0 or offset > out - lowest or count > stop - out - LAST_LITERALS:
            return False
        if offset == 8 or offset == 4:  # a column's value, or what it shares with the one before
            if not known:
                memcpy(<char*>&last + 8 - offset, out - offset, offset)
            if offset == 4:
                last = last >> 32 | last >> 32 << 32
            fill(out, last, count)
            last = rotated(last, 8 * (count & 7))
            known = True
        else:
            repeat(out, offset, count)
            known = False
        out += count
    return False


cdef inline bint unframed(
    const uint8_t* data, Py_ssize_t size, uint8_t* out, Py_ssize_t room
) noexcept nogil:
    """Whether the bytes are one frame of exactly `room` bytes."""
    cdef const uint8_t* end = data + size
    cdef Py_ssize_t done = 0, part, count
    cdef uint32_t head
    cdef bint linked
    if size < HEADER + 4 or word_at(data) != MAGIC:
        return False
    head = word_at(data + 3) >> 8
    if head != ALONE and head != LINKED:
        return False
    linked = head == LINKED
    data += HEADER
    while done < room:
        if end - data < 4:
            return False
        head = word_at(data)
        data += 4
        count = head & 0x7FFFFFFF
        part = min(<Py_ssize_t>BLOCK_MAX, room - done)
        if count == 0 or count > BLOCK_MAX or count > end - data:
            return False
        if head >> 31:
            if count != part:
                return False
            memcpy(out + done, data, count)
        elif not unlz4_block(data, count, out if linked else out + done, out + done, part):
            return False
        data += count
        done += part
    return end - data == 4 and word_at(data) == 0
