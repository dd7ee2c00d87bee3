# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The compiled twin of columns.Intake: a batch's columns into the ledger, what it changed as usage.

    a text's code  = codes[indices[row]]   codes: of the batch's dictionary, mapped once
    a listed place = codes[indices[row]]   kind, unit, quality

Batches of one source mostly bring the dictionaries of the batch before. These are compared, which
is a memcmp, and not mapped again; what a text's code is does not depend on it.
"""

from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcmp, memcpy

cimport numpy as cnp

from kernels.meter import layout
from kernels.meter.columns import LISTS, Taken
from kernels.symbols import UNLISTED
from schemas.telemetry import READINGS

from kernels._arrow cimport ArrowArray, check_indices, has_null
from kernels._core cimport Texts
from kernels.meter._core cimport BATCH_ROWS, Ledger
from kernels.meter._reading cimport Rates, Reading
from kernels.meter._usage cimport changed_usage

cnp.import_array()

cdef enum:
    INTEGERS = 6
    TEXTS = 6
    LISTED = 3
    INDEXED = TEXTS + LISTED
    OUTCOMES = 8

assert (len(layout.INTEGERS), len(layout.TEXTS), len(layout.LISTED)) == (INTEGERS, TEXTS, LISTED)
assert len(layout.Outcome) == OUTCOMES

# Places in READINGS.
_names = READINGS.schema.names
cdef int[INTEGERS] OF_INTEGERS = [_names.index(name) for name in layout.INTEGERS]
cdef int[INDEXED] OF_INDEXED = [_names.index(name) for name in (*layout.TEXTS, *layout.LISTED)]

_lists = [[name.encode() for name in listed] for listed in LISTS]


cdef struct Known:  # a column's dictionary as it last came, and what its texts are
    int64_t count
    int32_t* offsets
    char* utf8
    int32_t* codes


cdef struct Columns:
    const int64_t* integers[INTEGERS]
    const int32_t* indices[INDEXED]
    const int32_t* codes[INDEXED]


cdef int resize(void** block, size_t size) except -1:
    cdef void* bigger = realloc(block[0], size)
    if bigger == NULL:
        raise MemoryError("no memory for a batch's texts; send smaller batches")
    block[0] = bigger
    return 0


cdef class Intake:
    """Batches of READINGS into a ledger."""

    cdef Ledger ledger
    cdef Texts texts
    cdef Known[INDEXED] known

    def __init__(self, ledger, texts):
        self.ledger = ledger
        self.texts = texts

    def __dealloc__(self):
        cdef int f
        for f in range(INDEXED):
            free(self.known[f].offsets)
            free(self.known[f].utf8)
            free(self.known[f].codes)

    def take(self, readings, rates):
        """columns.Intake.take."""
        _, capsule = readings.__arrow_c_array__()
        cdef const ArrowArray* batch = <ArrowArray*>PyCapsule_GetPointer(capsule, "arrow_array")
        cdef Py_ssize_t size = batch.length, at = 0, length, i
        cdef int64_t[OUTCOMES] counts = [0, 0, 0, 0, 0, 0, 0, 0]
        cdef uint8_t[BATCH_ROWS] outcomes
        cdef Columns columns
        cdef const int64_t* ratings = NULL
        cdef const int64_t* moduli = NULL
        cdef Rates[BATCH_ROWS] known
        cdef Reading* rows
        refused = []
        self._find(batch, &columns)
        if rates is not None:
            ratings, moduli = integers_in(rates[0], size), integers_in(rates[1], size)
        self.ledger.begin(size)
        while at < size:
            length = size - at
            rows = self.ledger.room(&length)
            fill(rows, &columns, at, length)
            if ratings != NULL:
                for i in range(length):
                    known[i].rating_w, known[i].register_modulus = ratings[at + i], moduli[at + i]
            self.ledger.take(
                rows, known if ratings != NULL else NULL, length, at, outcomes, refused
            )
            for i in range(length):
                counts[outcomes[i]] += 1
            at += length
        changed = changed_usage(self.ledger, self.texts)
        return Taken(counts[0], counts[1], counts[2], refused, changed)

    cdef int _find(self, const ArrowArray* batch, Columns* columns) except -1:
        """Where the batch's numbers are, and the codes of its texts."""
        cdef const ArrowArray* column
        cdef int f
        for f in range(INTEGERS):
            column = no_nulls(batch.children[OF_INTEGERS[f]])
            columns.integers[f] = <const int64_t*>column.buffers[1] + column.offset
        for f in range(INDEXED):
            column = no_nulls(batch.children[OF_INDEXED[f]])
            columns.indices[f] = <const int32_t*>column.buffers[1] + column.offset
            check_indices(columns.indices[f], column.length, column.dictionary.length)
            columns.codes[f] = self._codes(f, no_nulls(column.dictionary))
        return 0

    cdef const int32_t* _codes(self, int f, const ArrowArray* texts) except? NULL:
        """What the texts of a column's dictionary are: codes, or places in its list."""
        cdef Known* known = &self.known[f]
        cdef const int32_t* offsets = <const int32_t*>texts.buffers[1] + texts.offset
        cdef const char* utf8 = <const char*>texts.buffers[2]
        cdef Py_ssize_t count = texts.length, size, i
        if count == 0:
            return known.codes  # no row has a text
        utf8 += offsets[0]
        size = offsets[count] - offsets[0]
        if (known.count == count and memcmp(known.offsets, offsets, 4 * (count + 1)) == 0
                and memcmp(known.utf8, utf8, size) == 0):
            return known.codes
        known.count = 0
        resize(<void**>&known.codes, 4 * count)
        resize(<void**>&known.offsets, 4 * (count + 1))
        resize(<void**>&known.utf8, size + 1)
        for i in range(count):
            known.codes[i] = self._code(
                f, utf8 + offsets[i] - offsets[0], offsets[i + 1] - offsets[i]
            )
        memcpy(known.offsets, offsets, 4 * (count + 1))
        memcpy(known.utf8, utf8, size)
        known.count = count
        return known.codes

    cdef int32_t _code(self, int f, const char* text, Py_ssize_t size) except -1:
        cdef int32_t place
        if f < TEXTS:
            return self.texts.find(text, size)
        for place, name in enumerate(_lists[f - TEXTS]):
            if name == text[:size]:
                return place
        return UNLISTED


cdef const ArrowArray* no_nulls(const ArrowArray* column) except NULL:
    if has_null(column):
        raise ValueError("a value of the batch is null")
    return column


cdef const int64_t* integers_in(object array, Py_ssize_t size) except? NULL:
    cdef const int64_t[::1] integers = array
    assert integers.shape[0] == size, "a rate for each row"
    return &integers[0] if size else NULL


cdef void fill(
    Reading* rows, const Columns* columns, Py_ssize_t first, Py_ssize_t size
) noexcept nogil:
    """Write rows first, first + 1... of the batch; a few columns at a time, to keep them at hand."""
    cdef Py_ssize_t i
    cdef const int64_t* start_ms = columns.integers[0] + first
    cdef const int64_t* end_ms = columns.integers[1] + first
    cdef const int64_t* revision = columns.integers[2] + first
    cdef const int64_t* quantity = columns.integers[3] + first
    cdef const int64_t* epoch = columns.integers[4] + first
    cdef const int64_t* received_ms = columns.integers[5] + first
    for i in range(size):
        rows[i].start_ms = start_ms[i]
        rows[i].end_ms = end_ms[i]
        rows[i].revision = revision[i]
        rows[i].quantity = quantity[i]
        rows[i].epoch = epoch[i]
        rows[i].received_ms = received_ms[i]
    for i in range(size):
        rows[i].meter = columns.codes[0][columns.indices[0][first + i]]
        rows[i].register_ = columns.codes[1][columns.indices[1][first + i]]
        rows[i].source = columns.codes[2][columns.indices[2][first + i]]
    for i in range(size):
        rows[i].site = columns.codes[3][columns.indices[3][first + i]]
        rows[i].hub = columns.codes[4][columns.indices[4][first + i]]
        rows[i].account = columns.codes[5][columns.indices[5][first + i]]
        rows[i].slot = 0
    cdef const int32_t* kind = columns.indices[6] + first
    cdef const int32_t* unit = columns.indices[7] + first
    cdef const int32_t* quality = columns.indices[8] + first
    cdef const int32_t* kinds = columns.codes[6]
    cdef const int32_t* units = columns.codes[7]
    cdef const int32_t* qualities = columns.codes[8]
    for i in range(size):
        rows[i].kind = <uint8_t>kinds[kind[i]]
        rows[i].unit = <uint8_t>units[unit[i]]
        rows[i].quality = <uint8_t>qualities[quality[i]]
        rows[i].spare = 0
