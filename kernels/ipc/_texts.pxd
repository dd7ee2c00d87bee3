"""The texts of a column that several dictionaries have, each once: a table that stays.

Dictionaries of one writer are much alike, so a text is first compared with the one behind the last
one found. The table is filled only where that does not do; a generation later it is empty.
"""

from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy

from kernels.ipc._block cimport Block, reserved

cdef enum:
    PROBES = 256  # texts made to collide cost so many, then their values are declined


cdef struct Slot:
    int64_t generation
    uint32_t hash
    int32_t code


cdef struct Texts:
    int32_t size
    Block ends  # int32: 0, then where each text ends
    Block letters
    Slot* slots
    int64_t mask  # slots - 1
    int64_t generation
    int32_t hashed  # of the texts are in the table


cdef inline const int32_t* ends_of(const Texts* texts) noexcept nogil:
    return <const int32_t*>texts.ends.data


cdef inline uint32_t hash_of(const char* letters, Py_ssize_t size) noexcept nogil:
    cdef uint64_t hash = size, word
    while size >= 8:
        memcpy(&word, letters, 8)
        hash = (hash ^ word) * <uint64_t>0x9E3779B97F4A7C15
        hash ^= hash >> 32
        letters += 8
        size -= 8
    word = 0
    memcpy(&word, letters, size)
    hash = (hash ^ word) * <uint64_t>0x9E3779B97F4A7C15
    return <uint32_t>(hash >> 32)


cdef inline bint is_text(
    const Texts* texts, int32_t code, const char* letters, Py_ssize_t size
) noexcept nogil:
    cdef const int32_t* ends = ends_of(texts)
    return ends[code + 1] - ends[code] == size and not memcmp(
        texts.letters.data + ends[code], letters, size
    )


cdef inline Slot* slot_of(
    Texts* texts, uint32_t hash, const char* letters, Py_ssize_t size
) noexcept nogil:
    """Where the text stands or would; NULL: too many of its like."""
    cdef Slot* slot
    cdef int64_t probe
    for probe in range(min(<int64_t>PROBES, texts.mask + 1)):
        slot = texts.slots + ((hash + probe) & texts.mask)
        if slot.generation != texts.generation:
            return slot
        if slot.hash == hash and is_text(texts, slot.code, letters, size):
            return slot
    return NULL


cdef inline bint fill(Texts* texts) except -1:
    """All texts are in a table that is half empty at least; False: too many of one kind."""
    cdef const int32_t* ends
    cdef const char* letters
    cdef uint32_t hash
    cdef Slot* slot
    cdef int64_t room
    if 2 * (<int64_t>texts.size + 1) > texts.mask + 1 or texts.slots == NULL:
        room = 64
        while room < 4 * (<int64_t>texts.size + 1):
            room *= 2
        free(texts.slots)
        texts.slots = <Slot*>calloc(room, sizeof(Slot))
        texts.mask = room - 1 if texts.slots != NULL else 0
        texts.hashed = 0
        if texts.slots == NULL:
            raise MemoryError("no memory for the texts of a column")
    while texts.hashed < texts.size:
        ends = ends_of(texts)
        letters = texts.letters.data + ends[texts.hashed]
        hash = hash_of(letters, ends[texts.hashed + 1] - ends[texts.hashed])
        slot = slot_of(texts, hash, letters, ends[texts.hashed + 1] - ends[texts.hashed])
        if slot == NULL:
            return False
        if slot.generation != texts.generation:
            slot[0] = Slot(texts.generation, hash, texts.hashed)
        texts.hashed += 1
    return True


cdef inline int32_t code_of(Texts* texts, const char* letters, Py_ssize_t size) except -2:
    """The code of a text, which is added if it is a new one; -1: too many of its like."""
    cdef Slot* slot
    cdef uint32_t hash
    cdef int32_t* ends
    cdef int32_t used
    if not fill(texts):
        return -1
    hash = hash_of(letters, size)
    slot = slot_of(texts, hash, letters, size)
    if slot == NULL:
        return -1
    if slot.generation == texts.generation:
        return slot.code
    used = ends_of(texts)[texts.size]
    if size > 0x7FFFFFFF - used:
        return -1
    reserved(&texts.ends, 4 * (<Py_ssize_t>texts.size + 2))
    reserved(&texts.letters, used + size)
    memcpy(texts.letters.data + used, letters, size)
    ends = <int32_t*>texts.ends.data
    ends[texts.size + 1] = used + <int32_t>size
    slot[0] = Slot(texts.generation, hash, texts.size)
    texts.size += 1
    texts.hashed = texts.size
    return texts.size - 1


cdef inline int mapped(
    Texts* texts, const int32_t* ends, const char* letters, Py_ssize_t size, int32_t* map
) except -2:
    """The code of each text of another dictionary; 1: all as they are there, -1: declined."""
    cdef Py_ssize_t text
    cdef int32_t code = -1
    cdef int as_they_are = 1
    for text in range(size):
        code += 1
        if code >= texts.size or not is_text(
            texts, code, letters + ends[text], ends[text + 1] - ends[text]
        ):
            code = code_of(texts, letters + ends[text], ends[text + 1] - ends[text])
            if code < 0:
                return -1
        if code != text:
            as_they_are = 0
        map[text] = code
    return as_they_are
