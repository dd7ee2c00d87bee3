"""Compiled local search: search.py is the same in plain Python, move for move.

Members of a site are an array [M, n] of which the first `held` are in use; a job that leaves gives
its place to the last one.
"""

import numpy as np

from kernels.match import search as plain
from kernels.match._core cimport Engine

cdef enum:
    REJECTED = -1
    SET_MAX = 40
    NEAR = 64
    LOOKS = 8

assert (SET_MAX, NEAR, LOOKS) == (plain.SET_MAX, plain.NEAR, plain.LOOKS)

cdef double INFINITE = float("inf")
cdef double GAIN_MIN = plain.GAIN_MIN
cdef double ALLOWANCE = plain.ALLOWANCE
cdef unsigned long long EXTRA = plain.EXTRA, BLINK = plain.BLINK
cdef int TRIES = plain.TRIES


cdef class Search:
    """One plan under search; arrays as in search.Search."""

    cdef Engine engine
    cdef Py_ssize_t n, count
    cdef const int[:, ::1] options
    cdef const double[:, ::1] costs, priced, keys
    cdef const int[:, ::1] by_cost, by_price
    cdef const double[::1] cheapest
    cdef double[::1] escape  # [n] cost of the cheapest other place with room; rejection is one
    cdef int[::1] option
    cdef double[::1] current
    cdef long long[:, :, ::1] free
    cdef int[:, ::1] members
    cdef int[::1] held, at
    # of one ruin
    cdef unsigned long long state
    cdef long long spent
    cdef int taken  # jobs in the set
    cdef int[SET_MAX] set, was, again
    cdef double[SET_MAX] was_cost
    cdef int[NEAR] near_
    cdef int near_count
    cdef unsigned char[::1] out  # [n] 1 = in the set

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
        self.option, self.current, self.free = option, current, free
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
        self.out = np.zeros(engine.n, np.uint8)
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

    # -- descent ---------------------------------------------------------------------------------

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
        self.engine.occupy(job, left, self.free, -1)
        for r in range(self.count):
            q = self.by_cost[job, r]
            option = self.options[job, q]
            if self.costs[job, q] >= least:
                break
            if option >= 0 and option != left and self.engine.fits(job, option, self.free):
                least = self.costs[job, q]
                break
        self.engine.occupy(job, left, self.free, 1)
        self.escape[job] = least

    cdef bint improve(self, Py_ssize_t job, int scan) noexcept nogil:
        cdef int option, now = self.option[job]
        cdef double cost, gain, cost_now = self.current[job]
        cdef Py_ssize_t q
        if cost_now <= self.cheapest[job]:
            return False
        self.engine.occupy(job, now, self.free, -1)
        for q in range(self.count):
            option = self.options[job, q]
            if option < 0:
                break
            cost = self.costs[job, q]
            gain = cost - cost_now
            if option == now or gain >= -GAIN_MIN * (abs(cost) + abs(cost_now)):
                continue
            if self.engine.fits(job, option, self.free):
                self.move(job, option, cost)
                self.find_escape(job)
                return True
            if self.eject(job, option, cost, gain, scan):
                return True
        self.engine.occupy(job, now, self.free, 1)
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
            self.engine.occupy(one, left, self.free, -1)
            self.engine.occupy(job, option, self.free, 1)
            for q in range(self.count):
                place = self.options[one, q]
                if place < 0:
                    break
                saving = gain + (self.costs[one, q] - left_cost)
                if (
                    place != left
                    and saving < best
                    and self.engine.fits(one, place, self.free)
                ):
                    best, other, to, to_cost = saving, one, place, self.costs[one, q]
            saving = gain + (self.engine.reject[one] - left_cost)
            if saving < best:
                best, other, to, to_cost = saving, one, REJECTED, self.engine.reject[one]
            self.engine.occupy(job, option, self.free, -1)
            self.engine.occupy(one, left, self.free, 1)
        if other < 0:
            return False
        self.engine.occupy(other, self.option[other], self.free, -1)
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
            self.engine.occupy(one, left, self.free, -1)
            fits = self.engine.fits(job, option, self.free)
            self.engine.occupy(one, left, self.free, 1)
            return fits
        for k in range(self.engine.kinds):
            need = self.engine.need(job, site, k)
            freed = self.engine.need(one, site, k)
            for t in range(start, end):
                if self.free[site, t, k] + (freed if begun <= t < ended else 0) < need:
                    return False
        return True

    # -- ruin and recreate -----------------------------------------------------------------------

    def ruin(self, long long work, unsigned long long seed, double target):
        """Until the cost is `target` or the work is done; leaves the best plan; the work done."""
        kept_, kept_cost_ = np.array(self.option), np.array(self.current)
        cdef int[::1] kept = kept_
        cdef double[::1] kept_cost = kept_cost_
        cdef double total = 0.0, size = 0.0, least, allowance, before, after, limit
        cdef Py_ssize_t job, rival
        cdef int want
        self.state, self.spent = seed, 0
        with nogil:
            for job in range(self.n):
                total += self.current[job]
                size += abs(self.cheapest[job])
            least, allowance = total, ALLOWANCE * size
            while self.spent < work and least > target:
                self.spent += 1
                job = self.draw(self.n)
                rival = self.draw(self.n)
                if self.excess(rival) > self.excess(job):
                    job = rival
                want = self.wanted(job)
                if want < 0:
                    continue
                before = self.take_out(job, want)
                after = self.put_back()
                limit = least + allowance * (1.0 - <double>self.spent / <double>work)
                if total + (after - before) > limit:
                    self.restore()
                    continue
                self.close()
                total += after - before
                if total < least:
                    least = total
                    kept[:] = self.option
                    kept_cost[:] = self.current
            self.option[:] = kept
            self.current[:] = kept_cost
        return self.spent

    cdef double excess(self, Py_ssize_t job) noexcept nogil:
        return self.current[job] - self.cheapest[job]

    cdef int wanted(self, Py_ssize_t job) noexcept nogil:
        """Any of the candidates [C] that would cost less, -1 = none."""
        cdef double now = self.current[job]
        cdef int q, cheaper = 0
        cdef unsigned long long which
        if now <= self.cheapest[job]:
            return -1
        for q in range(self.count):
            if self.options[job, q] >= 0 and self.costs[job, q] < now:
                cheaper += 1
        if not cheaper:
            return -1
        which = self.draw(cheaper)
        for q in range(self.count):
            if self.options[job, q] >= 0 and self.costs[job, q] < now:
                if which == 0:
                    return q
                which -= 1
        return -1

    cdef double take_out(self, Py_ssize_t job, int want) noexcept nogil:
        """Clear the wanted option of the job, put the job there; the cost of all taken out."""
        cdef int option = self.options[job, want], extra, turn
        cdef Py_ssize_t one
        cdef double before = 0.0
        self.taken = 0
        self.leave(job)
        self.near(option, job)
        while (
            self.near_count
            and self.taken < SET_MAX
            and not self.engine.fits(job, option, self.free)
        ):
            self.leave(self.pick())
        if self.engine.fits(job, option, self.free):
            extra = <int>self.draw(EXTRA)
            for turn in range(extra):
                if self.near_count and self.taken < SET_MAX:
                    self.leave(self.pick())
            for turn in range(TRIES):
                one = self.draw(self.n)
                if self.option[one] < 0 and not self.out[one] and self.taken < SET_MAX:
                    self.leave(one)
            self.move(job, option, self.costs[job, want])
        for turn in range(self.taken):
            before += self.was_cost[turn]
        return before

    cdef void near(self, int option, Py_ssize_t job) noexcept nogil:
        """Jobs of the site that run while the option would, from any one of them on."""
        cdef Py_ssize_t site = self.engine.site_of[option], start = self.engine.slot_of[option]
        cdef Py_ssize_t end = self.engine.end_of(job, site, start), one, begun
        cdef int first, step, many = self.held[site]
        self.near_count = 0
        if not many:
            return
        first = <int>self.draw(many)
        for step in range(min(many, NEAR)):
            one = self.members[site, (first + step) % many]
            begun = self.engine.slot_of[self.option[one]]
            if begun < end and start < self.engine.end_of(one, site, begun):
                self.near_[self.near_count] = <int>one
                self.near_count += 1
        self.spent += min(many, NEAR)

    cdef Py_ssize_t pick(self) noexcept nogil:
        cdef int at = <int>self.draw(self.near_count)
        cdef int one = self.near_[at]
        self.near_count -= 1
        self.near_[at] = self.near_[self.near_count]
        return one

    cdef void leave(self, Py_ssize_t job) noexcept nogil:
        self.set[self.taken] = <int>job
        self.was[self.taken] = self.option[job]
        self.was_cost[self.taken] = self.current[job]
        self.taken += 1
        self.out[job] = 1
        self.engine.occupy(job, self.option[job], self.free, -1)
        self.move(job, REJECTED, self.engine.reject[job])

    cdef double put_back(self) noexcept nogil:
        """Place anew what is out; the cost of all of the set."""
        cdef int first = 0 if self.option[self.set[0]] < 0 else 1
        cdef int many = self.taken - first, i, j, order = <int>self.draw(4)
        cdef int job, option
        cdef Py_ssize_t q, r
        cdef bint by_cost
        cdef const int* ranks
        cdef const double* values
        cdef double after = 0.0
        for i in range(many):
            self.again[i] = self.set[first + i]
        if order < 2:
            for i in range(1, many):
                job, j = self.again[i], i
                while j > 0 and self.keys[order, self.again[j - 1]] < self.keys[order, job]:
                    self.again[j] = self.again[j - 1]
                    j -= 1
                self.again[j] = job
        by_cost = self.draw(2) == 0
        for i in range(many):
            job = self.again[i]
            ranks = &self.by_cost[job, 0] if by_cost else &self.by_price[job, 0]
            values = &self.costs[job, 0] if by_cost else &self.priced[job, 0]
            for r in range(self.count):
                q = ranks[r]
                option = self.options[job, q]
                if option < 0:
                    continue
                if values[q] > self.engine.reject[job]:
                    break
                self.spent += 1
                if self.engine.fits(job, option, self.free) and self.draw(BLINK) > 0:
                    self.move(job, option, self.costs[job, q])
                    break
        for i in range(self.taken):
            after += self.current[self.set[i]]
        return after

    cdef void restore(self) noexcept nogil:
        cdef int i
        for i in range(self.taken):
            self.engine.occupy(self.set[i], self.option[self.set[i]], self.free, -1)
            self.move(self.set[i], REJECTED, 0.0)
        for i in range(self.taken):
            self.move(self.set[i], self.was[i], self.was_cost[i])
        self.close()

    cdef void close(self) noexcept nogil:
        cdef int i
        for i in range(self.taken):
            self.out[self.set[i]] = 0

    cdef unsigned long long draw(self, unsigned long long below) noexcept nogil:
        """A whole number from 0 on below `below`."""
        cdef unsigned long long z
        self.state += <unsigned long long>0x9E3779B97F4A7C15
        z = self.state
        z = (z ^ (z >> 30)) * <unsigned long long>0xBF58476D1CE4E5B9
        z = (z ^ (z >> 27)) * <unsigned long long>0x94D049BB133111EB
        return (z ^ (z >> 31)) % below

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
        self.engine.occupy(job, option, self.free, 1)
        self.option[job] = option
        self.current[job] = cost

    cdef void enter(self, Py_ssize_t job, int option) noexcept nogil:
        cdef Py_ssize_t site = self.engine.site_of[option]
        self.at[job] = self.held[site]
        self.members[site, self.held[site]] = <int>job
        self.held[site] += 1
