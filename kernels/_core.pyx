# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The compiled twins of symbols.Texts and symbols.recode: the same answers.

    arena   [text 0][text 1]...   utf-8 of every text; ends[code] is where it ends
    table   open addressing: hash(text) -> code + 1; hashes[code] is kept beside it
"""

from cpython.unicode cimport PyUnicode_AsUTF8AndSize, PyUnicode_DecodeUTF8
from libc.stdint cimport INT32_MAX, int32_t, int64_t, uint8_t, uint64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcmp, memcpy

import numpy as np

cimport numpy as cnp

cnp.import_array()

cdef inline uint64_t hash_of(const char* text, Py_ssize_t size) noexcept nogil:
    cdef uint64_t h = <uint64_t>0x9E3779B97F4A7C15 ^ <uint64_t>size
    cdef uint64_t part
    while size >= 8:
        memcpy(&part, text, 8)
        h = (h ^ part) * <uint64_t>0xD6E8FEB86659FD93
        h ^= h >> 32
        text += 8
        size -= 8
    part = 0
    memcpy(&part, text, size)
    h = (h ^ part) * <uint64_t>0xD6E8FEB86659FD93
    h ^= h >> 29
    return h


cdef inline void* grown(void* block, size_t size) except NULL:
    cdef void* bigger = realloc(block, size)
    if bigger == NULL:
        raise MemoryError("no memory for the texts of a state; shard the topic")
    return bigger


cdef inline int64_t start_of(const int64_t* ends, int32_t code) noexcept nogil:
    return ends[code - 1] if code else 0


cdef class Texts:
    """Texts by code, looked up by their bytes."""

    def __cinit__(self):
        self.arena = NULL
        self.ends = NULL
        self.hashes = NULL
        self.table = NULL
        self.place = NULL

    def __dealloc__(self):
        free(self.arena)
        free(self.ends)
        free(self.hashes)
        free(self.table)
        free(self.place)

    def __init__(self, names):
        self.names = []
        self.last = -1
        self._reserve(max(256, len(names)))
        for name in names:
            self.code(name)

    def code(self, str name):
        cdef Py_ssize_t size
        cdef const char* text = PyUnicode_AsUTF8AndSize(name, &size)
        return self.find(text, size)

    def codes(self, const int32_t[::1] offsets, const uint8_t[::1] data):
        """Codes of the texts data[offsets[i]:offsets[i + 1]]."""
        cdef Py_ssize_t i, size = offsets.shape[0] - 1
        cdef cnp.ndarray codes = np.empty(size, np.int32)
        cdef int32_t* out = <int32_t*>cnp.PyArray_DATA(codes)
        cdef const char* text = b""  # no NULL: what is copied of it is 0 bytes, but of an object
        if data.shape[0]:
            text = <const char*>&data[0]
        for i in range(size):
            out[i] = self.find(text + offsets[i], offsets[i + 1] - offsets[i])
        return codes

    def first_use(self, codes):
        """(place of each code in `used`, used): the codes that occur, in order of first use."""
        cdef cnp.ndarray places = np.array(codes, np.int32)
        cdef cnp.ndarray used = np.empty(min(len(places), self.count), np.int32)
        cdef Py_ssize_t found = self.renumber(
            <int32_t*>cnp.PyArray_DATA(places), len(places), <int32_t*>cnp.PyArray_DATA(used)
        )
        return places, used[:found]

    cdef Py_ssize_t renumber(self, int32_t* codes, Py_ssize_t size, int32_t* used) noexcept nogil:
        """first_use in place: `codes` become places in `used`, which has room for the codes that
        occur; how many there are."""
        cdef int32_t* place = self.place
        cdef Py_ssize_t i
        cdef int32_t found = 0, at = 0, last = -1
        for i in range(size):
            if codes[i] != last:  # the same text often comes many times
                last = codes[i]
                at = place[last]
                if at == 0:
                    used[found] = last
                    found += 1
                    at = place[last] = found
            codes[i] = at - 1
        for i in range(found):
            place[used[i]] = 0
        return found

    def compact(self, rows, columns):
        """The codes of these columns in order of first use; recodes the rows in place."""
        cdef cnp.ndarray given = rows
        cdef char* data = <char*>cnp.PyArray_DATA(given)
        cdef Py_ssize_t i, at, size = len(given), step = given.strides[0]
        cdef cnp.ndarray used = np.empty(min(size * len(columns), self.count), np.int32)
        cdef int32_t* listed = <int32_t*>cnp.PyArray_DATA(used)
        cdef int32_t found = 0
        cdef int32_t* code
        for name in columns:
            at = code_field(given, name)
            for i in range(size):
                code = <int32_t*>(data + i * step + at)
                if self.place[code[0]] == 0:
                    listed[found] = code[0]
                    found += 1
                    self.place[code[0]] = found
                code[0] = self.place[code[0]] - 1
        for i in range(found):
            self.place[listed[i]] = 0
        return used[:found]

    def texts(self, codes):
        """(offsets, data) of these codes' texts, as Arrow lays them out."""
        cdef cnp.ndarray given = np.ascontiguousarray(codes, np.int32)
        cdef const int32_t* code = <const int32_t*>cnp.PyArray_DATA(given)
        cdef Py_ssize_t size = len(given)
        cdef int64_t total = self.length(code, size)
        if total > INT32_MAX:
            raise OverflowError("more than 2 GB of texts in one batch")
        cdef cnp.ndarray offsets = np.empty(size + 1, np.int32)
        cdef cnp.ndarray data = np.empty(total + SLACK, np.uint8)
        self.write(
            code, size, <int32_t*>cnp.PyArray_DATA(offsets), <char*>cnp.PyArray_DATA(data)
        )
        return offsets, data[:total]

    cdef int64_t length(self, const int32_t* codes, Py_ssize_t size) noexcept nogil:
        """Bytes of these codes' texts."""
        cdef Py_ssize_t i
        cdef int64_t total = 0
        for i in range(size):
            total += self.ends[codes[i]] - start_of(self.ends, codes[i])
        return total

    cdef void write(
        self, const int32_t* codes, Py_ssize_t size, int32_t* offsets, char* data
    ) noexcept nogil:
        """`texts` into room for them; `data` has SLACK bytes more than `length` says."""
        cdef Py_ssize_t i
        cdef int64_t start, length, at = 0
        offsets[0] = 0
        for i in range(size):
            start = start_of(self.ends, codes[i])
            length = self.ends[codes[i]] - start
            if length <= SLACK:
                memcpy(data + at, self.arena + start, SLACK)  # of fixed size: no call
            else:
                memcpy(data + at, self.arena + start, length)
            at += length
            offsets[i + 1] = <int32_t>at

    cdef int32_t find(self, const char* text, Py_ssize_t size) except -1:
        """`code` of a text given by its bytes."""
        cdef int32_t code = self.last + 1
        cdef uint64_t h, at
        cdef int64_t start, end
        if code < self.count:  # texts mostly come in the order in which they came before
            start = start_of(self.ends, code)
            if (self.ends[code] - start == size
                    and memcmp(self.arena + start, text, size) == 0):
                self.last = code
                return code
        h = hash_of(text, size)
        at = h & self.mask
        while self.table[at] != 0:
            code = self.table[at] - 1
            if self.hashes[code] == h:
                start = start_of(self.ends, code)
                if (self.ends[code] - start == size
                        and memcmp(self.arena + start, text, size) == 0):
                    self.last = code
                    return code
            at = (at + 1) & self.mask
        name = PyUnicode_DecodeUTF8(text, size, NULL)
        if self.count == self.room:
            self._reserve(2 * self.room)
            return self.find(text, size)  # the table is another one
        code = <int32_t>self.count
        start = start_of(self.ends, code)
        end = start + size
        if end + SLACK > self.arena_room:
            self.arena = <char*>grown(self.arena, 2 * end + SLACK)
            self.arena_room = 2 * end + SLACK
        memcpy(self.arena + start, text, size)
        self.ends[code] = end
        self.hashes[code] = h
        self.place[code] = 0
        self.table[at] = code + 1
        self.names.append(name)
        self.count += 1
        self.last = code
        return code

    cdef int _reserve(self, Py_ssize_t room) except -1:
        """Room for so many texts, and a table at most half full."""
        cdef Py_ssize_t i, size = 512
        cdef uint64_t at
        while size < 2 * room:
            size *= 2
        self.room = room
        self.ends = <int64_t*>grown(self.ends, room * sizeof(int64_t))
        self.hashes = <uint64_t*>grown(self.hashes, room * sizeof(uint64_t))
        self.place = <int32_t*>grown(self.place, room * sizeof(int32_t))
        free(self.table)
        self.table = <int32_t*>calloc(size, sizeof(int32_t))
        if self.table == NULL:
            raise MemoryError("no memory for the texts of a state; shard the topic")
        self.mask = size - 1
        for i in range(self.count):
            at = self.hashes[i] & self.mask
            while self.table[at] != 0:
                at = (at + 1) & self.mask
            self.table[at] = <int32_t>(i + 1)
        return 0


cdef Py_ssize_t code_field(cnp.ndarray rows, name) except -1:
    """Where in a row the codes of a text column are."""
    kind, at = rows.dtype.fields[name][:2]
    assert kind == np.int32, "a code is 32 bits"
    return at


def recode(rows, columns, codes):
    """rows[column] = codes[rows[column]], in place; IndexError for a code beyond."""
    cdef cnp.ndarray given = rows
    cdef char* data = <char*>cnp.PyArray_DATA(given)
    cdef Py_ssize_t i, at, size = len(given), step = given.strides[0]
    cdef const int32_t[::1] known = codes
    cdef int32_t* code
    for name in columns:
        at = code_field(given, name)
        for i in range(size):
            code = <int32_t*>(data + i * step + at)
            if not 0 <= code[0] < known.shape[0]:
                raise IndexError(f"a row names text {code[0]} of {known.shape[0]}")
            code[0] = known[code[0]]
