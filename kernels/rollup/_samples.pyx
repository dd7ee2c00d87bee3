# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The compiled twin of samples.filled, and of what comes before it: the same rows, in one pass.

    a row's text   codes[indices[row]]   codes: of the batch's dictionary, kept from batch to batch
                                         for as long as its bytes are the same
"""

from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t, uint64_t
from libc.string cimport memcmp, memcpy

import numpy as np

cimport numpy as cnp

from kernels._arrow cimport ArrowArray, ArrowSchema, check_indices, has_null
from kernels.rollup._bucket cimport bucket_of
from kernels.rollup._layout cimport Sample
from kernels.rollup._power cimport power

from kernels.rollup import layout, samples, sketch
from schemas.telemetry import KINDS, READINGS

cnp.import_array()

cdef enum:
    NUMBERS = 4
    TEXTS = 6
    LISTS = TEXTS + 2  # with kind and unit

assert len(layout.TEXTS) == TEXTS, "the texts of a sample are others"
assert samples.NUMBERS == ("start_ms", "end_ms", "revision", "quantity")

cdef uint8_t DELTA = samples.DELTA, REGISTER = samples.REGISTER, MJ = samples.MJ, MW = samples.MW
cdef uint8_t UNLISTED = samples.UNLISTED
cdef uint8_t OVERFLOW_ = layout.Outcome.OVERFLOW, UNLISTED_ = layout.Outcome.UNLISTED
cdef uint8_t REVERSED_ = layout.Outcome.REVERSED, NEGATIVE_ = layout.Outcome.NEGATIVE
cdef const int64_t[::1] BOUNDS = sketch.BOUNDS
cdef const int16_t[::1] GUESS = sketch.GUESS

COLUMNS = [column.name for column in READINGS.columns]
cdef list PLACES = [COLUMNS.index(name) for name in (*samples.NUMBERS, "received_ms")]
cdef list TEXT_PLACES = [COLUMNS.index(name) for name in (*layout.TEXTS, "kind", "unit")]


cdef struct Columns:
    int64_t size
    const int64_t* start_ms
    const int64_t* end_ms
    const int64_t* revision
    const int64_t* quantity
    const int32_t* indices[LISTS]
    const int32_t* codes[LISTS]
    int32_t none


cdef inline int64_t floored(int64_t value, int64_t step) noexcept nogil:
    """The multiple of `step` at `value` or next below it."""
    cdef int64_t rest = value % step
    return value - rest - (step if rest < 0 else 0)


cdef void fill(Sample* row, const Columns* columns, int64_t window_ms) noexcept nogil:
    cdef int64_t i, at_ms, window = 0
    cdef int32_t none = columns.none
    cdef uint8_t kind, unit
    cdef bint energy
    for i in range(columns.size):
        kind = <uint8_t>columns.codes[TEXTS][columns.indices[TEXTS][i]]
        unit = <uint8_t>columns.codes[TEXTS + 1][columns.indices[TEXTS + 1][i]]
        energy = kind == DELTA and unit == MJ
        row.start_ms = columns.start_ms[i]
        row.end_ms = columns.end_ms[i]
        row.revision = columns.revision[i]
        row.sample = columns.quantity[i]
        row.energy_mj = columns.quantity[i] if energy else 0
        row.meter = columns.codes[0][columns.indices[0][i]]
        row.register_ = columns.codes[1][columns.indices[1][i]]
        row.source = columns.codes[2][columns.indices[2][i]]
        row.site = columns.codes[3][columns.indices[3][i]]
        row.rack = columns.codes[4][columns.indices[4][i]]
        row.hub = columns.codes[5][columns.indices[5][i]]
        row.kind = kind
        row.unit = MW if energy else unit
        row.levels = 0
        if kind != REGISTER:
            row.levels = (
                <uint8_t>(row.rack != none) | <uint8_t>(row.site != none) << 1
                | <uint8_t>(row.hub != none) << 2
            )
        row.fault = 0
        if kind == UNLISTED or unit == UNLISTED:
            row.fault = UNLISTED_
        elif row.end_ms <= row.start_ms:
            row.fault = REVERSED_
        elif row.sample < 0:
            row.fault = NEGATIVE_
        elif energy and not power(row.energy_mj, row.end_ms - row.start_ms, &row.sample):
            row.fault = OVERFLOW_
        if row.fault:
            row.sample = row.energy_mj = 0
        row.bucket = bucket_of(row.sample, &BOUNDS[0], &GUESS[0])
        at_ms = row.end_ms if kind == REGISTER else row.start_ms
        if i == 0 or at_ms < window or <uint64_t>at_ms - <uint64_t>window >= <uint64_t>window_ms:
            window = floored(at_ms, window_ms)
        row.window_ms = window
        row += 1


def filled(given, int64_t window_ms):
    """samples.filled."""
    cdef Columns columns
    cdef Py_ssize_t k
    cdef cnp.ndarray indices, codes
    cdef const int64_t[::1] start_ms = given.start_ms, end_ms = given.end_ms
    cdef const int64_t[::1] revision = given.revision, quantity = given.quantity
    cdef cnp.ndarray rows = np.empty(start_ms.shape[0], layout.SAMPLE)
    columns.size = start_ms.shape[0]
    if not (end_ms.shape[0] == revision.shape[0] == quantity.shape[0] == columns.size):
        raise ValueError("columns of a batch differ in length")
    if columns.size == 0:
        return rows
    columns.start_ms, columns.end_ms = &start_ms[0], &end_ms[0]
    columns.revision, columns.quantity = &revision[0], &quantity[0]
    columns.none = given.none
    held = []
    for k, pair in enumerate((*given.texts, given.kind, given.unit)):
        indices = np.ascontiguousarray(pair[0], np.int32)
        codes = np.ascontiguousarray(pair[1], np.int32)
        if len(indices) != columns.size:
            raise ValueError("columns of a batch differ in length")
        held += [codes, indices]
        columns.indices[k] = <const int32_t*>cnp.PyArray_DATA(indices)
        columns.codes[k] = <const int32_t*>cnp.PyArray_DATA(codes)
        check_indices(columns.indices[k], columns.size, len(codes))
    fill(<Sample*>cnp.PyArray_DATA(rows), &columns, window_ms)
    return rows


cdef class Dictionary:
    """The texts of a column in the last batch, and what they are coded as."""

    cdef object code  # (offsets, data) -> codes
    cdef bytes offsets, data
    cdef cnp.ndarray codes
    cdef int64_t size

    def __init__(self, code):
        self.code = code
        self.size = -1

    cdef const int32_t* of(self, const ArrowArray* texts) except? NULL:
        """The code of each text."""
        cdef const int32_t* offsets = <const int32_t*>texts.buffers[1]
        cdef const char* data = <const char*>texts.buffers[2]
        cdef int64_t bytes_ = 0
        if texts.length:
            offsets += texts.offset
            bytes_ = offsets[texts.length] - offsets[0]
            data += offsets[0]
        if has_null(texts):  # first: a null has the bytes of an empty text
            raise ValueError("a text of the column is null")
        if not self._is_same(texts.length, offsets, data, bytes_):
            self.size = -1
            self.offsets = (<const char*>offsets)[: 4 * (texts.length + 1)] if texts.length else b""
            self.data = data[:bytes_] if bytes_ else b""
            self.codes = np.empty(0, np.int32)
            if texts.length:
                ends = np.frombuffer(self.offsets, np.int32)
                self.codes = np.ascontiguousarray(
                    self.code(ends - ends[0], np.frombuffer(self.data, np.uint8)), np.int32
                )
            self.size = texts.length
        return <const int32_t*>cnp.PyArray_DATA(self.codes)

    cdef bint _is_same(
        self, int64_t size, const int32_t* offsets, const char* data, int64_t bytes_
    ) except -1:
        return (
            size == self.size and len(self.data) == bytes_
            and (size == 0 or memcmp(<const char*>self.offsets, offsets, 4 * (size + 1)) == 0)
            and (bytes_ == 0 or memcmp(<const char*>self.data, data, bytes_) == 0)
        )


cdef class Reader:
    """samples.Reader: the samples of one batch after the other."""

    cdef list dictionaries
    cdef int32_t none
    cdef int64_t window_ms

    def __init__(self, symbols, int64_t window_ms):
        self.dictionaries = [Dictionary(symbols.codes) for _ in layout.TEXTS]
        self.dictionaries += [Dictionary(samples.places(names)) for names in (KINDS, layout.UNITS)]
        self.none = symbols.code("")
        self.window_ms = window_ms

    def read(self, readings):
        """(samples, received_ms) of a batch of READINGS; ValueError where a column has a null."""
        schema, array = readings.__arrow_c_array__()  # they live until the end
        return self._read(
            <ArrowSchema*>PyCapsule_GetPointer(schema, "arrow_schema"),
            <ArrowArray*>PyCapsule_GetPointer(array, "arrow_array"),
        )

    cdef _read(self, const ArrowSchema* schema, const ArrowArray* array):
        cdef Columns columns
        cdef Py_ssize_t k, place
        cdef const int64_t* numbers[NUMBERS + 1]
        cdef cnp.ndarray rows = np.empty(array.length, layout.SAMPLE)
        cdef cnp.ndarray received_ms = np.empty(array.length, np.int64)
        if array.n_children != len(COLUMNS):
            raise ValueError(f"a batch of readings has the columns {', '.join(COLUMNS)}")
        for k, place in enumerate(PLACES):
            numbers[k] = <const int64_t*>values(schema.children[place], array, place, b"l", 8)
        for k, place in enumerate(TEXT_PLACES):
            columns.indices[k] = <const int32_t*>values(
                schema.children[place], array, place, b"i", 4
            )
            columns.codes[k] = (<Dictionary>self.dictionaries[k]).of(
                array.children[place].dictionary
            )
            check_indices(
                columns.indices[k], array.length, array.children[place].dictionary.length
            )
        columns.size = array.length
        columns.start_ms, columns.end_ms = numbers[0], numbers[1]
        columns.revision, columns.quantity = numbers[2], numbers[3]
        columns.none = self.none
        if array.length:
            fill(<Sample*>cnp.PyArray_DATA(rows), &columns, self.window_ms)
            memcpy(cnp.PyArray_DATA(received_ms), numbers[NUMBERS], 8 * array.length)
        return rows, received_ms


cdef const char* values(
    const ArrowSchema* schema, const ArrowArray* batch, Py_ssize_t place, bytes format_, int size
) except? NULL:
    """The first value of a column, or the first index of one of texts."""
    cdef const ArrowArray* column = batch.children[place]
    if schema.format != format_ or (size == 4) != (schema.dictionary != NULL):
        raise ValueError(f"column {COLUMNS[place]} has another type")
    if size == 4 and schema.dictionary.format != b"u":
        raise ValueError(f"column {COLUMNS[place]} is not of texts")
    if has_null(column):
        raise ValueError(f"column {COLUMNS[place]} has a null")
    if column.length == 0:
        return NULL
    return <const char*>column.buffers[1] + size * (batch.offset + column.offset)
