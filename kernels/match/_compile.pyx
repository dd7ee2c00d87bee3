"""Compiled compile_problem: the filters, run lengths and fixed costs of all pairs in one pass.

For rows that are one job each, without terms; one slot is priced four sites at a time (_pairs.h).
problem.py is the same in numpy; both give the same problem bit for bit. A site that a filter forbids
has the filter's number, so that a job without a site left was rejected by the highest of them.
"""

import numpy as np

from kernels.match._columns cimport Columns, Held
from kernels.match.columns import ANY, CLASSES, PRECISIONS, RESOURCES, Reason
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
    OPEN = 64  # none of them
    CLASSES_ = 3
    PRECISIONS_ = 4
    PAIRS = 12  # of class and precision

assert (len(RESOURCES), len(CLASSES), len(PRECISIONS)) == (KINDS, CLASSES_, PRECISIONS_)
assert (AFFINITY, SITE_DOWN, TOO_LARGE) == (
    Reason.REJECTED_AFFINITY, Reason.REJECTED_SITE_DOWN, Reason.REJECTED_TOO_LARGE,
)

cdef double INFINITE = float("inf")


cdef extern from "_pairs.h" nogil:
    ctypedef struct gl_job:
        const long long* demand
        long long work, first, deadline, pair, own, held, data_site, current_site
        double most_rtt, data_gb, migration
        const double* rtt
        const double* per_gb

    ctypedef struct gl_pairs:
        long sites, wide
        double per_ms
        long long slot_ms
        const long long* hub
        const long long* takes
        const long long* rate
        const long long* even
        const double* watt
        const long long* most
        long long[KINDS] least
        double* late
        long long* allowed

    long long gl_slots(const gl_pairs*, const gl_job*, long long)
    bint gl_price_pairs(const gl_pairs*, const gl_job*, double*)


cdef class Tables:
    """What holds for all jobs: tables of the sites as _pairs.h reads them."""

    cdef gl_pairs at
    cdef long long[::1] hub, even
    cdef long long[:, ::1] takes, rate, most
    cdef long long[:, :, ::1] most_in  # [M, T, K] what one job may ask for
    cdef double[::1] watt

    def __init__(self, Held held, double per_ms, const double[:, ::1] watt_cost):
        cdef Columns c = held.at
        cdef Py_ssize_t m, wide = (c.count + 3) // 4 * 4
        cdef int k
        self.hub, self.even = np.zeros(wide, np.int64), np.full(PAIRS, -1)
        self.takes, self.rate = np.zeros((PAIRS, wide), np.int64), np.zeros((PAIRS, wide), np.int64)
        self.most, self.watt = np.zeros((KINDS, wide), np.int64), np.zeros(wide)
        self.most_in = np.zeros((c.count, c.horizon, KINDS), np.int64)
        if not c.count or not c.horizon:
            return
        for m in range(c.count):
            self.hub[m], self.watt[m] = c.hub[m], watt_cost[m, c.horizon - 1]
            self._run(&c, m)
            self._hold(&c, m)
        self.at.sites, self.at.wide, self.at.per_ms, self.at.slot_ms = c.count, wide, per_ms, c.slot_ms
        self.at.hub, self.at.watt, self.at.even = &self.hub[0], &self.watt[0], &self.even[0]
        self.at.takes, self.at.rate = &self.takes[0, 0], &self.rate[0, 0]
        self.at.most = &self.most[0, 0]
        for k in range(KINDS):
            self.at.least[k] = self.most[k, 0]
            for m in range(1, c.count):
                self.at.least[k] = min(self.at.least[k], self.most[k, m])

    cdef void _run(self, const Columns* c, Py_ssize_t m) noexcept:
        """How fast each class and precision runs there, and whether at all."""
        cdef long long rate
        cdef int pair
        for pair in range(PAIRS):
            rate = self.rate[pair, m] = c.rate_ppm[m * PAIRS + pair]
            if c.up[m] and rate > 0 and (c.classes[m] >> pair // PRECISIONS_) & 1:
                self.takes[pair, m] = -1
            if m == 0 or rate != self.even[pair]:
                self.even[pair] = rate if m == 0 else -1

    cdef void _hold(self, const Columns* c, Py_ssize_t m) noexcept:
        """What one job may ask for, so that it draws no more than there is."""
        cdef Py_ssize_t t
        cdef long long most, pue = c.pue_ppm[m]
        cdef int k
        for t in range(c.horizon):
            for k in range(KINDS):
                most = c.capacity[(m * c.horizon + t) * KINDS + k]
                if k == POWER or k == GREEN:  # most x PPM may be beyond 2^63
                    most = most // pue * PPM + most % pue * PPM // pue
                self.most_in[m, t, k] = most
                self.most[k, m] = most if t == 0 else min(most, self.most[k, m])


cdef inline gl_job _read(const Columns* c, Py_ssize_t i) noexcept nogil:
    cdef gl_job job
    cdef long long place, origin = c.origin_hub[i]
    job.demand = c.demand + i * KINDS
    job.work, job.first = c.duration_ms[i] * PPM, max(c.release_slot[i], 0)
    job.deadline, job.own, job.held = c.deadline_slot[i], c.affinity[i], c.residency[i]
    job.pair = c.job_class[i] * PRECISIONS_ + c.precision[i]
    job.most_rtt, job.rtt = c.max_rtt_ms[i], NULL
    if origin >= 0:
        job.rtt = c.rtt_ms + origin * c.hubs
    job.data_site, job.data_gb, job.per_gb = c.data_site[i], c.data_gb[i], NULL
    place = c.hub[job.data_site] if job.data_site >= 0 else c.data_hub[i]
    if job.data_gb > 0 and place >= 0:
        job.per_gb = c.price_per_gb + place * c.hubs
    job.current_site, job.migration = c.current_site[i], c.migration_cost[i]
    return job


cdef inline bint _is_near(const gl_job* job, long long hub) noexcept nogil:
    if job.rtt == NULL:
        return True
    cdef double rtt = job.rtt[hub]
    return (rtt <= job.most_rtt) & (-INFINITE < rtt) & (rtt < INFINITE)


cdef inline bint _is_held(const gl_job* job, long long hub) noexcept nogil:
    return job.held >> (hub if hub < 63 else 63) & 1


cdef inline Py_ssize_t _sites(
    const gl_pairs* p, const gl_job* job, long long* slots, int* left
) noexcept nogil:
    """Slots [M] that a run takes; the sites that no filter of sites forbids, and how many.

    Without a branch for each site: which way it goes is anybody's guess.
    """
    cdef Py_ssize_t m, many = 0
    cdef const long long* takes = p.takes + job.pair * p.wide
    cdef const long long* rate = p.rate + job.pair * p.wide
    cdef long long before = -1, slot = 0
    cdef bint anywhere = (job.own == -1) & (job.held == -1), fits
    for m in range(p.sites):
        if rate[m] != before:  # divisions are slow, and rates are often equal
            before, slot = rate[m], gl_slots(p, job, rate[m])
        slots[m] = slot
        fits = (takes[m] != 0) & _is_near(job, p.hub[m])
        if not anywhere:
            fits &= ((job.own == -1) | (job.own == m)) & _is_held(job, p.hub[m])
        left[many] = <int>m
        many += fits
    return many


cdef int _barred(const Columns* c, const gl_job* job, Py_ssize_t m, long long slots) noexcept nogil:
    """The first of the filters of sites that forbids the pair, 0 = none."""
    if job.own != -1 and job.own != m:
        return AFFINITY
    if not c.up[m]:
        return SITE_DOWN
    if not _is_held(job, c.hub[m]):
        return RESIDENCY
    if not (c.classes[m] >> job.pair // PRECISIONS_) & 1:
        return CLASS
    if slots <= 0:
        return PRECISION
    return 0 if _is_near(job, c.hub[m]) else LATENCY


cdef inline double _transfer(const Columns* c, const gl_job* job, Py_ssize_t m) noexcept nogil:
    """Moving the data to the site and the job off its current one."""
    cdef double cost = 0.0
    if job.per_gb != NULL and job.data_site != m:
        cost = job.data_gb * job.per_gb[c.hub[m]]
    if job.current_site >= 0 and job.current_site != m:
        cost += job.migration
    return cost


cdef bint _open_starts(
    const Columns* c, const gl_pairs* p, const gl_job* job, const long long* most, Py_ssize_t m,
    long long slots, long long last, unsigned char* open_,
) noexcept nogil:
    """Mark the starts up to the last that the site would have room for if it were empty."""
    cdef Py_ssize_t s
    cdef long long run = 0
    cdef int k
    cdef bint fits = True, any_ = False
    for k in range(KINDS):
        fits &= job.demand[k] <= p.most[k * p.wide + m]
    if fits:
        for s in range(job.first, last + 1):
            open_[s] = 1
        return True
    for s in range(c.horizon - 1, job.first - 1, -1):
        fits = True
        for k in range(KINDS):
            fits &= job.demand[k] <= most[(m * c.horizon + s) * KINDS + k]
        run = run + 1 if fits else 0
        if s <= last and run >= min(slots, c.horizon - s):
            open_[s] = any_ = 1
    return any_


cdef int _row(
    const Columns* c, const gl_pairs* p, const gl_job* job, const long long* most,
    long long* slots, int* left, double* fixed, unsigned char* large, unsigned char* open_,
) noexcept nogil:
    """The reason that leaves the job no site, or OPEN."""
    cdef Py_ssize_t which, many, m, s
    cdef long long last
    cdef double transfer, origin_ms, watts = <double>job.demand[POWER]
    cdef int k, why, highest = 0
    cdef bint roomy = True
    for k in range(KINDS):
        roomy &= job.demand[k] <= p.least[k]
    many = _sites(p, job, slots, left)
    for which in range(many):
        m = left[which]
        transfer, last = _transfer(c, job, m), c.horizon - 1
        if job.deadline != -1:
            last = min(last, job.deadline - slots[m])
        if not -INFINITE < transfer < INFINITE:
            why = LATENCY
        elif job.first >= c.horizon:
            why = RELEASE
        elif last < job.first:
            why = DEADLINE
        elif not roomy and not _open_starts(
            c, p, job, most, m, slots[m], last, open_ + m * c.horizon
        ):
            why = large[m] = TOO_LARGE
        else:
            why = OPEN
            if roomy:
                for s in range(job.first, last + 1):
                    open_[m * c.horizon + s] = 1
            origin_ms = 0.0 if job.rtt == NULL else p.per_ms * job.rtt[c.hub[m]]
            fixed[m] = transfer + origin_ms + watts * (
                <double>max(slots[m] - c.horizon, 0) * p.watt[m]
            )
        highest = max(highest, why)
    if highest < OPEN:
        for m in range(c.count):
            highest = max(highest, _barred(c, job, m, slots[m]))
    return highest


def _pass(
    Held held,
    Tables tables,
    int[:, ::1] span,
    double[:, ::1] fixed,
    unsigned char[:, ::1] large,
    unsigned char[:, :, ::1] open_,
    signed char[::1] reason,
    Py_ssize_t begin,
    Py_ssize_t past,
):
    """Rows in [begin, past): all pairs of them; 1 [K] for what any of them asks."""
    asked_ = np.zeros(KINDS, np.uint8)
    cdef unsigned char[::1] asked = asked_
    cdef gl_pairs p = tables.at
    cdef double[::1] late = np.empty(p.wide + 1)
    cdef long long[::1] allowed = np.empty(p.wide + 1, np.int64), slots = allowed.copy()
    cdef int[::1] left = np.empty(p.wide + 1, np.int32)
    p.late, p.allowed = &late[0], &allowed[0]
    if begin < past and p.wide:
        with nogil:
            _rows(
                &held.at, &p, &tables.most_in[0, 0, 0], &slots[0], &left[0], &span[0, 0],
                &fixed[0, 0], &large[0, 0], &open_[0, 0, 0], &reason[0], &asked[0], begin, past,
            )
    return asked_


cdef void _rows(
    const Columns* given,
    const gl_pairs* p,
    const long long* most,
    long long* slots,
    int* left,
    int* span,
    double* fixed,
    unsigned char* large,
    unsigned char* open_,
    signed char* reason,
    unsigned char* asked_,
    Py_ssize_t begin,
    Py_ssize_t past,
) noexcept nogil:
    cdef Columns c = given[0]  # here, so that no store can change them
    cdef gl_job job
    cdef Py_ssize_t i, m, pair
    cdef long long[KINDS] asked
    cdef int k, why
    for k in range(KINDS):
        asked[k] = 0
    for i in range(begin, past):
        job, pair = _read(&c, i), i * c.count
        for k in range(KINDS):
            asked[k] |= job.demand[k]
        if c.horizon == 1 and job.first == 0 and gl_price_pairs(p, &job, fixed + pair):
            continue
        why = _row(
            &c, p, &job, most, slots, left, fixed + pair, large + pair, open_ + pair * c.horizon
        )
        reason[i] = 0 if why == OPEN else why
        if c.horizon > 1:
            for m in range(c.count):
                span[pair + m] = <int>min(max(slots[m], 1), c.horizon)
    for k in range(KINDS):
        asked_[k] = asked[k] != 0


def compile_problem(jobs, sites, series, network, policy, threads=1):
    """What problem.compile_problem returns."""
    cdef Held held = Held(jobs, sites, series, network)
    cdef Columns c = held.at
    watt_cost = _watt_cost(sites, series, policy)
    span_ = np.zeros((c.rows, c.count), np.int32)
    fixed_ = np.full((c.rows, c.count), np.inf)
    large_ = np.zeros((c.rows, c.count), np.uint8)
    open__ = np.zeros((c.rows, c.count, c.horizon), np.uint8)
    reason_ = np.full(c.rows, 0 if c.count else SITE_DOWN, np.int8)
    tables = Tables(held, policy.latency_price_per_ms, watt_cost)

    def block(first, past):
        return _pass(held, tables, span_, fixed_, large_, open__, reason_, first, past)

    asked_ = np.logical_or.reduce(in_blocks(block, c.rows, c.count * c.horizon, threads))
    if c.horizon == 1:
        np.less(fixed_, np.inf, out=open__[:, :, 0].view(np.bool_))
    scale = scale_ppm(sites)
    too_large = np.full(c.rows, ANY, np.int8)
    large = np.flatnonzero(reason_ == TOO_LARGE)
    too_large[large] = _short_of(jobs, sites, scale, large, large_[large] == TOO_LARGE)
    row = np.flatnonzero(reason_ == 0)
    active = np.array([k for k in range(KINDS) if k == POWER or asked_[k]])
    taken = (lambda column: column) if len(row) == c.rows else (lambda column: column[row])
    lengths, span = _spans(taken(span_), c.horizon)
    times = np.ones(len(row), np.int64)
    problem = Problem(
        row=row,
        active=active,
        demand=taken(jobs.demand).take(active, axis=1),
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
        pools=no_pools(len(row), c.count, c.horizon),
    )
    return Compiled(problem, reason_, too_large, np.full(c.rows, ANY, np.int32))


def slots_at(jobs, sites, series, site):
    """What problem.slots_at returns."""
    cdef const long long[::1] work = np.ascontiguousarray(jobs.duration_ms)
    cdef const long long[::1] of_class = np.ascontiguousarray(jobs.job_class)
    cdef const long long[::1] precision = np.ascontiguousarray(jobs.precision)
    cdef const long long[:, :, ::1] rate = np.ascontiguousarray(sites.rate_ppm)
    cdef const int[::1] at = site
    cdef long long slot_ms = series.slot_ms, done
    cdef Py_ssize_t i
    slots_ = np.zeros(len(site), np.int32)
    cdef int[::1] slots = slots_
    with nogil:
        for i in range(at.shape[0]):
            if at[i] >= 0:
                done = rate[at[i], of_class[i], precision[i]] * slot_ms
                slots[i] = <int>((work[i] * PPM + done - 1) // done)
    return slots_


def _spans(int[:, ::1] slots, Py_ssize_t horizon):
    """Slots that runs take, ascending, and the index [n, M] of each, in place of the slots."""
    cdef Py_ssize_t n = slots.shape[0], sites = slots.shape[1], i, m
    if horizon == 1 and n and sites:
        return np.ones(1, np.int64), np.asarray(slots)
    seen_ = np.zeros(horizon + 1, np.uint8)
    cdef unsigned char[::1] seen = seen_
    cdef const int[::1] index
    with nogil:
        for i in range(n):
            for m in range(sites):
                seen[slots[i, m]] = 1
    index = (seen_.cumsum() - 1).astype(np.int32)
    with nogil:
        for i in range(n):
            for m in range(sites):
                slots[i, m] = index[slots[i, m]]
    return np.flatnonzero(seen_), np.asarray(slots)
