"""Compiled smoothed dual: reference.py's soften and solve, one slot. The loops are in _soft.h."""

import numpy as np

from kernels.match._core cimport Engine
from kernels.match.reference import FAINT, Soft

cdef extern from "_soft.h":
    ctypedef struct gl_soft:
        long sites, wide
        int kinds, sides
        const double* alone
        const double* amount
        const double* table
        const int* span
        const long long* demand
        const long long* drawn
        const int* side
        const long long* column
        const double* unit
        double inverse, narrow, faint
        long thin, count, padded
        double* price
        double* weight
        double* own
        double* expected
        int* at
        int* of_site
        double* dense
        double* use
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
    const long long[:, ::1] column,
    const double[::1] inverse_unit,
    int count,
    int thin,
):
    """Answers with weights exp(-(price - least) / tau), by `rows`."""
    cdef gl_soft soft
    cdef Py_ssize_t sites = engine.sites, kinds = engine.kinds, wide = engine.alone.shape[1]
    cdef Py_ssize_t padded = (count + 3) // 4 * 4, most = max(sites * kinds, 1)
    least_, curvature_ = np.empty(max(len(rows), 1)), np.zeros((count, padded))
    behind = np.zeros((table.shape[0], kinds, wide))
    behind[:, :, :sites] = np.asarray(table)[:, :, :, 0]
    cdef double[::1] least = least_, work = np.zeros(2 * wide + 2 * most + 2 * padded + 1)
    cdef double[:, ::1] curvature = curvature_
    cdef const double[:, :, ::1] priced = behind
    cdef int[::1] drawn = np.empty(2 * most, np.int32)
    cdef Py_ssize_t many = rows.shape[0]
    if not many or not count:
        return Soft(least_[:many], np.zeros(count), np.zeros((count, count)))
    soft.sites, soft.wide, soft.kinds, soft.sides = sites, wide, <int>kinds, <int>engine.sides
    soft.alone, soft.amount, soft.table = &engine.alone[0, 0], &engine.amount[0, 0], &priced[0, 0, 0]
    soft.span, soft.demand, soft.side = &engine.span[0, 0], &engine.demand[0, 0], &engine.side[0]
    if engine.sides:
        soft.drawn = &engine.drawn[0, 0, 0]
    soft.column, soft.unit = &column[0, 0], &inverse_unit[0]
    soft.inverse, soft.narrow, soft.faint = 1.0 / tau, thin / tau, FAINT
    soft.thin, soft.count, soft.padded = thin, count, padded
    soft.price, soft.weight, soft.own = &work[0], &work[wide], &work[2 * wide]
    soft.expected, soft.dense = &work[2 * wide + most], &work[2 * wide + 2 * most]
    soft.use, soft.curvature = &work[2 * wide + 2 * most + padded], &curvature[0, 0]
    soft.at, soft.of_site = &drawn[0], &drawn[most]
    with nogil:
        gl_soften(&soft, &rows[0], many, &least[0])
    use = np.asarray(work)[2 * wide + 2 * most + padded :][:count].copy()
    return Soft(least_[:many], use, curvature_[:, :count])


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
