"""One look at the columns: is there anything in them that checks.py has to name or to change?"""

import numpy as np

cimport numpy as cnp
from libc.math cimport isfinite, pow

from kernels.balance._network_columns cimport Columns, columns_of

cnp.import_array()


cdef inline bint kept(const double* x, Py_ssize_t n, double low, double high) noexcept nogil:
    """Whether n values are finite and from low to high: all looked at, so that it is a vector."""
    cdef Py_ssize_t i
    cdef int wrong = 0
    for i in range(n):
        wrong |= not (low <= x[i] <= high)
    return wrong == 0


def outside(column, double low, double high):
    """Whether a float64 column, in one piece, has a value that is not finite, < low or > high."""
    cdef const double[::1] flat = column.reshape(-1)
    cdef Py_ssize_t i
    for i in range(flat.shape[0]):
        if not isfinite(flat[i]) or flat[i] < low or flat[i] > high:
            return True
    return False


def is_clean(net):
    """Whether a network can be solved as it stands: all that check() looks at is in order."""
    cdef Columns c
    columns_of(net, &c)
    cdef Py_ssize_t R = c.regions, some = R * c.steps, K = R * c.units, S = R * c.storages, i
    cdef double most = 1.7976931348623157e308
    cdef bint clean
    with nogil:
        clean = kept(c.load, some, 0.0, most) and kept(c.ren, some, 0.0, most)
        clean = clean and kept(c.into, some, 0.0, most) and kept(c.out, some, 0.0, most)
        clean = clean and kept(c.into_price, some, -most, most)
        clean = clean and kept(c.out_price, some, -most, most)
        clean = clean and kept(c.ci, some, 0.0, most) and kept(c.flex, some, 0.0, most)
        clean = clean and kept(c.up, some, 0.0, 0.0) and kept(c.down, some, 0.0, 0.0)
        clean = clean and kept(c.energy, R, 0.0, most) and kept(c.cap, K, 0.0, most)
        clean = clean and kept(c.unit_cost, K, -most, most) and kept(c.unit_ci, K, 0.0, most)
        clean = clean and kept(c.charge, S, 0.0, most) and kept(c.discharge, S, 0.0, most)
        clean = clean and kept(c.eta_c, S, 0.0, 1.0) and kept(c.eta_d, S, 0.0, 1.0)
        clean = clean and kept(c.wear, S, 0.0, most) and kept(c.worth, S, -most, most)
        clean = clean and kept(c.low, S, 0.0, most) and kept(c.high, S, 0.0, most)
        clean = clean and kept(c.link_cap, c.links, 0.0, most)
        clean = clean and kept(c.loss, c.links, 0.0, 1.0) and kept(c.tariff, c.links, 0.0, most)
        for i in range(S if clean else 0):
            clean = clean and c.eta_c[i] > 0.0 and c.eta_d[i] > 0.0 and 0.0 < c.retain[i] <= 1.0
            clean = clean and c.low[i] <= c.soc0[i] <= c.high[i]
            clean = clean and c.low[i] <= c.soc0[i] * pow(c.retain[i], c.steps)
        for i in range(c.links if clean else 0):
            clean = clean and 0 <= c.link_from[i] < R and 0 <= c.link_to[i] < R
            clean = clean and c.link_from[i] != c.link_to[i]
    return clean


def is_joined(net):
    """Whether links join all regions of a checked network: it is one problem then."""
    cdef Columns c
    columns_of(net, &c)
    cdef int[::1] label = np.arange(c.regions, dtype=np.int32)
    cdef Py_ssize_t n
    cdef int r, a, b, parts = c.regions
    for n in range(c.links):
        a, b = label[c.link_from[n]], label[c.link_to[n]]
        if a != b:
            parts -= 1
            for r in range(c.regions):
                if label[r] == b:
                    label[r] = a
    return parts <= 1


cdef extern from *:
    """
    static int gl_has_avx2(void) {
    #if defined(__GNUC__) && (defined(__x86_64__) || defined(__i386__))
        return __builtin_cpu_supports("avx2") != 0;
    #else
        return 0;
    #endif
    }
    """
    int gl_has_avx2()


def has_avx2():
    """Whether this machine has the wider vectors that _network_avx2 is compiled for."""
    return gl_has_avx2() != 0
