"""One site, one storage, one deferrable requirement: exact by dynamic programming. See README.md.

V_t(s), the least cost from step t on with s MWh stored, is convex and piecewise linear. It is kept
as its segments, by falling value of one more MWh stored:

    domain   start ----- seg 0 ----- | -- seg 1 -- | ... | end       MWh
    value          v0       >=            v1       >=  ...            currency per MWh

A step's own cost h_t(y), y = what the step adds to the storage, has the same form. V_t is the merge
of the two lists, scaled by what the storage retains and cut to its limits: O(segments) a step.

    _sites_step.pxd    the stack of a step, h_t
    _sites_path.pxd    V_T .. V_1 backwards, the plan forwards
    _sites_forward.pxd one step of the plan
    _sites_price.pxd   prices of stored energy and of the bus
    _sites_flex.pxd    the price mu of the deferrable requirement: where tangents of g(mu) meet
    _sites_row.pxd     one row of the batch: its checks, its numbers, its plan in MW
"""

from libc.stdint cimport uint8_t
from libc.stdlib cimport free, malloc

import numpy as np

cimport numpy as cnp

from kernels.balance._sites_columns cimport (
    FOUND, GIVEN, PER_FLEX, PER_FLEX_STEP, PER_SITE, PER_STEP, PER_STORAGE_STEP, PER_UNIT_STEP,
    Shape, per_found, pointers, shape_of,
)
from kernels.balance._sites_flex cimport solve
from kernels.balance._sites_price cimport price_paths
from kernels.balance._sites_row cimport (
    SEVERAL, clear, is_bad, read, write,
)
from kernels.balance._sites_work cimport WARM_STEP, Site, Work

from kernels.balance import sites_columns
from kernels.balance.columns import Status

cnp.import_array()

assert len(sites_columns.COLUMNS) == GIVEN, "enum Given is not Sites"
assert len(sites_columns.PLAN_AXES) == FOUND, "enum Found is not SitePlans"

cdef uint8_t BAD_INPUT = Status.BAD_INPUT.value
cdef uint8_t SOC0_CLAMPED = Status.SOC0_CLAMPED.value
cdef uint8_t RESERVE_SHORT = Status.RESERVE_SHORT.value
cdef uint8_t HIGHS = sites_columns.HIGHS


cdef class Workspace:
    """Buffers of one thread; they grow with the largest site seen and are reused."""

    cdef Work work
    cdef void* block
    cdef readonly long passes  # of the dynamic programme, over all rows so far

    def __cinit__(self):
        self.block = NULL
        self.work.v_value = NULL
        self.work.v_width = NULL
        self.work.v_room = 0
        self.work.steps = self.work.units = 0

    def __dealloc__(self):
        free(self.block)
        free(self.work.v_value)
        free(self.work.v_width)

    cdef int reserve(self, int steps, int units) except -1:
        cdef Work* w = &self.work
        if steps <= w.steps and units <= w.units:
            return 0
        steps, units = max(steps, w.steps), max(units, w.units)
        cdef int wide = units + 6, tall = 2 * (units + 6) + 3
        cdef size_t numbers = 4 * steps * wide + 2 * steps * (tall + 1) + 26 * (steps + 2) + units
        cdef size_t integers = 2 * steps * wide + steps * tall + 12 * (steps + 2)
        free(self.block)
        self.block = malloc(8 * numbers + 4 * integers)
        if self.block == NULL:
            w.steps = w.units = 0
            raise MemoryError("no memory for the balance's workspace; solve fewer steps at once")
        w.steps, w.units, w.wide, w.tall = steps, units, wide, tall
        cdef double* d = <double*>self.block
        w.price = d; d += steps * wide
        w.width = d; d += steps * wide
        w.base_price = d; d += steps * wide
        w.base_width = d; d += steps * wide
        w.h_value = d; d += steps * (tall + 1)
        w.h_width = d; d += steps * (tall + 1)
        w.h_top = d; d += steps
        w.v_start = d; d += steps + 1
        w.charged = d; d += steps
        w.discharged = d; d += steps
        w.flexed = d; d += steps
        w.value_low = d; d += steps
        w.value_high = d; d += steps
        w.price_low = d; d += steps
        w.price_high = d; d += steps
        w.low_side = d; d += 3 * steps
        w.high_side = d; d += 3 * steps
        w.order = d; d += 2 * steps
        w.value = d; d += steps
        w.bus = d; d += steps
        w.import_cost = d; d += steps
        w.import_max = d; d += steps
        w.export_max = d; d += steps
        w.nothing = d; d += steps
        w.unit_cost = d; d += units
        w.v_first = <Py_ssize_t*>d; d += steps + 1
        cdef int* i = <int*>d
        w.kind = i; i += steps * wide
        w.base_kind = i; i += steps * wide
        w.h_move = i; i += steps * tall
        w.stacked = i; i += steps
        w.base_stacked = i; i += steps
        w.h_count = i; i += steps
        w.h_charging = i; i += steps
        w.h_full = i; i += steps
        w.v_count = i; i += steps + 1
        w.limit = i; i += steps
        w.state = i; i += steps
        for t in range(steps):
            w.nothing[t] = 0.0
        return 0


def empty_columns(tuple shape):
    """The columns of SitePlans up to method, in their order, not filled."""
    cdef Shape s = shape_of(shape)
    cdef cnp.npy_intp dims[3]
    cdef cnp.npy_intp per[PER_STORAGE_STEP + 1]
    cdef int i, axis, ndim
    cdef list columns = []
    per[PER_FLEX_STEP] = per[PER_FLEX] = s.flexes
    per[PER_UNIT_STEP], per[PER_STORAGE_STEP] = s.units, s.storages
    dims[0] = s.sites
    for i in range(FOUND):
        axis, ndim = per_found(i), 1
        if axis != PER_SITE and axis != PER_STEP:
            dims[ndim] = per[axis]
            ndim += 1
        if axis != PER_SITE and axis != PER_FLEX:
            dims[ndim] = s.steps
            ndim += 1
        columns.append(cnp.PyArray_EMPTY(ndim, dims, cnp.NPY_DOUBLE, 0))
    for i in range(2):
        columns.append(cnp.PyArray_EMPTY(1, dims, cnp.NPY_UINT8, 0))
    return columns


def solve_rows(
    tuple given, tuple found, tuple status_method, tuple shape, object warm_mu,
    Py_ssize_t first, Py_ssize_t last, Workspace workspace,
):
    """Fill the plans and prices of rows first to last; rows of several storages are left at HIGHS.

    Returns how many rows were left out or left at HIGHS.

    given, found: the columns of Sites and SitePlans in their order; warm_mu [N, F] or None.
    """
    cdef Shape s = shape_of(shape)
    cdef double* inputs[GIVEN]
    cdef double* outputs[FOUND]
    cdef uint8_t[::1] status = status_method[0]
    cdef uint8_t[::1] method = status_method[1]
    cdef double* start = NULL
    cdef Py_ssize_t row
    cdef int kind, passes, special = 0, failed = 0
    cdef Site site
    cdef Work* work = &workspace.work
    assert 0 <= first <= last <= s.sites == len(status) == len(method)
    pointers(given, inputs, GIVEN, &s, True)
    pointers(found, outputs, FOUND, &s, False)
    if warm_mu is not None:
        assert warm_mu.dtype == np.float64 and warm_mu.size == s.sites * s.flexes
        assert warm_mu.flags.c_contiguous
        start = <double*>cnp.PyArray_DATA(warm_mu)
    workspace.reserve(s.steps, s.units)
    with nogil:
        for row in range(first, last):
            status[row] = method[row] = 0
            if is_bad(inputs, &s, row):
                clear(outputs, &s, row)
                status[row] = BAD_INPUT
                special += 1
                continue
            kind = read(inputs, &s, row, &site, work)
            if site.clamped:
                status[row] = SOC0_CLAMPED
            if site.short:
                status[row] |= RESERVE_SHORT
            if kind == SEVERAL:
                clear(outputs, &s, row)
                method[row] = HIGHS
                special += 1
                continue
            passes = solve_one(&site, work, start, row, &s)
            if passes < 0:
                failed = 1
                break
            workspace.passes += passes
            write(inputs, outputs, &s, row, &site, work)
    if failed:
        raise MemoryError("no memory for the balance's workspace; solve fewer steps at once")
    return special


cdef int solve_one(
    Site* site, Work* work, const double* start, Py_ssize_t row, const Shape* s
) noexcept nogil:
    cdef double mu = 0.0, step = 0.0
    cdef int passes
    if start != NULL and site.flex >= 0:
        mu = start[row * s.flexes + site.flex]
        step = WARM_STEP * (1 + abs(mu)) if abs(mu) < 1e12 else 0.0  # NaN and infinity start cold
    passes = solve(site, work, mu, step, &site.mu)
    if passes > 0:
        price_paths(site, work)
    return passes
