# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The compiled twin of samples.filled: the same rows, in one pass over the columns."""

from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t, uint64_t

import numpy as np

cimport numpy as cnp

from kernels.rollup._bucket cimport bucket_of
from kernels.rollup._layout cimport Sample

from kernels.rollup import layout, samples, sketch

cnp.import_array()

cdef enum:
    TEXTS = 6

assert len(layout.TEXTS) == TEXTS, "the texts of a sample are others"

cdef uint8_t DELTA = samples.DELTA, REGISTER = samples.REGISTER, MJ = samples.MJ, MW = samples.MW
cdef uint8_t UNLISTED = samples.UNLISTED
cdef uint8_t OVERFLOW_ = layout.Outcome.OVERFLOW, UNLISTED_ = layout.Outcome.UNLISTED
cdef uint8_t REVERSED_ = layout.Outcome.REVERSED, NEGATIVE_ = layout.Outcome.NEGATIVE
cdef int64_t INT64_MAX = 0x7FFFFFFFFFFFFFFF

cdef const int64_t[::1] BOUNDS = sketch.BOUNDS
cdef const int16_t[::1] GUESS = sketch.GUESS


cdef inline int64_t floored(int64_t value, int64_t step) noexcept nogil:
    """The multiple of `step` at `value` or next below it."""
    cdef int64_t rest = value % step
    return value - rest - (step if rest < 0 else 0)


cdef inline bint power(int64_t quantity, int64_t duration, int64_t* out) noexcept nogil:
    """samples.mean_power_mw of one row; False where it passes 64 bits."""
    cdef int64_t whole = 0, rest = quantity, milli, left, missing
    if quantity >= INT64_MAX // 1000 - 1:
        whole = quantity // duration
        rest = quantity % duration
        if whole >= INT64_MAX // 1000 - 1:
            return False
    milli = rest * 1000 // duration
    left = rest * 1000 - milli * duration
    out[0] = whole * 1000 + milli
    missing = duration - left
    if left > missing or (left == missing and out[0] % 2 == 1):
        out[0] += 1
    return True


cdef struct Column:
    const int32_t* codes
    const int32_t* indices
    uint64_t size


cdef Column column_of(pair, Py_ssize_t size, list held) except *:
    """A dictionary column; `held` keeps its arrays alive."""
    cdef Column column
    cdef cnp.ndarray codes = np.ascontiguousarray(pair[1], np.int32)
    cdef cnp.ndarray indices = np.ascontiguousarray(pair[0], np.int32)
    if len(indices) != size:
        raise ValueError("columns of a batch differ in length")
    held += [codes, indices]
    column.size = len(codes)
    column.codes = <const int32_t*>cnp.PyArray_DATA(codes)
    column.indices = <const int32_t*>cnp.PyArray_DATA(indices)
    return column


def filled(columns, int64_t window_ms):
    """Rows of layout.SAMPLE; a row with a fault has no sample, no energy and no bucket."""
    cdef const int64_t[::1] start_ms = columns.start_ms, end_ms = columns.end_ms
    cdef const int64_t[::1] revision = columns.revision, quantity = columns.quantity
    cdef Py_ssize_t i, k, size = start_ms.shape[0]
    cdef cnp.ndarray rows = np.empty(size, layout.SAMPLE)
    cdef Sample* row = <Sample*>cnp.PyArray_DATA(rows)
    cdef Column[TEXTS + 2] texts
    cdef int32_t[TEXTS + 2] code
    cdef int32_t none = columns.none
    cdef int64_t at_ms, window = 0
    cdef uint8_t kind, unit
    cdef bint energy
    cdef uint64_t index
    held = []
    for k, pair in enumerate((*columns.texts, columns.kind, columns.unit)):
        texts[k] = column_of(pair, size, held)
    if not (end_ms.shape[0] == revision.shape[0] == quantity.shape[0] == size):
        raise ValueError("columns of a batch differ in length")
    for i in range(size):
        for k in range(TEXTS + 2):
            index = <uint64_t>texts[k].indices[i]
            if index >= texts[k].size:
                raise IndexError("a row names a text that its dictionary does not have")
            code[k] = texts[k].codes[index]
        kind = <uint8_t>code[TEXTS]
        unit = <uint8_t>code[TEXTS + 1]
        energy = kind == DELTA and unit == MJ
        row.start_ms = start_ms[i]
        row.end_ms = end_ms[i]
        row.revision = revision[i]
        row.sample = quantity[i]
        row.energy_mj = quantity[i] if energy else 0
        row.meter = code[0]
        row.register_ = code[1]
        row.source = code[2]
        row.site = code[3]
        row.rack = code[4]
        row.hub = code[5]
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
        elif energy and not power(quantity[i], row.end_ms - row.start_ms, &row.sample):
            row.fault = OVERFLOW_
        if row.fault:
            row.sample = row.energy_mj = 0
        row.bucket = bucket_of(row.sample, &BOUNDS[0], &GUESS[0])
        at_ms = row.end_ms if kind == REGISTER else row.start_ms
        if i == 0 or at_ms < window or <uint64_t>at_ms - <uint64_t>window >= <uint64_t>window_ms:
            window = floored(at_ms, window_ms)
        row.window_ms = window
        row += 1
    return rows
