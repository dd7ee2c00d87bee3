# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The compiled twin of reference.Rows: the loops are in _events.h, compiled with and without AVX2.

    buffer  [message][message]...    a message is lines; a line is a row
    column  one slot a good row, in the order of the rows; an optional one has its validity beside;
            kept from buffer to buffer, so that its memory is warm, and copied out at the end
    texts   every distinct text of all columns, one code each, for as long as the decoder lives
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport int8_t, int16_t, int32_t, int64_t, uint8_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset

import numpy as np

cimport numpy as cnp

from kernels.decode import layout

cnp.import_array()

cdef extern from *:
    """
    #include "_template.h"

    #define NAME(x) scalar_##x
    #define TARGET
    #define WIDE 0
    #define SPECIAL(p, end) special_scalar(p, end)
    #include "_events.h"

    #if GRIDLOOM_X86
    #define NAME(x) avx2_##x
    #define TARGET __attribute__((target("avx2")))
    #define WIDE 1
    #define SPECIAL(p, end) special_avx2(p, end)
    #include "_events.h"
    static int has_avx2(void) { return __builtin_cpu_supports("avx2") != 0; }
    #else
    #define avx2_lines scalar_lines
    static int has_avx2(void) { return 0; }
    #endif
    """
    enum: PAD
    enum: TEXT
    enum: NUMBER
    enum: DECIMAL
    ctypedef struct Entry:
        int32_t size
    ctypedef struct Texts:
        int64_t count
        int64_t* starts
        uint8_t* bytes
    ctypedef struct Field:
        const uint8_t* name
        int32_t size
        int32_t kind
        int64_t maximum
        uint64_t listed
        void* out
        int8_t* exponents
        uint8_t* valid
    ctypedef struct Place:
        int64_t start
        int64_t end
        int32_t message
        int32_t line
    ctypedef struct Refused:
        Place place
        uint8_t verdict
        uint8_t reason
    ctypedef struct Decoder:
        Field* fields
        int32_t field_count
        uint64_t required
        Texts* texts
        uint8_t* scratch
        int64_t good
        int64_t room
        Place* places
        Refused* refused
        int64_t refused_count
        uint8_t verdict
        uint8_t reason
        int16_t field
        uint8_t no_memory
    int has_avx2()
    int texts_grow(Texts* texts)
    void texts_free(Texts* texts)
    Entry entry_of(const uint8_t* p, int64_t size)
    int32_t texts_code(Texts* texts, const Entry* text, const uint8_t* p)
    int64_t texts_places(
        Texts* texts, const int32_t* codes, const uint8_t* valid, int64_t rows, int32_t* places,
        int32_t* used)
    void note_refused(Decoder* d, Place place)
    const uint8_t* scalar_lines(
        Decoder* d, const uint8_t* p, const uint8_t* end, int64_t shift, Place* place)
    const uint8_t* avx2_lines(
        Decoder* d, const uint8_t* p, const uint8_t* end, int64_t shift, Place* place)

HAS_AVX2 = bool(has_avx2())

assert sizeof(Place) == layout.PLACE.itemsize, "Place is not layout.PLACE"
assert sizeof(Refused) == layout.REFUSED.itemsize, "Refused is not layout.REFUSED"

cdef void* fresh(void* old, int64_t count, Py_ssize_t width) except NULL:
    """A column of zeros in the place of a smaller one, which holds nothing any more."""
    free(old)
    cdef void* column = calloc(count, width)
    if column == NULL:
        raise MemoryError("no memory for the columns; send smaller buffers")
    return column


cdef cnp.ndarray copied(const void* column, int64_t count, Py_ssize_t width, dtype):
    cdef cnp.ndarray copy = np.empty(count, dtype)
    memcpy(cnp.PyArray_DATA(copy), column, count * width)
    return copy


cdef class Rows:
    """Decodes buffers for one tuple of fields; keeps texts and predictions, no result needs them.

    use_avx2: None takes it where the machine has it.
    """

    cdef Decoder* d
    cdef Texts texts
    cdef bint use_avx2
    cdef int64_t row_bytes_min
    cdef int64_t room
    cdef readonly tuple fields
    cdef list names, encoded

    def __cinit__(self):
        memset(&self.texts, 0, sizeof(Texts))
        self.d = <Decoder*>malloc(sizeof(Decoder))
        if self.d == NULL:
            raise MemoryError("no memory for a decoder")
        memset(self.d, 0, sizeof(Decoder))

    def __dealloc__(self):
        texts_free(&self.texts)
        if self.d != NULL:
            for i in range(self.d.field_count):
                free(self.d.fields[i].out)
                free(self.d.fields[i].valid)
                free(self.d.fields[i].exponents)
            free(self.d.scratch)
            free(self.d.refused)
            free(self.d)

    def __init__(self, fields, use_avx2=None):
        cdef Field* to
        if use_avx2 and not HAS_AVX2:
            raise ValueError("this machine has no AVX2")
        self.use_avx2 = HAS_AVX2 if use_avx2 is None else use_avx2
        self.fields = tuple(fields)
        self.names = [field.name for field in self.fields]
        self.encoded = [name.encode() for name in self.names]
        self.d.texts = &self.texts
        if texts_grow(&self.texts):
            raise MemoryError("no memory for the texts")
        self.d.field_count = len(self.fields)
        self.row_bytes_min = 2
        for i, field in enumerate(self.fields):
            to = &self.d.fields[i]
            to.name = self.encoded[i]
            to.size = len(self.encoded[i])
            to.kind = field.kind
            to.maximum = field.maximum
            to.listed = 0
            if field.required:
                self.d.required |= <uint64_t>1 << i
                self.row_bytes_min += len(self.encoded[i]) + 4  # quotes, colon, one digit
            for text in field.listed:
                code = self._code(text.encode())
                assert code < layout.LISTED_MAX, "too many listed texts"
                to.listed |= <uint64_t>1 << <int>code

    cdef _code(self, bytes text):
        cdef bytes padded = text + bytes(PAD)
        cdef const uint8_t* p = padded
        cdef Entry entry = entry_of(p, len(text))
        cdef int32_t code = texts_code(&self.texts, &entry, p)
        if code < 0:
            raise MemoryError("no memory for the texts")
        return code

    def __len__(self):
        """Texts held."""
        return self.texts.count

    def decode(self, buffer, starts, sizes):
        """Columns by name (layout.Column), places of the good rows, and the refused rows."""
        cdef Py_buffer view
        cdef cnp.ndarray first = np.ascontiguousarray(starts, np.int64)
        cdef cnp.ndarray length = np.ascontiguousarray(sizes, np.int64)
        cdef int64_t* at = <int64_t*>cnp.PyArray_DATA(first)
        cdef int64_t* size = <int64_t*>cnp.PyArray_DATA(length)
        cdef Py_ssize_t i, messages = len(first)
        cdef int64_t total = 0
        for i in range(messages):
            total += size[i]
        cdef int64_t room = total // self.row_bytes_min + 1  # a bad row needs a place too
        cdef cnp.ndarray places = np.empty(room, layout.PLACE)
        self._reserve(room)
        self.d.good = self.d.refused_count = 0
        self.d.room = room
        self.d.places = <Place*>cnp.PyArray_DATA(places)
        self.d.no_memory = 0
        kept, self.room = self.room, 0  # a failure leaves the columns as they are: never again
        PyObject_GetBuffer(buffer, &view, PyBUF_SIMPLE)
        try:
            for i in range(messages):
                self._message(<const uint8_t*>view.buf, view.len, at[i], size[i], <int32_t>i)
        finally:
            PyBuffer_Release(&view)
        if self.d.no_memory:
            raise MemoryError("no memory for the rows; send smaller buffers")
        self.room = kept
        columns = {name: self._column(i) for i, name in enumerate(self.names)}
        return columns, places[: self.d.good], self._refused()

    cdef int _reserve(self, int64_t room) except -1:
        """Room for the rows of a buffer in the columns that the loops write; optional ones are
        zero wherever no row has been, and are left so."""
        cdef Field* field
        cdef Py_ssize_t width
        if room <= self.room:
            return 0
        for i in range(self.d.field_count):
            field = &self.d.fields[i]
            width = 4 if field.kind == TEXT else 8
            field.out = fresh(field.out, room, width)
            if not self.d.required >> i & 1:
                field.valid = <uint8_t*>fresh(field.valid, room, 1)
            if field.kind == DECIMAL:
                field.exponents = <int8_t*>fresh(field.exponents, room, 1)
        self.room = room
        return 0

    cdef _column(self, int i):
        """What the loops wrote of a field, as arrays of its own; (None, ...) where no row has it."""
        cdef Field* field = &self.d.fields[i]
        cdef int64_t row, rows = self.d.good, known = rows
        cdef cnp.ndarray numbers, offsets, texts
        valid = exponents = dictionary = None
        if field.valid != NULL:
            known = 0
            for row in range(rows):
                known += field.valid[row]
            if known == 0:
                return layout.Column(None, None, None, None)
            if known < rows:
                valid = copied(field.valid, rows, 1, np.uint8)
        if field.kind == TEXT:
            numbers = np.empty(rows, np.int32)
            dictionary = self._dictionary(field, valid is not None, numbers)
        else:
            numbers = copied(field.out, rows, 8, np.float64 if field.kind == NUMBER else np.int64)
        if field.kind == DECIMAL:
            exponents = copied(field.exponents, rows, 1, np.int8)
        if field.valid != NULL:
            memset(field.valid, 0, rows)
            memset(field.out, 0, rows * (4 if field.kind == TEXT else 8))
            if field.kind == DECIMAL:
                memset(field.exponents, 0, rows)
        return layout.Column(numbers, valid, exponents, dictionary)

    cdef _dictionary(self, Field* field, bint has_nulls, cnp.ndarray places):
        """Codes to places in a dictionary of the texts in use; the dictionary's offsets, bytes."""
        cdef int64_t i, size, start, total = 0
        cdef cnp.ndarray used = np.empty(min(self.d.good, self.texts.count), np.int32)
        cdef int32_t* code = <int32_t*>cnp.PyArray_DATA(used)
        size = texts_places(
            &self.texts, <int32_t*>field.out, field.valid if has_nulls else NULL, self.d.good,
            <int32_t*>cnp.PyArray_DATA(places), code,
        )
        for i in range(size):
            total += self.texts.starts[code[i] + 1] - self.texts.starts[code[i]]
        if total > 0x7FFFFFFF:
            raise MemoryError("more than 2 GB of distinct texts in a batch; send smaller buffers")
        cdef cnp.ndarray offsets = np.empty(size + 1, np.int32)
        cdef int32_t* offset = <int32_t*>cnp.PyArray_DATA(offsets)
        cdef cnp.ndarray texts = np.empty(total, np.uint8)
        cdef uint8_t* to = <uint8_t*>cnp.PyArray_DATA(texts)
        offset[0] = 0
        for i in range(size):
            start = self.texts.starts[code[i]]
            offset[i + 1] = offset[i] + <int32_t>(self.texts.starts[code[i] + 1] - start)
            memcpy(to + offset[i], self.texts.bytes + start, offset[i + 1] - offset[i])
        return offsets, texts

    cdef int _message(
        self, const uint8_t* buffer, int64_t length, int64_t start, int64_t size, int32_t message
    ) except -1:
        """One message; what ends less than PAD before the buffer's end is read from a copy."""
        cdef Place place
        cdef int64_t end = start + size, cut = end
        cdef uint8_t* tail
        cdef int64_t rows = self.d.good + self.d.refused_count
        place.message = message
        place.line = 0
        if end > length - PAD:
            cut = max(start, min(end, length - PAD))
            while cut > start and buffer[cut - 1] != 10:  # a line is never cut
                cut -= 1
        if cut > start:
            self._lines(buffer + start, buffer + cut, start, &place)
        if cut < end:
            tail = <uint8_t*>malloc(end - cut + PAD)
            if tail == NULL:
                raise MemoryError("no memory for a row")
            memcpy(tail, buffer + cut, end - cut)
            memset(tail + end - cut, 0, PAD)
            self._lines(tail, tail + end - cut, cut, &place)
            free(tail)
        if self.d.good + self.d.refused_count == rows:  # blank: not even one event
            place.start = start
            place.end = end
            place.line = 0
            self.d.verdict = layout.Verdict.BAD
            self.d.reason = 1
            self.d.field = -1
            note_refused(self.d, place)
        return 0

    cdef int _lines(
        self, const uint8_t* p, const uint8_t* end, int64_t shift, Place* place
    ) except -1:
        if self.use_avx2:
            p = avx2_lines(self.d, p, end, shift, place)
        else:
            p = scalar_lines(self.d, p, end, shift, place)
        assert p == end, "a good row is shorter than its keys"
        return 0

    cdef _refused(self):
        cdef cnp.ndarray refused = np.empty(self.d.refused_count, layout.REFUSED)
        if self.d.refused_count:
            memcpy(
                cnp.PyArray_DATA(refused),
                self.d.refused,
                self.d.refused_count * sizeof(Refused),
            )
        return refused
