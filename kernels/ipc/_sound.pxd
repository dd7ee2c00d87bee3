"""A buffer unpacked, and whether what is in it is sound: offsets, texts, codes."""

from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from kernels.ipc._block cimport Block, reserved
from kernels.ipc._scan cimport Part
from kernels.ipc._unlz4 cimport SLACK, unframed


cdef inline bint unpacked(const Part* part, char* out) noexcept nogil:
    """Whether the buffer is sound; writes up to SLACK bytes beyond what it stands for."""
    if part.raw:
        memcpy(out, part.data, part.plain)
        return True
    return unframed(part.data, part.size, <uint8_t*>out, part.plain)


cdef inline bint rising(const int32_t* ends, int64_t rows, int64_t most) noexcept nogil:
    """Whether offsets are 0 and on, none before the last one, none beyond `most`."""
    cdef int64_t row
    cdef int32_t falls = 0
    for row in range(rows):
        falls |= ends[row + 1] < ends[row]
    return ends[0] == 0 and not falls and ends[rows] <= most


cdef inline bint are_texts(const int32_t* ends, const char* letters, int64_t rows) except -1:
    """Whether each is UTF-8: all of them one behind the other, and none begins within a letter."""
    cdef int64_t at = 0, size = ends[rows], row
    cdef uint64_t eight, high = 0
    while at + 8 <= size:
        memcpy(&eight, letters + at, 8)
        high |= eight
        at += 8
    eight = 0
    memcpy(&eight, letters + at, size - at)
    if not (high | eight) & <uint64_t>0x8080808080808080:
        return True
    try:
        PyUnicode_DecodeUTF8(letters, size, NULL)
    except UnicodeDecodeError:
        return False
    for row in range(rows):
        if ends[row] < size and (<uint8_t>letters[ends[row]] & 0xC0) == 0x80:
            return False
    return True


cdef inline bint listed(const Part* part, Block* ends, Block* letters) except -1:
    """Whether a dictionary's offsets and texts are sound, unpacked to these blocks."""
    reserved(ends, part[0].plain + SLACK)
    reserved(letters, part[1].plain + SLACK)
    if not unpacked(part, ends.data) or not unpacked(part + 1, letters.data):
        return False
    if not rising(<int32_t*>ends.data, part.rows, part[1].plain):
        return False
    return are_texts(<int32_t*>ends.data, letters.data, part.rows)


cdef inline bint recoded(int32_t* codes, int64_t rows, int64_t known, const int32_t* map) noexcept nogil:
    """Whether each code is of one of the `known` texts; map, if any: what it becomes."""
    cdef int64_t row
    cdef uint32_t beyond = 0
    for row in range(rows):
        beyond |= <uint32_t>codes[row] >= <uint32_t>known
    if beyond:
        return False
    if map != NULL:
        for row in range(rows):
            codes[row] = map[codes[row]]
    return True
