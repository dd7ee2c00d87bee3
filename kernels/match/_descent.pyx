"""Compiled descent on a plan: search.py is the same in plain Python, move for move.

Members of a site are an array [M, n] of which the first `held` are in use; a job that leaves gives
its place to the last one.
"""

import numpy as np

from kernels.match import search as plain
from kernels.match._core cimport Engine

cdef enum:
    LOOKS = 8

assert LOOKS == plain.LOOKS

cdef double INFINITE = float("inf")
cdef double GAIN_MIN = plain.GAIN_MIN


cdef class Descent:
    """A plan, the moves that change it, and descent; arrays as in search.Search."""

    def __init__(
        self,
        Engine engine,
        const int[:, ::1] options,
        const double[:, ::1] costs,
        const double[:, ::1] priced,
        const double[:, ::1] keys,
        int[::1] option,
        double[::1] current,
        long long[:, :, ::1] free,
    ):
        self.engine, self.n, self.count = engine, engine.n, options.shape[1]
        self.options, self.costs, self.priced, self.keys = options, costs, priced, keys
        self.option, self.current, self.free, self.room = option, current, free, &free[0, 0, 0]
        order = np.empty(np.shape(costs), np.int32)
        self.by_cost = order
        self._sort_by_cost(order)
        self.by_price = np.ascontiguousarray(
            np.broadcast_to(np.arange(self.count, dtype=np.int32), order.shape)
        )
        reject = np.asarray(engine.reject)
        self.cheapest = np.minimum(np.asarray(costs).min(axis=1, initial=np.inf), reject)
        self.escape = reject.copy()
        self.members = np.empty((engine.sites, engine.n), np.int32)
        self.held = np.zeros(engine.sites, np.int32)
        self.at = np.zeros(engine.n, np.int32)
        cdef Py_ssize_t job
        for job in range(self.n):
            if option[job] >= 0:
                self.enter(job, option[job])

    def _sort_by_cost(self, int[:, ::1] order):
        """Ranks [n, C]: by insertion, since the order of prices is nearly that of costs."""
        cdef Py_ssize_t job, q, at
        cdef double cost
        with nogil:
            for job in range(self.n):
                for q in range(self.count):
                    cost, at = self.costs[job, q], q
                    while at > 0 and self.costs[job, order[job, at - 1]] > cost:
                        order[job, at] = order[job, at - 1]
                        at -= 1
                    order[job, at] = <int>q

    def descend(self, const long long[::1] jobs, int passes, int scan, double target):
        """Moves of `jobs` until none gains, the cost is `target`, or so many passes; the moves."""
        cdef Py_ssize_t turn
        cdef Py_ssize_t job
        cdef Py_ssize_t between = jobs.shape[0] // LOOKS + 1
        cdef long long made, moves = 0
        cdef bint there = False
        with nogil:
            for _ in range(passes):
                for job in range(self.n):
                    self.find_escape(job)
                made = 0
                for turn in range(jobs.shape[0]):
                    made += self.improve(jobs[turn], scan)
                    if (turn + 1) % between == 0 and self.total() <= target:
                        there = True
                        break
                moves += made
                if there or not made or self.total() <= target:
                    break
        return moves

    cdef double total(self) noexcept nogil:
        cdef Py_ssize_t job
        cdef double total = 0.0
        for job in range(self.n):
            total += self.current[job]
        return total

    cdef void find_escape(self, Py_ssize_t job) noexcept nogil:
        cdef int left = self.option[job], option
        cdef Py_ssize_t r, q
        cdef double least = self.engine.reject[job]
        if left < 0:
            return
        self.engine.occupy(job, left, self.room, -1)
        for r in range(self.count):
            q = self.by_cost[job, r]
            option = self.options[job, q]
            if self.costs[job, q] >= least:
                break
            if option >= 0 and option != left and self.engine.fits(job, option, self.room):
                least = self.costs[job, q]
                break
        self.engine.occupy(job, left, self.room, 1)
        self.escape[job] = least

    cdef bint improve(self, Py_ssize_t job, int scan) noexcept nogil:
        cdef int option, now = self.option[job]
        cdef double cost, gain, cost_now = self.current[job]
        cdef Py_ssize_t q
        if cost_now <= self.cheapest[job]:
            return False
        self.engine.occupy(job, now, self.room, -1)
        for q in range(self.count):
            option = self.options[job, q]
            if option < 0:
                break
            cost = self.costs[job, q]
            gain = cost - cost_now
            if option == now or gain >= -GAIN_MIN * (abs(cost) + abs(cost_now)):
                continue
            if self.engine.fits(job, option, self.room):
                self.move(job, option, cost)
                self.find_escape(job)
                return True
            if self.eject(job, option, cost, gain, scan):
                return True
        self.engine.occupy(job, now, self.room, 1)
        return False

    cdef bint eject(
        self, Py_ssize_t job, int option, double cost, double gain, int scan
    ) noexcept nogil:
        """Of the jobs in the way, move the one whose move leaves the largest saving."""
        cdef double best = -GAIN_MIN * (abs(cost) + abs(cost - gain)), to_cost = 0.0
        cdef double left_cost, saving
        cdef Py_ssize_t q, one, other = -1, site = self.engine.site_of[option]
        cdef int left, place, to = -1, now = self.option[job], at, last = self.held[site] - 1
        cdef int first = last - scan if last >= scan else -1
        for at in range(last, first, -1):
            one = self.members[site, at]
            if one == job:
                continue
            left, left_cost = self.option[one], self.current[one]
            # a pass old: what has opened up since then is seen by the next one
            if gain + (self.cheapest[one] - left_cost) >= best:
                continue
            if gain + (self.escape[one] - left_cost) >= best:
                # unless it takes the place that the job gives up
                if gain + (self.cost_at(one, now) - left_cost) >= best:
                    continue
            if not self.fits_without(job, option, one, left):
                continue
            self.engine.occupy(one, left, self.room, -1)
            self.engine.occupy(job, option, self.room, 1)
            for q in range(self.count):
                place = self.options[one, q]
                if place < 0:
                    break
                saving = gain + (self.costs[one, q] - left_cost)
                if (
                    place != left
                    and saving < best
                    and self.engine.fits(one, place, self.room)
                ):
                    best, other, to, to_cost = saving, one, place, self.costs[one, q]
            saving = gain + (self.engine.reject[one] - left_cost)
            if saving < best:
                best, other, to, to_cost = saving, one, REJECTED, self.engine.reject[one]
            self.engine.occupy(job, option, self.room, -1)
            self.engine.occupy(one, left, self.room, 1)
        if other < 0:
            return False
        self.engine.occupy(other, self.option[other], self.room, -1)
        self.move(other, to, to_cost)
        self.move(job, option, cost)
        self.find_escape(other)
        self.find_escape(job)
        return True

    cdef double cost_at(self, Py_ssize_t job, int option) noexcept nogil:
        """Cost of one of its candidates, inf where it is none."""
        cdef Py_ssize_t q
        if option >= 0:
            for q in range(self.count):
                if self.options[job, q] == option:
                    return self.costs[job, q]
        return INFINITE

    cdef bint fits_without(
        self, Py_ssize_t job, int option, Py_ssize_t one, int left
    ) noexcept nogil:
        """Whether the job has room at the option once the other has left its own, same site."""
        cdef Py_ssize_t k, t, site = self.engine.site_of[option]
        cdef Py_ssize_t start = self.engine.slot_of[option], begun = self.engine.slot_of[left]
        cdef Py_ssize_t end = self.engine.end_of(job, site, start)
        cdef Py_ssize_t ended = self.engine.end_of(one, site, begun)
        cdef long long need, freed
        cdef bint fits
        if self.engine.rows > self.engine.sites:  # quotas too: tried out
            self.engine.occupy(one, left, self.room, -1)
            fits = self.engine.fits(job, option, self.room)
            self.engine.occupy(one, left, self.room, 1)
            return fits
        for k in range(self.engine.kinds):
            need = self.engine.need(job, site, k)
            freed = self.engine.need(one, site, k)
            for t in range(start, end):
                if self.free[site, t, k] + (freed if begun <= t < ended else 0) < need:
                    return False
        return True

    # -- moves -----------------------------------------------------------------------------------

    cdef void move(self, Py_ssize_t job, int option, double cost) noexcept nogil:
        """To `option`; what the job used before is free already."""
        cdef int before = self.option[job], at, last
        cdef Py_ssize_t site
        if before >= 0:
            site, at = self.engine.site_of[before], self.at[job]
            self.held[site] -= 1
            last = self.members[site, self.held[site]]
            self.members[site, at] = last
            self.at[last] = at
        if option >= 0:
            self.enter(job, option)
        self.engine.occupy(job, option, self.room, 1)
        self.option[job] = option
        self.current[job] = cost

    cdef void enter(self, Py_ssize_t job, int option) noexcept nogil:
        cdef Py_ssize_t site = self.engine.site_of[option]
        self.at[job] = self.held[site]
        self.members[site, self.held[site]] = <int>job
        self.held[site] += 1
