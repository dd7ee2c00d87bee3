"""Compiled smoothed dual: reference.py's soften and solve, one slot. The loops are in _soft.h."""

import numpy as np

from kernels.match._core cimport Engine
from kernels.match.reference import FAINT, Soft

cdef extern from "_soft.h":
    const long GL_BLOCK
    ctypedef struct gl_soft:
        long sites, wide
        int kinds, sides
        const double* alone
        const double* amount
        const double* table
        const double* reject
        const int* span
        const long long* drawn
        const int* side
        double tau, small, faint
        long thin
        double* price
        double* share
        double* own
        double* expected
        int* drawing
        double* sure
        double* use
        double* growth
        double* curvature
    void gl_soften(
        const gl_soft* soft, const long long* rows, long many, double* least
    ) noexcept nogil
    void gl_eliminate(double* row, const double* above, double factor, long count) noexcept nogil


def soften(
    Engine engine,
    const double[:, :, :, ::1] table,
    const long long[::1] rows,
    double tau,
    double small,
    const long long[:, :, ::1] column,
    const double[::1] inverse_unit,
    int count,
    int thin,
):
    """Answers with weights exp(-(price - least) / width), width = tau max(least, small).

    column [M, T, k]: index of a price, -1 = none; those of a resource follow those of the one before.
    """
    cdef gl_soft soft
    cdef Py_ssize_t sites = engine.sites, kinds = engine.kinds, wide = engine.alone.shape[1]
    cdef Py_ssize_t many = rows.shape[0], most = kinds * wide, site, k, one, other
    least_ = np.empty(max(many, 1))
    if not many or not count:
        return Soft(least_[:many], np.zeros(count), np.zeros((count, count)))
    cdef double[::1] least = least_, work = np.zeros((GL_BLOCK + 1) * wide + (4 + kinds) * most)
    cdef double* at = &work[(GL_BLOCK + 1) * wide]
    cdef double[:, ::1] curvature = np.zeros((most, most))
    cdef const double[:, :, ::1] behind = engine.behind(table)
    cdef int[::1] listed = np.empty(most, np.int32)
    soft.sites, soft.wide, soft.kinds, soft.sides = sites, wide, <int>kinds, <int>engine.sides
    soft.alone, soft.amount, soft.table = &engine.alone[0, 0], &engine.amount[0, 0], &behind[0, 0, 0]
    soft.reject, soft.span, soft.side = &engine.reject[0], &engine.span[0, 0], &engine.side[0]
    soft.drawn = engine.draw()
    soft.tau, soft.small, soft.faint, soft.thin = tau, small, FAINT, thin
    soft.price, soft.share = &work[0], &work[GL_BLOCK * wide]
    soft.own, soft.expected, soft.sure, soft.use = at, at + most, at + 2 * most, at + 3 * most
    soft.drawing, soft.growth, soft.curvature = &listed[0], at + 4 * most, &curvature[0, 0]
    with nogil:
        gl_soften(&soft, &rows[0], many, &least[0])
        for k in range(kinds):
            for other in range(k, kinds):
                for site in range(sites):
                    curvature[k * wide + site, other * wide + site] += (
                        soft.growth[(k * kinds + other) * wide + site]
                    )
    by_price_, matrix_ = np.empty(count), np.zeros((count, count))
    cdef double[::1] by_price = by_price_
    cdef double[:, ::1] matrix = matrix_
    other = 0
    for k in range(kinds):
        for site in range(sites):
            if column[site, 0, k] >= 0:
                listed[other] = <int>(k * wide + site)
                other += 1
    for one in range(count):
        by_price[one] = (soft.sure[listed[one]] + soft.use[listed[one]]) * inverse_unit[listed[one] // wide]
        for other in range(one, count):
            matrix[one, other] = (
                curvature[listed[one], listed[other]]
                * inverse_unit[listed[one] // wide]
                * inverse_unit[listed[other] // wide]
            )
    return Soft(least_, by_price_, matrix_)


def solve(double[:, ::1] matrix, double[::1] right):
    """x of matrix x = right, symmetric and positive, its upper half given; both are used up."""
    cdef Py_ssize_t i, j, count = right.shape[0]
    cdef double factor
    with nogil:
        for j in range(count):
            for i in range(j + 1, count):
                factor = matrix[j, i] / matrix[j, j]
                if factor != 0.0:
                    gl_eliminate(&matrix[i, i], &matrix[j, i], factor, count - i)
                    right[i] -= factor * right[j]
        for i in range(count - 1, -1, -1):
            right[i] = right[i] / matrix[i, i]
            for j in range(i):
                right[j] -= matrix[j, i] * right[i]
    return np.asarray(right)
