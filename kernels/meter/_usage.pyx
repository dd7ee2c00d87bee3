# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Changed slots as a batch of USAGE: written once, into memory that Arrow takes over as it is.

    Usage   the arrays' structs | a column of the rows' numbers after the other
    texts   offsets and utf-8 of a column's dictionary, once it is known which texts are in use

Each array counts as a reader of all; they are freed with the last one.
"""

from cpython.pycapsule cimport PyCapsule_GetPointer, PyCapsule_New
from libc.stdint cimport INT32_MAX, int32_t, int64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

import pyarrow as pa

cimport numpy as cnp

from kernels.meter import layout
from kernels.snapshot import Block
from schemas.topic import SYMBOL
from schemas.usage import USAGE

from kernels._arrow cimport ArrowArray
from kernels._core cimport SLACK, Texts
from kernels.meter._core cimport BATCH_ROWS, Ledger
from kernels.meter._counting cimport usage_of
from kernels.meter._reading cimport Reading
from kernels.meter._store cimport Slot, slot_at

cnp.import_array()

cdef extern from *:
    int __atomic_sub_fetch(int* value, int less, int order) noexcept nogil
    void* __atomic_exchange_n(void** place, void* block, int order) noexcept nogil
    int __ATOMIC_ACQ_REL

cdef enum:  # columns of USAGE
    METER
    REGISTER
    KIND
    START
    END
    QUANTITY
    UNIT
    QUALITY
    REVISION
    EPOCH
    SITE
    HUB
    ACCOUNT
    RECEIVED
    COLUMNS

cdef enum:
    TEXTS = 5
    LISTED = 3
    LINE = 64  # bytes that a column's place is a multiple of

cdef int[COLUMNS] WIDTHS = [4 if kind == SYMBOL else 8 for kind in USAGE.schema.types]
cdef size_t ROW_BYTES = sum(WIDTHS)

assert USAGE.schema.names == [
    "meter_id", "register", "kind", "start_ms", "end_ms", "quantity", "unit", "quality",
    "revision", "epoch", "site_id", "hub_id", "account_id", "received_ms",
], "USAGE has other columns than are written here"

cdef int[TEXTS] OF_TEXTS = [METER, REGISTER, SITE, HUB, ACCOUNT]
cdef int[LISTED] OF_LISTED = [KIND, UNIT, QUALITY]

# The lists as Arrow lays them out; they stay as long as the process.
_lists = [Block.of(names) for names in (layout.KINDS, layout.UNITS, layout.USAGE_QUALITIES)]


cdef struct Usage:
    int readers
    size_t size
    void* texts[COLUMNS]
    ArrowArray column[COLUMNS]
    ArrowArray dictionary[COLUMNS]
    ArrowArray* columns[COLUMNS]
    const void* values[COLUMNS][2]  # no validity, the rows' numbers
    const void* listed[COLUMNS][3]  # no validity, offsets, utf-8
    const void* none[1]


# The block that was freed last: fresh memory for every batch would cost more than what is written.
cdef void* spare = NULL


cdef void release(ArrowArray* array) noexcept nogil:
    cdef Usage* usage = <Usage*>array.private_data
    cdef int64_t i
    for i in range(array.n_children):
        if array.children[i].release != NULL:
            array.children[i].release(array.children[i])
    if array.dictionary != NULL and array.dictionary.release != NULL:
        array.dictionary.release(array.dictionary)
    array.release = NULL
    if __atomic_sub_fetch(&usage.readers, 1, __ATOMIC_ACQ_REL) == 0:
        for i in range(COLUMNS):
            free(usage.texts[i])
        free(__atomic_exchange_n(&spare, <void*>usage, __ATOMIC_ACQ_REL))


cdef void set_array(
    ArrowArray* array, Usage* usage, int64_t length, const void** buffers, int64_t count
) noexcept nogil:
    array.length = length
    array.null_count = array.offset = 0
    array.n_buffers, array.buffers = count, buffers
    array.n_children, array.children = 0, NULL
    array.dictionary = NULL
    array.release = release
    array.private_data = usage
    usage.readers += 1


cdef void set_dictionary(Usage* usage, int column, int64_t length) noexcept nogil:
    set_array(&usage.dictionary[column], usage, length, usage.listed[column], 3)
    usage.column[column].dictionary = &usage.dictionary[column]


cdef void drop(object capsule) noexcept:
    cdef ArrowArray* batch = <ArrowArray*>PyCapsule_GetPointer(capsule, "arrow_array")
    if batch.release != NULL:  # nobody took it
        batch.release(batch)
    free(batch)


cdef class Exported:
    """A batch of USAGE for pyarrow to take over."""

    cdef object array

    def __arrow_c_array__(self, requested_schema=None):
        return USAGE.schema.__arrow_c_schema__(), self.array


cdef inline int64_t* integers(Usage* usage, int column) noexcept nogil:
    return <int64_t*>usage.values[column][1]


cdef inline int32_t* codes(Usage* usage, int column) noexcept nogil:
    return <int32_t*>usage.values[column][1]


cdef int64_t write_rows(Ledger ledger, Usage* usage) noexcept nogil:
    """Each changed slot's row, in the order in which the batch touched them; how many there are."""
    cdef int64_t size = 0, at = 0
    cdef Py_ssize_t i, count
    cdef Reading counted[BATCH_ROWS]
    cdef const Reading* shown[BATCH_ROWS]
    cdef const Slot* slot
    cdef int64_t* revision = integers(usage, REVISION)
    while at < ledger.changed_count:
        count = 0
        while count < BATCH_ROWS and at < ledger.changed_count:
            slot = slot_at(&ledger.store, ledger.changed[at])
            at += 1
            shown[count] = usage_of(&ledger.store, slot, &counted[count])
            if shown[count] != NULL:
                revision[size + count] = slot.revision
                count += 1
        for i in range(count):
            (integers(usage, START) + size)[i] = shown[i].start_ms
            (integers(usage, END) + size)[i] = shown[i].end_ms
            (integers(usage, QUANTITY) + size)[i] = shown[i].quantity
            (integers(usage, EPOCH) + size)[i] = shown[i].epoch
            (integers(usage, RECEIVED) + size)[i] = shown[i].received_ms
        for i in range(count):
            (codes(usage, METER) + size)[i] = shown[i].meter
            (codes(usage, REGISTER) + size)[i] = shown[i].register_
            (codes(usage, SITE) + size)[i] = shown[i].site
            (codes(usage, HUB) + size)[i] = shown[i].hub
            (codes(usage, ACCOUNT) + size)[i] = shown[i].account
        for i in range(count):
            (codes(usage, KIND) + size)[i] = shown[i].kind
            (codes(usage, UNIT) + size)[i] = shown[i].unit
            (codes(usage, QUALITY) + size)[i] = shown[i].quality
        size += count
    return size


cdef Usage* usage_for(Py_ssize_t rows) except NULL:
    """Room for so many rows; not an array yet."""
    cdef size_t at = sizeof(Usage), size = at + LINE + rows * ROW_BYTES + COLUMNS * LINE
    cdef Usage* usage = <Usage*>__atomic_exchange_n(&spare, NULL, __ATOMIC_ACQ_REL)
    cdef int i
    if usage == NULL or usage.size < size:
        free(usage)
        usage = <Usage*>malloc(size)
        if usage == NULL:
            raise MemoryError("no memory for a batch of usage; send smaller batches")
        usage.size = size
    size = usage.size
    memset(usage, 0, sizeof(Usage))
    usage.size = size
    for i in range(COLUMNS):
        at += -<size_t>(<char*>usage + at) % LINE
        usage.values[i][1] = <char*>usage + at
        at += rows * WIDTHS[i]
    return usage


cdef int list_texts(
    Usage* usage, int column, int64_t size, Texts texts, int32_t* used
) except -1:
    """The column's codes become places in a dictionary of the texts in use, in order of first use.

    Equal texts give equal bytes, whatever codes a restart gave them.
    """
    cdef Py_ssize_t count = texts.renumber(codes(usage, column), size, used)
    cdef int64_t length = texts.length(used, count)
    cdef Py_ssize_t offsets = (count + 1) * sizeof(int32_t)
    if length > INT32_MAX:
        raise OverflowError("more than 2 GB of texts in one batch")
    usage.texts[column] = malloc(offsets + length + SLACK)
    if usage.texts[column] == NULL:
        raise MemoryError("no memory for a batch's texts; send smaller batches")
    usage.listed[column][1] = usage.texts[column]
    usage.listed[column][2] = <char*>usage.texts[column] + offsets
    texts.write(
        used, count, <int32_t*>usage.texts[column], <char*>usage.texts[column] + offsets
    )
    set_dictionary(usage, column, count)
    return 0


cdef int list_names(Usage* usage, int column, list_) except -1:
    """The column's dictionary is a fixed list."""
    cdef cnp.ndarray offsets = list_.offsets, data = list_.data
    usage.listed[column][1] = cnp.PyArray_DATA(offsets)
    usage.listed[column][2] = cnp.PyArray_DATA(data)
    set_dictionary(usage, column, len(offsets) - 1)
    return 0


cdef changed_usage(Ledger ledger, Texts texts):
    """The usage of the slots that the ledger's last batch changed."""
    cdef Usage* usage = usage_for(ledger.changed_count)
    cdef ArrowArray* batch = <ArrowArray*>malloc(sizeof(ArrowArray))
    cdef int32_t* used = NULL
    cdef int64_t size
    cdef int i
    if batch == NULL:
        free(usage)
        raise MemoryError("no memory for a batch of usage; send smaller batches")
    set_array(batch, usage, 0, usage.none, 1)
    exported = Exported()
    exported.array = PyCapsule_New(batch, "arrow_array", drop)
    batch.length = size = write_rows(ledger, usage)
    for i in range(COLUMNS):
        set_array(&usage.column[i], usage, size, usage.values[i], 2)
        usage.columns[i] = &usage.column[i]
    batch.n_children, batch.children = COLUMNS, usage.columns
    for i in range(LISTED):
        list_names(usage, OF_LISTED[i], _lists[i])
    used = <int32_t*>malloc(min(size, texts.count) * sizeof(int32_t) + 1)
    if used == NULL:
        raise MemoryError("no memory for a batch's texts; send smaller batches")
    try:
        for i in range(TEXTS):
            list_texts(usage, OF_TEXTS[i], size, texts, used)
    finally:
        free(used)
    return pa.record_batch(exported)
