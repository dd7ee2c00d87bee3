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

from kernels.match.reference import Sweep

cdef enum:
    RESOURCES_MAX = 8
    REJECTED = -1

cdef double INFINITE = float("inf")
cdef double GAIN_MIN = 2.0 ** -30
cdef long long PPM = 1000000


def _open_range(open_):
    """First open start and one past the last, [n, M] each; 0 and 0 where all are closed."""
    slots = open_.shape[2]
    any_open = open_.any(axis=2)
    first = np.where(any_open, open_.argmax(axis=2), 0)
    last = np.where(any_open, slots - open_[:, :, ::-1].argmax(axis=2), 0)
    return first.astype(np.int32), last.astype(np.int32)


cdef class Engine:
    """The loops over one problem."""

    cdef Py_ssize_t n, sites, slots, kinds
    cdef const long long[:, ::1] demand
    cdef const long long[:, ::1] scale
    cdef const double[:, ::1] amount
    cdef const double[:, ::1] fixed
    cdef const unsigned char[:, :, ::1] open
    cdef const int[:, ::1] span
    cdef const int[:, ::1] first, last  # [n, M] open starts lie in [first, last)
    cdef const long long[::1] lengths
    cdef const double[::1] reject
    # of one local search
    cdef int[:, ::1] options
    cdef double[:, ::1] option_cost
    cdef double[::1] current
    cdef int[::1] option
    cdef long long[:, :, ::1] free
    cdef int[::1] head, newer, older

    def __init__(self, problem):
        self.n = len(problem.row)
        self.sites, self.slots, self.kinds = problem.capacity.shape
        assert self.kinds <= RESOURCES_MAX
        self.demand = problem.demand
        self.scale = problem.scale_ppm
        self.amount = problem.demand.astype(np.float64)
        self.fixed = problem.fixed
        self.open = problem.open
        self.span = problem.span
        self.first, self.last = _open_range(problem.open)
        self.lengths = problem.lengths
        self.reject = problem.reject

    # -- pricing ---------------------------------------------------------------------------------

    cdef inline double price(
        self, const double[:, :, :, ::1] table, Py_ssize_t job, Py_ssize_t site, Py_ssize_t start
    ) noexcept nogil:
        cdef Py_ssize_t k, d = self.span[job, site]
        cdef double sum_ = self.fixed[job, site]
        for k in range(self.kinds):
            sum_ += self.amount[job, k] * table[d, k, site, start]
        return sum_

    cdef void price_site(
        self,
        const double[:, :, :, ::1] table,
        Py_ssize_t job,
        Py_ssize_t site,
        double* priced,
    ) noexcept nogil:
        """Prices of the starts in [first, last) at one site, inf where closed."""
        cdef Py_ssize_t k, s, d = self.span[job, site]
        cdef Py_ssize_t first = self.first[job, site], last = self.last[job, site]
        cdef double amount, fixed = self.fixed[job, site]
        cdef const double* rate
        cdef const unsigned char* open_ = &self.open[job, site, 0]
        for s in range(first, last):
            priced[s] = fixed
        for k in range(self.kinds):
            amount = self.amount[job, k]
            if amount != 0.0:  # adding 0 changes no bit
                rate = &table[d, k, site, 0]
                for s in range(first, last):
                    priced[s] += amount * rate[s]
        for s in range(first, last):
            if not open_[s]:
                priced[s] = INFINITE

    def sweep(self, const double[:, :, :, ::1] table):
        """Price all options of all jobs."""
        least_, second_ = np.empty(self.n), np.empty(self.n)
        option_ = np.empty(self.n, np.int32)
        edges_ = np.zeros((self.sites, self.slots + 1, self.kinds), np.int64)
        cdef double[::1] least = least_, second = second_, row = np.empty(max(self.slots, 1))
        cdef int[::1] option = option_
        cdef long long[:, :, ::1] edges = edges_
        cdef Py_ssize_t job, site, s, at, end
        cdef double best, next_, here, v
        with nogil:
            for job in range(self.n):
                best, next_, at = INFINITE, INFINITE, REJECTED
                for site in range(self.sites):
                    self.price_site(table, job, site, &row[0])
                    here, end = INFINITE, 0
                    for s in range(self.first[job, site], self.last[job, site]):
                        if row[s] < here:
                            here, end = row[s], s
                    if here < best:
                        next_, best, at = best, here, site * self.slots + end
                    elif here < next_:
                        next_ = here
                v = self.reject[job]
                if best <= v:
                    if v < next_:
                        next_ = v
                else:
                    next_, best, at = best, v, REJECTED
                least[job], second[job], option[job] = best, next_, <int>at
                if at >= 0:
                    self.add_edges(edges, job, at)
        used = np.ascontiguousarray(edges_.cumsum(axis=1)[:, : self.slots])
        return Sweep(least_, second_, option_, used)

    cdef void add_edges(
        self, long long[:, :, ::1] edges, Py_ssize_t job, Py_ssize_t option
    ) noexcept nogil:
        cdef Py_ssize_t k, site = option // self.slots, start = option % self.slots
        cdef Py_ssize_t end = self.end_of(job, site, start)
        cdef long long need
        for k in range(self.kinds):
            need = self.need(job, site, k)
            edges[site, start, k] += need
            edges[site, end, k] -= need

    def used(self, const int[::1] option):
        """Use [M, T, k] of the options."""
        edges = np.zeros((self.sites, self.slots + 1, self.kinds), np.int64)
        cdef Py_ssize_t job
        for job in range(self.n):
            if option[job] >= 0:
                self.add_edges(edges, job, option[job])
        return np.ascontiguousarray(edges.cumsum(axis=1)[:, : self.slots])

    # -- room ------------------------------------------------------------------------------------

    cdef inline Py_ssize_t end_of(
        self, Py_ssize_t job, Py_ssize_t site, Py_ssize_t start
    ) noexcept nogil:
        cdef Py_ssize_t end = start + self.lengths[self.span[job, site]]
        return end if end < self.slots else self.slots

    cdef inline long long need(self, Py_ssize_t job, Py_ssize_t site, Py_ssize_t k) noexcept nogil:
        return (self.demand[job, k] * self.scale[site, k] + PPM - 1) // PPM

    cdef bint fits(
        self, Py_ssize_t job, Py_ssize_t option, const long long[:, :, ::1] free
    ) noexcept nogil:
        cdef Py_ssize_t k, t, site = option // self.slots, start = option % self.slots
        cdef Py_ssize_t end = self.end_of(job, site, start)
        cdef long long need
        for k in range(self.kinds):
            need = self.need(job, site, k)
            for t in range(start, end):
                if free[site, t, k] < need:
                    return False
        return True

    cdef void occupy(
        self, Py_ssize_t job, Py_ssize_t option, long long[:, :, ::1] free, int sign
    ) noexcept nogil:
        if option < 0:
            return
        cdef Py_ssize_t k, t, site = option // self.slots, start = option % self.slots
        cdef Py_ssize_t end = self.end_of(job, site, start)
        cdef long long need
        for k in range(self.kinds):
            need = sign * self.need(job, site, k)
            for t in range(start, end):
                free[site, t, k] -= need

    # -- construction ----------------------------------------------------------------------------

    def place(
        self,
        const double[:, :, :, ::1] table,
        const long long[::1] order,
        int[::1] option,
        long long[:, :, ::1] free,
    ):
        """Jobs of `order` that are not placed: the cheapest option with room, if worth it."""
        cdef Py_ssize_t q, job, site, s
        cdef int at
        cdef double best
        cdef double[::1] row = np.empty(max(self.slots, 1))
        with nogil:
            for q in range(order.shape[0]):
                job = order[q]
                if option[job] != REJECTED:
                    continue
                best, at = INFINITE, REJECTED
                for site in range(self.sites):
                    self.price_site(table, job, site, &row[0])
                    for s in range(self.first[job, site], self.last[job, site]):
                        if row[s] < best and row[s] <= self.reject[job]:
                            if self.fits(job, site * self.slots + s, free):
                                best, at = row[s], <int>(site * self.slots + s)
                if at >= 0:
                    option[job] = at
                    self.occupy(job, at, free, 1)

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
                if not self.open[job, want // self.slots, want % self.slots]:
                    continue
                if self.fits(job, want, free):
                    option[job] = want
                    self.occupy(job, want, free, 1)

    def candidates(self, const double[:, :, :, ::1] table, int count):
        """The `count` cheapest options [n, count] of every job at these prices; -1 pads."""
        found_ = np.full((self.n, count), REJECTED, np.int32)
        cdef int[:, ::1] found = found_
        cdef double[::1] row = np.empty(max(self.slots, 1)), best = np.empty(max(count, 1))
        cdef Py_ssize_t job, site, s, at
        cdef int held
        cdef double v
        with nogil:
            for job in range(self.n):
                held = 0
                for site in range(self.sites):
                    self.price_site(table, job, site, &row[0])
                    for s in range(self.first[job, site], self.last[job, site]):
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
                        found[job, at] = <int>(site * self.slots + s)
        return found_

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
                        cost[job, q] = self.price(table, job, at // self.slots, at % self.slots)
        return cost_

    # -- local search ----------------------------------------------------------------------------

    def improve(
        self,
        int[:, ::1] options,
        double[:, ::1] costs,
        double[::1] current,
        int[::1] option,
        long long[:, :, ::1] free,
        int passes,
        int scan,
    ):
        """Shift, swap and ejection moves over the candidate options; moves made.

        options, costs: [n, C] candidates; current: [n] cost of `option`, kept up to date.
        """
        cdef Py_ssize_t job
        cdef long long made, moves = 0
        self.options, self.option_cost, self.current = options, costs, current
        self.option, self.free = option, free
        self.head = np.full(self.sites, -1, np.int32)
        self.newer = np.full(self.n, -1, np.int32)
        self.older = np.full(self.n, -1, np.int32)
        with nogil:
            for job in range(self.n):
                self.chain(job, option[job])
            for _ in range(passes):
                made = 0
                for job in range(self.n):
                    made += self.improve_one(job, scan)
                moves += made
                if not made:
                    break
        return moves

    cdef void chain(self, Py_ssize_t job, Py_ssize_t option) noexcept nogil:
        if option < 0:
            return
        cdef Py_ssize_t site = option // self.slots
        self.newer[job] = -1
        self.older[job] = self.head[site]
        if self.head[site] >= 0:
            self.newer[self.head[site]] = <int>job
        self.head[site] = <int>job

    cdef void unchain(self, Py_ssize_t job, Py_ssize_t option) noexcept nogil:
        if option < 0:
            return
        if self.newer[job] >= 0:
            self.older[self.newer[job]] = self.older[job]
        else:
            self.head[option // self.slots] = self.older[job]
        if self.older[job] >= 0:
            self.newer[self.older[job]] = self.newer[job]

    cdef void move(self, Py_ssize_t job, int option, double cost) noexcept nogil:
        """To `option`; what the job used before is free already."""
        self.unchain(job, self.option[job])
        self.chain(job, option)
        self.occupy(job, option, self.free, 1)
        self.option[job] = option
        self.current[job] = cost

    cdef bint improve_one(self, Py_ssize_t job, int scan) noexcept nogil:
        """Move one job to a cheaper option, making room there by moving another if need be."""
        cdef int option, now = self.option[job]
        cdef double cost, gain, cost_now = self.current[job]
        cdef Py_ssize_t q
        self.occupy(job, now, self.free, -1)
        for q in range(self.options.shape[1]):
            option = self.options[job, q]
            if option < 0:
                break
            cost = self.option_cost[job, q]
            gain = cost - cost_now
            if option == now or gain >= -GAIN_MIN * (abs(cost) + abs(cost_now)):
                continue
            if self.fits(job, option, self.free):
                self.move(job, option, cost)
                return True
            if self.eject(job, option, cost, gain, scan):
                return True
        self.occupy(job, now, self.free, 1)
        return False

    cdef bint eject(
        self, Py_ssize_t job, int option, double cost, double gain, int scan
    ) noexcept nogil:
        """Of the jobs in the way, move the one whose move leaves the largest saving."""
        cdef double best = -GAIN_MIN * (abs(cost) + abs(cost - gain)), to_cost = 0.0
        cdef double left_cost, saving
        cdef Py_ssize_t q, other = -1, one = self.head[option // self.slots]
        cdef int left, place, to = -1, seen = 0
        while one >= 0 and seen < scan:
            seen += 1
            if one != job:
                left, left_cost = self.option[one], self.current[one]
                self.occupy(one, left, self.free, -1)
                if self.fits(job, option, self.free):
                    self.occupy(job, option, self.free, 1)
                    for q in range(self.options.shape[1]):
                        place = self.options[one, q]
                        if place < 0:
                            break
                        saving = gain + (self.option_cost[one, q] - left_cost)
                        if place != left and saving < best and self.fits(one, place, self.free):
                            best, other, to = saving, one, place
                            to_cost = self.option_cost[one, q]
                    saving = gain + (self.reject[one] - left_cost)
                    if saving < best:
                        best, other, to, to_cost = saving, one, REJECTED, self.reject[one]
                    self.occupy(job, option, self.free, -1)
                self.occupy(one, left, self.free, 1)
            one = self.older[one]
        if other < 0:
            return False
        self.occupy(other, self.option[other], self.free, -1)
        self.move(other, to, to_cost)
        self.move(job, option, cost)
        return True
