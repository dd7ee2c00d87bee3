"""Compiled ruin and recreate: search.py is the same in plain Python, move for move."""

import numpy as np

from kernels.match import search as plain
from kernels.match._descent cimport REJECTED, Descent

cdef enum:
    SET_MAX = 40
    NEAR = 64

assert (SET_MAX, NEAR) == (plain.SET_MAX, plain.NEAR)

cdef double ALLOWANCE = plain.ALLOWANCE
cdef unsigned long long EXTRA = plain.EXTRA, BLINK = plain.BLINK
cdef int TRIES = plain.TRIES


cdef class Search(Descent):
    """One plan under search: descent, and what one ruin takes out and puts back."""

    cdef unsigned long long state
    cdef long long spent
    cdef int taken  # jobs in the set
    cdef int[SET_MAX] set, was, again
    cdef double[SET_MAX] was_cost
    cdef int[NEAR] near_
    cdef int near_count
    cdef unsigned char[::1] out  # [n] 1 = in the set

    def __init__(self, *given):
        super().__init__(*given)
        self.out = np.zeros(self.n, np.uint8)

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
            and not self.engine.fits(job, option, self.room)
        ):
            self.leave(self.pick())
        if self.engine.fits(job, option, self.room):
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
        self.engine.occupy(job, self.option[job], self.room, -1)
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
                if self.engine.fits(job, option, self.room) and self.draw(BLINK) > 0:
                    self.move(job, option, self.costs[job, q])
                    break
        for i in range(self.taken):
            after += self.current[self.set[i]]
        return after

    cdef void restore(self) noexcept nogil:
        cdef int i
        for i in range(self.taken):
            self.engine.occupy(self.set[i], self.option[self.set[i]], self.room, -1)
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
