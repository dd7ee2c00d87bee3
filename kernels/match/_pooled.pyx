"""Core engine where quotas bind: an option uses its site's row of capacity and those of quotas.

    pool   [S, M, L] i4   rows of capacity that jobs of a signature use at a site too, -1 pads

Pricing is that of _core.pyx: the tables hold what quotas cost. reference.py does both; pooled.py is
the smoothed dual.
"""

import numpy as np

from kernels.match._core cimport Engine
from kernels.match.reference import FAINT, Soft

cdef double INFINITE = float("inf")
cdef double FAINTEST = FAINT


cdef inline double decay(double x) noexcept nogil:
    """reference.py's."""
    cdef double y = x / 256.0
    cdef double power = 1.0 - y * (1.0 - y * (0.5 - y * (1.0 / 6.0 - y * (1.0 / 24.0))))
    if x >= 10.0:
        return 0.0
    power *= power
    power *= power
    power *= power
    power *= power
    power *= power
    power *= power
    power *= power
    return power * power


cdef class Pooled(Engine):
    """The loops over a problem with quotas."""

    cdef const int[:, :, ::1] pool
    cdef const int[::1] signature

    def __init__(self, problem, threads=1):
        Engine.__init__(self, problem, threads)
        self.pool, self.signature = problem.pools.rows, problem.pools.signature

    cdef void add_edges(
        self, long long[:, :, ::1] edges, Py_ssize_t job, Py_ssize_t option
    ) noexcept nogil:
        Engine.add_edges(self, edges, job, option)
        cdef Py_ssize_t k, at, site = self.site_of[option], start = self.slot_of[option]
        cdef Py_ssize_t end = self.end_of(job, site, start), signature = self.signature[job]
        cdef int row
        cdef long long need
        for at in range(self.pool.shape[2]):
            row = self.pool[signature, site, at]
            if row >= 0:
                for k in range(self.kinds):
                    need = self.need(job, site, k)
                    edges[row, start, k] += need
                    edges[row, end, k] -= need

    cdef bint fits(
        self, Py_ssize_t job, Py_ssize_t option, const long long* free
    ) noexcept nogil:
        if not Engine.fits(self, job, option, free):
            return False
        cdef Py_ssize_t k, t, at, site = self.site_of[option], start = self.slot_of[option]
        cdef Py_ssize_t end = self.end_of(job, site, start), signature = self.signature[job]
        cdef int row
        cdef long long need
        for at in range(self.pool.shape[2]):
            row = self.pool[signature, site, at]
            if row >= 0:
                for k in range(self.kinds):
                    need = self.need(job, site, k)
                    for t in range(start, end):
                        if free[(row * self.slots + t) * self.kinds + k] < need:
                            return False
        return True

    cdef void occupy(
        self, Py_ssize_t job, Py_ssize_t option, long long* free, int sign
    ) noexcept nogil:
        if option < 0:
            return
        Engine.occupy(self, job, option, free, sign)
        cdef Py_ssize_t k, t, at, site = self.site_of[option], start = self.slot_of[option]
        cdef Py_ssize_t end = self.end_of(job, site, start), signature = self.signature[job]
        cdef int row
        cdef long long need
        for at in range(self.pool.shape[2]):
            row = self.pool[signature, site, at]
            if row >= 0:
                for k in range(self.kinds):
                    need = sign * self.need(job, site, k)
                    for t in range(start, end):
                        free[(row * self.slots + t) * self.kinds + k] -= need

    # -- the smoothed dual -----------------------------------------------------------------------

    def wanted(self):
        """Use [R, T, k] if every job ran wherever and whenever it may; of a quota at one site."""
        wanted_ = np.zeros((self.rows, self.slots, self.kinds), np.int64)
        most_ = np.zeros((self.rows, self.slots, self.kinds), np.int64)
        cdef long long[:, :, ::1] wanted = wanted_, most = most_
        cdef Py_ssize_t job, site, k, t, at, end
        cdef int row
        with nogil:
            for job in range(self.n):
                for site in range(self.sites):
                    if not self.past_of(job, site):
                        continue
                    end = self.end_of(job, site, self.past_of(job, site) - 1)
                    for t in range(self.begin_of(job, site), end):
                        for k in range(self.kinds):
                            wanted[site, t, k] += self.need(job, site, k)
                    for at in range(self.pool.shape[2]):
                        row = self.pool[self.signature[job], site, at]
                        if row < 0:
                            continue
                        for t in range(self.begin_of(job, site), end):
                            for k in range(self.kinds):
                                most[row, t, k] = max(most[row, t, k], self.need(job, site, k))
                for site in range(self.sites):
                    for at in range(self.pool.shape[2]):
                        row = self.pool[self.signature[job], site, at]
                        if row >= 0:
                            for t in range(self.slots):
                                for k in range(self.kinds):
                                    wanted[row, t, k] += most[row, t, k]
                                    most[row, t, k] = 0
        return wanted_

    def soften(
        self,
        const double[:, :, :, ::1] table,
        const long long[::1] rows,
        double tau,
        double small,
        const long long[:, :, ::1] column,
        const double[::1] inverse_unit,
        Py_ssize_t count,
        Py_ssize_t thin,
    ):
        """Answers with weights exp(-(price - least) / (tau small)); column [R, T, k]."""
        least_, use_ = np.empty(len(rows)), np.zeros(count)
        curvature_ = np.zeros((count, count))
        cdef double[::1] least = least_, use = use_
        cdef double[:, ::1] curvature = curvature_
        cdef Py_ssize_t options = self.sites * self.slots
        cdef Py_ssize_t here_most = self.kinds * self.slots * (1 + self.pool.shape[2])
        cdef double[::1] price = np.empty(options + 1), weight = np.empty(options + 1)
        cdef double[::1] own = np.empty(max(here_most, 1)), expected = np.empty(max(count, 1))
        cdef int[::1] here = np.empty(max(here_most, 1), np.int32)
        cdef int[::1] drawn = np.empty(max(count, 1), np.int32)
        place_ = np.full(max(count, 1), -1, np.int32)
        cdef int[::1] place = place_  # of a column in `drawn`
        cdef Py_ssize_t at, job, option, site, start, end, k, t, pool, e, f, many, met
        cdef double low, whole, share, change, width = tau * small
        cdef double narrow = thin / width, inverse = 1.0 / width
        cdef int answers, one, other
        cdef bint curved
        cdef long long need, row
        with nogil:
            for at in range(rows.shape[0]):
                job = rows[at]
                self.price_row(&table[0, 0, 0, 0], job, &price[0])
                if self.slots > 1:  # outside of its range no start has a price
                    for site in range(self.sites):
                        for t in range(self.slots):
                            if not self.open[job, site, t]:
                                price[site * self.slots + t] = INFINITE
                price[options] = self.reject[job]
                low = INFINITE
                for option in range(options + 1):
                    low = min(low, price[option])
                least[at] = low
                whole, answers, met = 0.0, 0, 0
                for option in range(options + 1):
                    weight[option] = decay((price[option] - low) * inverse)
                    whole += weight[option]
                    answers += weight[option] != 0.0
                curved = answers > 1 and at % thin == 0
                for option in range(options):
                    if weight[option] == 0.0:
                        continue
                    site, start = self.site_of[option], self.slot_of[option]
                    end = self.end_of(job, site, start)
                    share, many = weight[option] / whole, 0
                    for pool in range(-1, self.pool.shape[2]):
                        row = site if pool < 0 else self.pool[self.signature[job], site, pool]
                        if row < 0:
                            continue
                        for t in range(start, end):
                            for k in range(self.kinds):
                                if column[row, t, k] < 0:
                                    continue
                                need = self.need(job, site, k)
                                if need > 0:
                                    change = <double>need * inverse_unit[k]
                                    use[column[row, t, k]] += share * change
                                    here[many], own[many] = <int>column[row, t, k], change
                                    many += 1
                    if not curved or share <= FAINTEST:
                        continue
                    for e in range(many):
                        one = here[e]
                        if place[one] < 0:
                            place[one], drawn[met], expected[met] = <int>met, one, 0.0
                            met += 1
                        expected[place[one]] += share * own[e]
                        change = share * own[e] * narrow
                        for f in range(e, many):
                            curvature[one, here[f]] += change * own[f]
                for e in range(met):
                    place[drawn[e]] = -1
                    change = expected[e] * narrow
                    for f in range(e, met):
                        one, other = min(drawn[e], drawn[f]), max(drawn[e], drawn[f])
                        curvature[one, other] -= change * expected[f]
        return Soft(least_, use_, curvature_)
