"""Compiled compile_problem: the filters, run lengths and fixed costs of all pairs in one pass.

For rows that are one job each, without terms. problem.py is the same in numpy; both give the same
problem bit for bit. A site that a filter forbids has the filter's number, so that a job without a
site left was rejected by the highest of them.
"""

import numpy as np

cimport cython

from kernels.match.columns import ANY, RESOURCES, Reason
from kernels.match.threads import in_blocks
from kernels.match.pools import no_pools
from kernels.match.problem import (
    Compiled,
    Problem,
    _short_of,
    _watt_cost,
    lifted_reject,
    scale_ppm,
)

cdef enum:
    PPM = 1000000
    KINDS = 5
    POWER = 2
    GREEN = 4
    # of Reason
    AFFINITY = 1
    SITE_DOWN = 2
    RESIDENCY = 3
    CLASS = 4
    PRECISION = 5
    LATENCY = 6
    RELEASE = 7
    DEADLINE = 8
    TOO_LARGE = 9

assert len(RESOURCES) == KINDS
assert (AFFINITY, SITE_DOWN, TOO_LARGE) == (
    Reason.REJECTED_AFFINITY, Reason.REJECTED_SITE_DOWN, Reason.REJECTED_TOO_LARGE,
)

cdef double INFINITE = float("inf")


@cython.final  # so that its methods are inlined
cdef class _Columns:
    """The columns as the pass reads them; names as in columns.py."""

    cdef Py_ssize_t rows, sites, horizon
    cdef long long slot_ms
    cdef const long long[::1] job_class, precision, duration_ms, release_slot, deadline_slot
    cdef const long long[::1] origin_hub, residency, affinity, data_site, data_hub, current_site
    cdef const double[::1] max_rtt_ms, data_gb, migration_cost
    cdef const long long[:, ::1] demand
    cdef const long long[::1] hub, pue_ppm, classes
    cdef const unsigned char[::1] up
    cdef const long long[:, :, ::1] rate_ppm, capacity
    cdef const long long[:, ::1] least  # [M, K] capacity over all slots
    cdef const double[:, ::1] rtt_ms, price_per_gb

    def __init__(self, jobs, sites, series, network):
        def flat(column):
            return np.ascontiguousarray(column)

        self.rows, self.sites = len(jobs.job_id), len(sites.site_id)
        self.horizon, self.slot_ms = series.price_per_mwh.shape[1], series.slot_ms
        self.job_class, self.precision = flat(jobs.job_class), flat(jobs.precision)
        self.duration_ms, self.release_slot = flat(jobs.duration_ms), flat(jobs.release_slot)
        self.deadline_slot, self.origin_hub = flat(jobs.deadline_slot), flat(jobs.origin_hub)
        self.residency, self.affinity = flat(jobs.residency), flat(jobs.affinity)
        self.data_site, self.data_hub = flat(jobs.data_site), flat(jobs.data_hub)
        self.current_site, self.demand = flat(jobs.current_site), flat(jobs.demand)
        self.max_rtt_ms, self.data_gb = flat(jobs.max_rtt_ms), flat(jobs.data_gb)
        self.migration_cost = flat(jobs.migration_cost)
        self.hub, self.pue_ppm, self.classes = flat(sites.hub), flat(sites.pue_ppm), flat(sites.classes)
        self.up, self.rate_ppm = flat(sites.up).view(np.uint8), flat(sites.rate_ppm)
        self.capacity, self.least = flat(sites.capacity), sites.capacity.min(axis=1)
        self.rtt_ms, self.price_per_gb = flat(network.rtt_ms), flat(network.price_per_gb)

    cdef double transfer(self, Py_ssize_t i, Py_ssize_t m) noexcept nogil:
        """Moving the data to the site and the job off its current one."""
        cdef double cost = 0.0
        cdef long long place
        if self.data_gb[i] > 0 and self.data_site[i] != m:
            place = self.hub[self.data_site[i]] if self.data_site[i] >= 0 else self.data_hub[i]
            if place >= 0:
                cost = self.data_gb[i] * self.price_per_gb[place, self.hub[m]]
        if self.current_site[i] >= 0 and self.current_site[i] != m:
            cost += self.migration_cost[i]
        return cost

    cdef double latency(self, Py_ssize_t i, Py_ssize_t m, double per_ms) noexcept nogil:
        """What a round trip to an allowed site costs."""
        if self.origin_hub[i] == -1:
            return 0.0
        return per_ms * self.rtt_ms[self.origin_hub[i], self.hub[m]]

    cdef int barred(
        self, Py_ssize_t i, Py_ssize_t m, long long slots, double transfer
    ) noexcept nogil:
        """The first of the filters of sites that forbids the pair, 0 = none."""
        cdef double rtt
        if self.affinity[i] != -1 and self.affinity[i] != m:
            return AFFINITY
        if not self.up[m]:
            return SITE_DOWN
        if not (self.residency[i] >> min(self.hub[m], 63)) & 1:
            return RESIDENCY
        if not (self.classes[m] >> self.job_class[i]) & 1:
            return CLASS
        if slots <= 0:
            return PRECISION
        if self.origin_hub[i] != -1:
            rtt = self.rtt_ms[self.origin_hub[i], self.hub[m]]
            if not (rtt <= self.max_rtt_ms[i] and -INFINITE < rtt < INFINITE):
                return LATENCY
        if not -INFINITE < transfer < INFINITE:
            return LATENCY
        return 0

    cdef bint open_starts(
        self, Py_ssize_t i, Py_ssize_t m, long long slots, long long first, long long last,
        unsigned char* open_,
    ) noexcept nogil:
        """Mark the starts of [first, last] that the site would have room for if it were empty."""
        cdef Py_ssize_t s
        cdef long long run = 0
        cdef long long[KINDS] need
        cdef int k
        cdef bint fits = True, any_ = False
        for k in range(KINDS):
            need[k] = self.demand[i, k]
            if k == POWER or k == GREEN:
                need[k] = (need[k] * self.pue_ppm[m] + PPM - 1) // PPM
            fits = fits and need[k] <= self.least[m, k]
        if fits:
            for s in range(first, last + 1):
                open_[s] = 1
            return True
        for s in range(self.horizon - 1, first - 1, -1):
            fits = True
            for k in range(KINDS):
                fits = fits and need[k] <= self.capacity[m, s, k]
            run = run + 1 if fits else 0
            if s <= last and run >= min(slots, self.horizon - s):
                open_[s] = any_ = 1
        return any_


def _pass(
    _Columns c,
    double per_ms,
    const double[::1] last_watt,
    long long[:, ::1] slots,
    double[:, ::1] fixed,
    unsigned char[:, ::1] stage,
    unsigned char[:, :, ::1] open_,
    signed char[::1] reason,
    Py_ssize_t begin,
    Py_ssize_t past,
):
    """Rows in [begin, past): all pairs of them; 1 [K] for what any of them asks."""
    asked_ = np.zeros(KINDS, np.uint8)
    cdef unsigned char[::1] asked = asked_
    cdef Py_ssize_t i, m
    cdef long long first, last, rate, before, work, slot = 0
    cdef double transfer
    cdef int why, highest, k
    with nogil:
        for i in range(begin, past):
            for k in range(KINDS):
                asked[k] |= c.demand[i, k] != 0
            highest, before = 0, -1
            work = c.duration_ms[i] * PPM
            first = max(c.release_slot[i], 0)
            for m in range(c.sites):
                rate = c.rate_ppm[m, c.job_class[i], c.precision[i]]
                if rate != before:
                    slot = 0
                    if rate > 0:
                        slot = work // (rate * c.slot_ms)
                        slot += slot * (rate * c.slot_ms) != work
                    before = rate
                slots[i, m] = slot
                transfer = c.transfer(i, m)
                why = c.barred(i, m, slot, transfer)
                if not why:
                    last = c.horizon - 1
                    if c.deadline_slot[i] != -1:
                        last = min(last, c.deadline_slot[i] - slot)
                    if first >= c.horizon:
                        why = RELEASE
                    elif last < first:
                        why = DEADLINE
                    elif not c.open_starts(i, m, slot, first, last, &open_[i, m, 0]):
                        why = TOO_LARGE
                    else:
                        fixed[i, m] = transfer + c.latency(i, m, per_ms) + <double>c.demand[i, POWER] * (
                            <double>max(slot - c.horizon, 0) * last_watt[m]
                        )
                stage[i, m] = why
                if highest >= 0:
                    highest = max(highest, why) if why else -1
            if highest > 0:
                reason[i] = highest
    return asked_


def compile_problem(jobs, sites, series, network, policy, threads=1):
    """What problem.compile_problem returns."""
    cdef _Columns c = _Columns(jobs, sites, series, network)
    watt_cost = _watt_cost(sites, series, policy)
    slots_ = np.empty((c.rows, c.sites), np.int64)
    fixed_ = np.zeros((c.rows, c.sites))
    stage_ = np.zeros((c.rows, c.sites), np.uint8)
    open__ = np.zeros((c.rows, c.sites, c.horizon), np.uint8)
    reason_ = np.full(c.rows, 0 if c.sites else SITE_DOWN, np.int8)
    last_watt, per_ms = np.ascontiguousarray(watt_cost[:, -1]), policy.latency_price_per_ms

    def block(first, past):
        return _pass(c, per_ms, last_watt, slots_, fixed_, stage_, open__, reason_, first, past)

    asked_ = np.logical_or.reduce(in_blocks(block, c.rows, c.sites * c.horizon, threads))
    scale = scale_ppm(sites)
    too_large = np.full(c.rows, ANY, np.int8)
    large = np.flatnonzero(reason_ == TOO_LARGE)
    too_large[large] = _short_of(jobs, sites, scale, large, stage_[large] == TOO_LARGE)
    row = np.flatnonzero(reason_ == 0)
    active = np.array([k for k in range(KINDS) if k == POWER or asked_[k]])
    taken = (lambda column: column) if len(row) == c.rows else (lambda column: column[row])
    lengths, span = _spans(taken(slots_), c.horizon)
    times = np.ones(len(row), np.int64)
    problem = Problem(
        row=row,
        active=active,
        demand=np.ascontiguousarray(taken(jobs.demand)[:, active]),
        times=times,
        scale_ppm=np.ascontiguousarray(scale[:, active]),
        capacity=np.ascontiguousarray(sites.capacity[:, :, active]),
        watt_cost=watt_cost,
        fixed=taken(fixed_),
        lengths=lengths,
        of_signature=np.zeros(len(lengths), np.int64),
        span=span,
        open=taken(open__),
        reject=lifted_reject(taken(jobs.priority), taken(jobs.reject_cost), times),
        pools=no_pools(len(row), c.sites, c.horizon),
    )
    return Compiled(problem, reason_, too_large, np.full(c.rows, ANY, np.int32), slots_)


def _spans(const long long[:, ::1] slots, Py_ssize_t horizon):
    """Slots within the horizon that runs take, ascending, and the index [n, M] of each."""
    cdef Py_ssize_t n = slots.shape[0], sites = slots.shape[1], i, m
    span_ = np.zeros((n, sites), np.int32)
    if horizon == 1 and n and sites:
        return np.ones(1, np.int64), span_
    seen_ = np.zeros(horizon + 1, np.uint8)
    cdef unsigned char[::1] seen = seen_
    cdef int[:, ::1] span = span_
    cdef const int[::1] index
    with nogil:
        for i in range(n):
            for m in range(sites):
                seen[min(max(slots[i, m], 1), horizon)] = 1
    index = (seen_.cumsum() - 1).astype(np.int32)
    with nogil:
        for i in range(n):
            for m in range(sites):
                span[i, m] = index[min(max(slots[i, m], 1), horizon)]
    return np.flatnonzero(seen_), span_
