"""Compiled smoothed dual: reference.py's soften and solve, one slot."""

import numpy as np

from kernels.match._core cimport Engine
from kernels.match.reference import FAINT, Soft

cdef extern from *:
    """
    /* weight = decay((price - low) * inverse), elementwise; reference.py has decay. */
    #if defined(__GNUC__) && !defined(__clang__) && defined(__x86_64__) && defined(__linux__)
    __attribute__((target_clones("avx2", "default")))
    #endif
    static void gridloom_decay(
        double *weight, const double *price, double low, double inverse, long count)
    {
        for (long at = 0; at < count; at++) {  /* a multiple of 4: no rest to do one by one */
            const double x = (price[at] - low) * inverse, y = x / 256.0;
            double power = 1.0 - y * (1.0 - y * (0.5 - y * (1.0 / 6.0 - y * (1.0 / 24.0))));
            power *= power; power *= power; power *= power; power *= power;
            power *= power; power *= power; power *= power; power *= power;
            weight[at] = x >= 10.0 ? 0.0 : power;
        }
    }
    static inline double gridloom_least(const double *price, long count)
    {
        double one = price[0], other = price[0];
        long at = 1;
        for (; at + 1 < count; at += 2) {
            if (price[at] < one) one = price[at];
            if (price[at + 1] < other) other = price[at + 1];
        }
        if (at < count && price[at] < one) one = price[at];
        return one < other ? one : other;
    }
    /* row -= factor * above, elementwise. */
    #if defined(__GNUC__) && !defined(__clang__) && defined(__x86_64__) && defined(__linux__)
    __attribute__((target_clones("avx2", "default")))
    #endif
    static void gridloom_eliminate(double *row, const double *above, double factor, long count)
    {
        for (long at = 0; at < count; at++) row[at] -= factor * above[at];
    }
    """
    void gridloom_decay(
        double* weight, const double* price, double low, double inverse, long count
    ) noexcept nogil
    double gridloom_least(const double* price, long count) noexcept nogil
    void gridloom_eliminate(
        double* row, const double* above, double factor, long count
    ) noexcept nogil

cdef double INFINITE = float("inf")
cdef double FAINTEST = FAINT


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
    least_, use_, curvature_ = np.empty(len(rows)), np.zeros(count), np.zeros((count, count))
    cdef double[::1] least = least_, use = use_
    cdef double[:, ::1] curvature = curvature_
    cdef Py_ssize_t sites = engine.sites, kinds = engine.kinds
    padded = (sites + 4) // 4 * 4
    cdef double[::1] price = np.full(padded, np.inf), weight = np.empty(sites + 2)
    cdef double[::1] every = np.empty(padded)
    most = max(sites * kinds, 1)
    cdef double[::1] expected = np.empty(most), own = np.empty(most)
    cdef int[::1] at = np.empty(most, np.int32), of_site = np.empty(most, np.int32)
    cdef int[::1] near = np.empty(sites + 2, np.int32)
    cdef Py_ssize_t row, job, site, k, e, f, drawn
    cdef double low, whole, share, change, narrow = thin / tau
    cdef double inverse = 1.0 / tau
    cdef int answers, which
    cdef bint dense
    cdef double[::1] whole_row = np.zeros(max(count, 1))
    cdef long long need
    with nogil:
        for row in range(rows.shape[0]):
            job = rows[row]
            engine.price_row(table, job, &price[0])
            price[sites] = engine.reject[job]
            low = gridloom_least(&price[0], sites + 1)
            least[row] = low
            whole, answers = 0.0, 0
            gridloom_decay(&every[0], &price[0], low, inverse, padded)
            for site in range(sites + 1):
                weight[answers], near[answers] = every[site], <int>site
                whole += every[site]
                answers += every[site] != 0.0
            drawn = 0
            for which in range(answers):
                site = near[which]
                if site == sites:
                    break
                share = weight[which] / whole
                for k in range(kinds):
                    if column[site, k] < 0:
                        continue
                    need = engine.need(job, site, k)
                    if need > 0:
                        change = <double>need * inverse_unit[k]
                        use[column[site, k]] += share * change
                        if share > FAINTEST:
                            at[drawn], of_site[drawn] = <int>column[site, k], <int>site
                            own[drawn], expected[drawn] = change, share * change
                            drawn += 1
            if answers == 1 or row % thin:
                continue
            dense = 4 * drawn > count  # a whole row in one go is then the faster way
            if dense:
                for e in range(drawn):
                    whole_row[at[e]] = expected[e]
            for e in range(drawn):
                change = expected[e] * narrow
                if dense:
                    gridloom_eliminate(
                        &curvature[at[e], at[e]], &whole_row[at[e]], change, count - at[e]
                    )
                else:
                    for f in range(e, drawn):
                        curvature[at[e], at[f]] -= change * expected[f]
                for f in range(e, drawn):
                    if of_site[f] != of_site[e]:
                        break
                    curvature[at[e], at[f]] += own[e] * narrow * expected[f]
            if dense:
                for e in range(drawn):
                    whole_row[at[e]] = 0.0
    return Soft(least_, use_, curvature_)


def solve(double[:, ::1] matrix, double[::1] right):
    """x of matrix x = right, symmetric and positive, its upper half given; both are used up."""
    cdef Py_ssize_t i, j, count = right.shape[0]
    cdef double factor
    with nogil:
        for j in range(count):
            for i in range(j + 1, count):
                factor = matrix[j, i] / matrix[j, j]
                if factor != 0.0:
                    gridloom_eliminate(&matrix[i, i], &matrix[j, i], factor, count - i)
                    right[i] -= factor * right[j]
        for i in range(count - 1, -1, -1):
            right[i] = right[i] / matrix[i, i]
            for j in range(i):
                right[j] -= matrix[j, i] * right[i]
    return np.asarray(right)
