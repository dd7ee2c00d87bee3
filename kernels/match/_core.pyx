"""Core engine: the inner loops of the match; reference.py is the same in numpy, move for move.

Layout of the arrays (C order; n jobs, M sites, T slots, k active resources, d run lengths)

    table    [d, k, M, T] f8   price of one unit of demand over a run that starts in a slot
    fixed    [n, M]       f8   part of an option's cost that its start does not change
    open     [n, M, T]    u1   1 = may start
    span     [n, M]       i4   index of the run's length
    free     [M, T, k]    i8   capacity not used

An option is the number site x T + start, -1 is rejected. Additions are in the order of k, without
fused multiply-add, so that sums equal numpy's bit for bit.
"""

import numpy as np

cimport cython

from kernels.match.reference import Sweep
from kernels.match.threads import in_blocks

cdef extern from "_price.h":
    void gl_wanted(
        const unsigned char* open, const long long* demand, const long long* drawn, const int* side,
        long sides, long sites, int kinds, long count, long long* wanted
    ) noexcept nogil
    int gl_range(
        const unsigned char* open, long count, int* first, int* last
    ) noexcept nogil
    void gl_price_starts(
        double* priced, double fixed, const double* amount, const double* table,
        long step, int kinds, long count
    ) noexcept nogil
    long gl_first_least(const double* price, long count, double* least) noexcept nogil
    void gl_price_options(
        double* priced, const double* base, const double* amount, const double* table,
        long step, int kinds, long count
    ) noexcept nogil

cdef extern from "_answer.h":
    ctypedef struct gl_answers:
        long sites, wide
        int kinds
        const double* alone
        const double* amount
        const double* table
        const double* reject
        const int* span
        double* least
        double* second
        int* option
    void gl_answer(const gl_answers* given, long begin, long past) noexcept nogil

cdef enum:
    PPM = 1000000
    RESOURCES_MAX = 8
    REJECTED = -1

cdef double INFINITE = float("inf")


cdef class Engine:
    """The loops over one problem."""

    def __init__(self, problem, threads=1):
        self.n, self.threads = len(problem.row), threads
        self.rows, self.slots, self.kinds = problem.capacity.shape
        self.sites = len(problem.watt_cost)
        assert self.kinds <= RESOURCES_MAX
        self.demand = problem.demand
        lifted = np.flatnonzero((problem.scale_ppm != PPM).any(axis=0))
        side = np.full(self.kinds, -1, np.int32)
        side[lifted] = np.arange(len(lifted))
        self.side, self.sides, self.drawn = side, len(lifted), None
        self.scale, self.times, self.each = problem.scale_ppm, problem.times, problem.demand
        self.bundled = bool((problem.times != 1).any())
        if self.bundled:
            self.each = problem.demand // problem.times[:, None]
        self.amount = problem.demand.astype(np.float64)
        self.fixed = self.alone = problem.fixed
        self.open = problem.open
        self.span = problem.span
        self.lengths = problem.lengths
        self.reject = problem.reject
        option = np.arange(self.sites * self.slots, dtype=np.int32)
        self.site_of, self.slot_of = option // max(self.slots, 1), option % max(self.slots, 1)
        if self.slots != 1:
            self.first, self.last, self.holes = self._open_range()
        elif self.sites % 4:
            alone = np.full((self.n, (self.sites + 3) // 4 * 4), np.inf)
            alone[:, : self.sites] = problem.fixed
            self.alone = alone

    cdef const long long* draw(self):
        """Needs at the sites [n, M, s] where they are not the demand, for who reads all of them."""
        if self.drawn is None and self.n and self.sites and self.sides:
            self.drawn = self._drawn()
        return &self.drawn[0, 0, 0] if self.drawn is not None else NULL

    def _drawn(self):
        drawn_ = np.empty((self.n, self.sites, self.sides), np.int64)
        cdef long long[:, :, ::1] drawn = drawn_
        cdef Py_ssize_t job, site, k
        with nogil:
            for job in range(self.n):
                for site in range(self.sites):
                    for k in range(self.kinds):
                        if self.side[k] >= 0:
                            drawn[job, site, self.side[k]] = self.need(job, site, k)
        return drawn_

    def _open_range(self):
        """First open start and one past the last, [n, M] each, 0 and 0 where all are closed;

        and 1 where some between are closed.
        """
        first_ = np.zeros((self.n, self.sites), np.int32)
        holes_ = np.zeros((self.n, self.sites), np.uint8)
        last_ = np.zeros((self.n, self.sites), np.int32)
        cdef int[:, ::1] first = first_, last = last_
        cdef unsigned char[:, ::1] holes = holes_
        cdef Py_ssize_t job, site
        with nogil:
            for job in range(self.n):
                for site in range(self.sites):
                    holes[job, site] = gl_range(
                        &self.open[job, site, 0], self.slots, &first[job, site], &last[job, site]
                    )
        return first_, last_, holes_

    @cython.final  # called directly
    cdef Py_ssize_t begin_of(self, Py_ssize_t job, Py_ssize_t site) noexcept nogil:
        """The first open start, 0 where all are closed."""
        return 0 if self.slots == 1 else self.first[job, site]

    @cython.final  # called directly
    cdef Py_ssize_t past_of(self, Py_ssize_t job, Py_ssize_t site) noexcept nogil:
        """One past the last open start, 0 where all are closed."""
        return self.open[job, site, 0] if self.slots == 1 else self.last[job, site]

    def behind(self, table):
        """One slot: a price table [d, k, wide], 0 behind the sites."""
        rates = np.asarray(table)[:, :, :, 0]
        wide = self.alone.shape[1]
        if wide == self.sites:
            return np.ascontiguousarray(rates)
        padded = np.zeros((*rates.shape[:2], wide))
        padded[:, :, : self.sites] = rates
        return padded

    # -- pricing ---------------------------------------------------------------------------------

    @cython.final  # called directly
    cdef double price(
        self, const double* table, Py_ssize_t job, Py_ssize_t site, Py_ssize_t start
    ) noexcept nogil:
        cdef Py_ssize_t k, step = self.sites * self.slots
        cdef double sum_ = self.fixed[job, site]
        table += self.span[job, site] * self.kinds * step + site * self.slots + start
        for k in range(self.kinds):
            sum_ += self.amount[job, k] * table[k * step]
        return sum_

    @cython.final  # called directly
    cdef void price_site(
        self,
        const double* table,
        Py_ssize_t job,
        Py_ssize_t site,
        double* priced,
    ) noexcept nogil:
        """Prices of the starts in [first, last) at one site, inf where closed."""
        cdef Py_ssize_t s, first = self.first[job, site], last = self.last[job, site]
        cdef Py_ssize_t step = self.sites * self.slots
        cdef const unsigned char* open_ = &self.open[job, site, 0]
        gl_price_starts(
            priced + first, self.fixed[job, site], &self.amount[job, 0],
            table + self.span[job, site] * self.kinds * step + site * self.slots + first,
            step, <int>self.kinds, last - first,
        )
        if self.holes[job, site]:
            for s in range(first, last):
                if not open_[s]:
                    priced[s] = INFINITE

    @cython.final  # called directly
    cdef void price_row(
        self, const double* table, Py_ssize_t job, double* priced
    ) noexcept nogil:
        """Prices of all options, valid in [first, last) of each site, inf where closed."""
        cdef Py_ssize_t site
        if self.slots == 1:  # one length only
            gl_price_options(
                priced, &self.alone[job, 0], &self.amount[job, 0],
                table + self.span[job, 0] * self.kinds * self.sites,
                self.sites, <int>self.kinds, self.sites,
            )
            return
        for site in range(self.sites):
            self.price_site(table, job, site, priced + site * self.slots)

    def sweep(self, const double[:, :, :, ::1] table):
        """Price all options of all jobs."""
        rates = self.behind(table) if self.slots == 1 else None
        least, second = np.empty(self.n), np.empty(self.n)
        option = np.empty(self.n, np.int32)

        def block(first, past):
            if rates is None:
                self._sweep_rows(table, least, second, option, first, past)
            else:
                self._sweep_slot(rates, least, second, option, first, past)

        in_blocks(block, self.n, self.sites * self.slots, self.threads)
        return Sweep(least, second, option)

    def _sweep_slot(
        self,
        const double[:, :, ::1] rates,
        double[::1] least,
        double[::1] second,
        int[::1] option,
        Py_ssize_t begin,
        Py_ssize_t past,
    ):
        """Of the jobs in [begin, past), one slot."""
        cdef gl_answers to
        if begin == past:
            return
        to.sites, to.wide, to.kinds = self.sites, rates.shape[2], <int>self.kinds
        to.alone, to.amount, to.span = &self.alone[0, 0], &self.amount[0, 0], &self.span[0, 0]
        to.table, to.reject = &rates[0, 0, 0], &self.reject[0]
        to.least, to.second, to.option = &least[0], &second[0], &option[0]
        with nogil:
            gl_answer(&to, begin, past)

    def _sweep_rows(
        self,
        const double[:, :, :, ::1] table,
        double[::1] least,
        double[::1] second,
        int[::1] option,
        Py_ssize_t begin,
        Py_ssize_t past,
    ):
        """Of the jobs in [begin, past)."""
        cdef double[::1] row = np.empty(max(self.sites * self.slots, 1))
        cdef Py_ssize_t job, site, s, at, first
        cdef double best, next_, here, v
        with nogil:
            for job in range(begin, past):
                best, next_, at = INFINITE, INFINITE, REJECTED
                self.price_row(&table[0, 0, 0, 0], job, &row[0])
                for site in range(self.sites):
                    first = site * self.slots + self.first[job, site]
                    s = gl_first_least(
                        &row[first], self.last[job, site] - self.first[job, site], &here
                    )
                    if here < next_:
                        if here < best:
                            next_, best, at = best, here, first + s
                        else:
                            next_ = here
                v = self.reject[job]
                if best <= v:
                    if v < next_:
                        next_ = v
                else:
                    next_, best, at = best, v, REJECTED
                least[job], second[job], option[job] = best, next_, <int>at

    def soften(self, *arguments):
        """One slot: answers with weights exp(-(price - least) / tau)."""
        from kernels.match._soft import soften

        return soften(self, *arguments)

    def solve(self, matrix, right):
        """x of matrix x = right, symmetric and positive, its upper half given; both are used up."""
        from kernels.match._soft import solve

        return solve(matrix, right)

    cdef void add_edges(
        self, long long[:, :, ::1] edges, Py_ssize_t job, Py_ssize_t option
    ) noexcept nogil:
        cdef Py_ssize_t k, site = self.site_of[option], start = self.slot_of[option]
        cdef Py_ssize_t end = self.end_of(job, site, start)
        cdef long long need
        for k in range(self.kinds):
            need = self.need(job, site, k)
            edges[site, start, k] += need
            edges[site, end, k] -= need

    def used(self, const int[::1] option):
        """Use [M, T, k] of the options."""
        edges_ = np.zeros((self.rows, self.slots + 1, self.kinds), np.int64)
        cdef long long[:, :, ::1] edges = edges_
        cdef Py_ssize_t job
        with nogil:
            for job in range(self.n):
                if option[job] >= 0:
                    self.add_edges(edges, job, option[job])
        return np.ascontiguousarray(edges_.cumsum(axis=1)[:, : self.slots])

    def wanted(self):
        """One slot: use [M, k] if every job came wherever it may."""
        wanted_ = np.zeros((self.sites, self.kinds), np.int64)
        cdef long long[:, ::1] wanted = wanted_
        cdef const long long* drawn = self.draw()
        if self.n:
            with nogil:
                gl_wanted(
                    &self.open[0, 0, 0], &self.demand[0, 0], drawn, &self.side[0],
                    self.sides, self.sites, <int>self.kinds, self.n, &wanted[0, 0],
                )
        return wanted_

    def starts(self):
        """How many starts [n, M] a job may choose from at a site."""
        count_ = np.zeros((self.n, self.sites), np.int64)
        cdef long long[:, ::1] count = count_
        cdef Py_ssize_t job, site, s
        with nogil:
            for job in range(self.n):
                for site in range(self.sites):
                    for s in range(self.begin_of(job, site), self.past_of(job, site)):
                        count[job, site] += self.open[job, site, s]
        return count_

    # -- room ------------------------------------------------------------------------------------

    @cython.final  # called directly
    cdef Py_ssize_t end_of(
        self, Py_ssize_t job, Py_ssize_t site, Py_ssize_t start
    ) noexcept nogil:
        cdef Py_ssize_t end = start + self.lengths[self.span[job, site]]
        return end if end < self.slots else self.slots

    @cython.final  # called directly
    cdef long long need(self, Py_ssize_t job, Py_ssize_t site, Py_ssize_t k) noexcept nogil:
        cdef unsigned long long asked
        if self.side[k] < 0:
            return self.demand[job, k]
        asked = self.each[job, k]
        asked = (asked * <unsigned long long>self.scale[site, k] + (PPM - 1)) // PPM
        return asked * self.times[job] if self.bundled else asked

    cdef bint fits(
        self, Py_ssize_t job, Py_ssize_t option, const long long* free
    ) noexcept nogil:
        cdef Py_ssize_t k, t, site = self.site_of[option], start = self.slot_of[option]
        cdef Py_ssize_t end = self.end_of(job, site, start)
        cdef long long need
        free += site * self.slots * self.kinds
        for k in range(self.kinds):
            need = self.need(job, site, k)
            for t in range(start, end):
                if free[t * self.kinds + k] < need:
                    return False
        return True

    cdef void occupy(
        self, Py_ssize_t job, Py_ssize_t option, long long* free, int sign
    ) noexcept nogil:
        if option < 0:
            return
        cdef Py_ssize_t k, t, site = self.site_of[option], start = self.slot_of[option]
        cdef Py_ssize_t end = self.end_of(job, site, start)
        cdef long long need
        free += site * self.slots * self.kinds
        for k in range(self.kinds):
            need = sign * self.need(job, site, k)
            for t in range(start, end):
                free[t * self.kinds + k] -= need

    @cython.final  # called directly
    cdef bint settle(
        self, Py_ssize_t job, Py_ssize_t option, long long* free
    ) noexcept nogil:
        """Occupy the option if it has room; whether it has."""
        cdef Py_ssize_t k, t, site = self.site_of[option], start = self.slot_of[option]
        cdef Py_ssize_t end = self.end_of(job, site, start)
        cdef long long[RESOURCES_MAX] need
        if self.rows > self.sites:  # quotas too
            if not self.fits(job, option, free):
                return False
            self.occupy(job, option, free, 1)
            return True
        free += site * self.slots * self.kinds
        for k in range(self.kinds):
            need[k] = self.need(job, site, k)
            for t in range(start, end):
                if free[t * self.kinds + k] < need[k]:
                    return False
        for k in range(self.kinds):
            for t in range(start, end):
                free[t * self.kinds + k] -= need[k]
        return True

    # -- construction ----------------------------------------------------------------------------

    def place(
        self,
        const double[:, :, :, ::1] table,
        const long long[::1] order,
        int[::1] option,
        long long[:, :, ::1] free,
        const int[::1] wanted=None,
    ):
        """Jobs of `order` that are not placed: the cheapest option with room, if worth it.

        wanted [n]: the cheapest option, if worth it; who knows it need not price the others.
        """
        cdef Py_ssize_t q, job, site, s
        cdef int at
        cdef double best
        cdef bint known = wanted is not None
        cdef double[::1] row = np.empty(max(self.sites * self.slots, 1))
        with nogil:
            for q in range(order.shape[0]):
                job = order[q]
                if option[job] != REJECTED:
                    continue
                if known:
                    at = wanted[job]
                    if at == REJECTED:
                        continue
                    if self.fits(job, at, &free[0, 0, 0]):
                        option[job] = at
                        self.occupy(job, at, &free[0, 0, 0], 1)
                        continue
                best, at = INFINITE, REJECTED
                self.price_row(&table[0, 0, 0, 0], job, &row[0])
                for site in range(self.sites):
                    for s in range(
                        site * self.slots + self.begin_of(job, site),
                        site * self.slots + self.past_of(job, site),
                    ):
                        if row[s] < best and row[s] <= self.reject[job]:
                            if self.fits(job, s, &free[0, 0, 0]):
                                best, at = row[s], <int>s
                if at >= 0:
                    option[job] = at
                    self.occupy(job, at, &free[0, 0, 0], 1)

    def keep(
        self,
        const int[::1] wanted,
        const long long[::1] order,
        int[::1] option,
        long long[:, :, ::1] free,
    ):
        """Jobs of `order` that are not placed: the wanted option, if open and with room."""
        cdef Py_ssize_t q, job
        cdef int want
        with nogil:
            for q in range(order.shape[0]):
                job = order[q]
                want = wanted[job]
                if want < 0 or option[job] != REJECTED:
                    continue
                if not self.open[job, self.site_of[want], self.slot_of[want]]:
                    continue
                if self.settle(job, want, &free[0, 0, 0]):
                    option[job] = want

    def candidates(self, const double[:, :, :, ::1] table, int count):
        """The `count` cheapest options [n, count] of every job at these prices; -1 pads."""
        found = np.full((self.n, count), REJECTED, np.int32)

        def block(first, past):
            self._candidates_of(table, count, found, first, past)

        in_blocks(block, self.n, self.sites * self.slots, self.threads)
        return found

    def _candidates_of(
        self,
        const double[:, :, :, ::1] table,
        int count,
        int[:, ::1] found,
        Py_ssize_t begin,
        Py_ssize_t past,
    ):
        """Of the jobs in [begin, past)."""
        cdef double[::1] row = np.empty(max(self.sites * self.slots, 1)), best = np.empty(max(count, 1))
        cdef Py_ssize_t job, site, s, at
        cdef int held
        cdef double v
        with nogil:
            for job in range(begin, past):
                held = 0
                self.price_row(&table[0, 0, 0, 0], job, &row[0])
                for site in range(self.sites):
                    for s in range(
                        site * self.slots + self.begin_of(job, site),
                        site * self.slots + self.past_of(job, site),
                    ):
                        v = row[s]
                        if v == INFINITE or (held == count and not v < best[count - 1]):
                            continue
                        if held < count:
                            held += 1
                        at = held - 1
                        while at > 0 and best[at - 1] > v:
                            best[at] = best[at - 1]
                            found[job, at] = found[job, at - 1]
                            at -= 1
                        best[at] = v
                        found[job, at] = <int>s

    def costs(self, const double[:, :, :, ::1] table, const int[:, ::1] option):
        """Cost [n, q] of options [n, q]; the reject cost where REJECTED."""
        cost_ = np.empty((self.n, option.shape[1]))
        cdef double[:, ::1] cost = cost_
        cdef Py_ssize_t job, q, at
        with nogil:
            for job in range(self.n):
                for q in range(option.shape[1]):
                    at = option[job, q]
                    if at < 0:
                        cost[job, q] = self.reject[job]
                    else:
                        cost[job, q] = self.price(
                            &table[0, 0, 0, 0], job, self.site_of[at], self.slot_of[at]
                        )
        return cost_

    def search(self, *arrays):
        """Local search on a plan: search.Search, compiled."""
        from kernels.match._search import Search

        return Search(self, *arrays)
