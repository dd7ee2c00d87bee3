"""Compiled compile_problem: the filters, run lengths and fixed costs of all pairs in one pass.

For rows that are one job each, without terms. problem.py is the same in numpy; both give the same
problem bit for bit. A site that a filter forbids has the filter's number, so that a job without a
site left was rejected by the highest of them.
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

assert (len(RESOURCES), len(CLASSES), len(PRECISIONS)) == (KINDS, CLASSES_, PRECISIONS_)
assert (AFFINITY, SITE_DOWN, TOO_LARGE) == (
    Reason.REJECTED_AFFINITY, Reason.REJECTED_SITE_DOWN, Reason.REJECTED_TOO_LARGE,
)

cdef double INFINITE = float("inf")


cdef struct Shared:
    # what holds for all jobs
    double per_ms  # of round trip
    const double* last_watt  # [M] cost of a watt in the last slot
    const long long* least  # [M, K] capacity over all slots
    const unsigned char* takes  # [class, precision, M] 1 = up, of that class, and can run it
    long long[KINDS] roomy  # the least capacity of any site
    long long most_pue_ppm


cdef struct Job:
    # one row of the columns, read once
    long long[KINDS] demand
    long long work, first, deadline, origin, own, held, data_site, current_site, pair
    double most_rtt, data_gb, migration
    const double* rtt  # [H] from its origin
    const double* per_gb  # [H] from where its data are; NULL = nothing to move


cdef inline Job _read(const Columns* c, Py_ssize_t i) noexcept nogil:
    cdef Job job
    cdef int k
    cdef long long place
    for k in range(KINDS):
        job.demand[k] = c.demand[i * KINDS + k]
    job.work, job.first = c.duration_ms[i] * PPM, max(c.release_slot[i], 0)
    job.deadline, job.own, job.held = c.deadline_slot[i], c.affinity[i], c.residency[i]
    job.pair = c.job_class[i] * PRECISIONS_ + c.precision[i]
    job.origin, job.most_rtt = c.origin_hub[i], c.max_rtt_ms[i]
    job.rtt = c.rtt_ms + (job.origin * c.hubs if job.origin >= 0 else 0)
    job.data_site, job.data_gb, job.per_gb = c.data_site[i], c.data_gb[i], NULL
    place = c.hub[job.data_site] if job.data_site >= 0 else c.data_hub[i]
    if job.data_gb > 0 and place >= 0:
        job.per_gb = c.price_per_gb + place * c.hubs
    job.current_site, job.migration = c.current_site[i], c.migration_cost[i]
    return job


cdef inline bint _is_near(const Job* job, long long hub) noexcept nogil:
    cdef double rtt = job.rtt[hub]
    return (job.origin == -1) | (
        (rtt <= job.most_rtt) & (-INFINITE < rtt) & (rtt < INFINITE)
    )


cdef inline bint _is_held(const Job* job, long long hub) noexcept nogil:
    return job.held >> (hub if hub < 63 else 63) & 1


cdef inline Py_ssize_t _sites(
    const Columns* c, const Shared* of_all, const Job* job, long long* slots, int* left
) noexcept nogil:
    """Slots [M] that a run takes; the sites that no filter of sites forbids, and how many.

    Without a branch for each site: which way it goes is anybody's guess.
    """
    cdef Py_ssize_t m, many = 0
    cdef const unsigned char* takes = of_all.takes + job.pair * c.count
    cdef long long before = -1, slot = 0, rate, done
    cdef bint anywhere = (job.own == -1) & (job.held == -1), fits
    for m in range(c.count):
        rate = c.rate_ppm[m * CLASSES_ * PRECISIONS_ + job.pair]
        if rate != before:  # divisions are slow, and rates are often equal
            before, done = rate, rate * c.slot_ms
            slot = (job.work + done - 1) // done if rate > 0 else 0
        slots[m] = slot
        fits = takes[m] & _is_near(job, c.hub[m])
        if not anywhere:
            fits &= ((job.own == -1) | (job.own == m)) & _is_held(job, c.hub[m])
        left[many] = <int>m
        many += fits
    return many


cdef int _barred(const Columns* c, const Job* job, Py_ssize_t m, long long slots) noexcept nogil:
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


cdef inline double _transfer(const Columns* c, const Job* job, Py_ssize_t m) noexcept nogil:
    """Moving the data to the site and the job off its current one."""
    cdef double cost = 0.0
    if job.per_gb != NULL and job.data_site != m:
        cost = job.data_gb * job.per_gb[c.hub[m]]
    if job.current_site >= 0 and job.current_site != m:
        cost += job.migration
    return cost


cdef inline long long _need(const Job* job, int k, long long pue_ppm) noexcept nogil:
    if (k == POWER or k == GREEN) and job.demand[k]:
        return (job.demand[k] * pue_ppm + PPM - 1) // PPM
    return job.demand[k]


cdef inline bint _fits_anywhere(const Shared* of_all, const Job* job) noexcept nogil:
    """Whether any site has room for the job in any slot."""
    cdef bint fits = True
    cdef int k
    for k in range(KINDS):
        fits &= _need(job, k, of_all.most_pue_ppm) <= of_all.roomy[k]
    return fits


cdef bint _open_starts(
    const Columns* c, const Shared* of_all, const Job* job, Py_ssize_t m,
    long long slots, long long last, unsigned char* open_,
) noexcept nogil:
    """Mark the starts up to the last that the site would have room for if it were empty."""
    cdef Py_ssize_t s
    cdef long long run = 0
    cdef long long[KINDS] need
    cdef int k
    cdef bint fits = True, any_ = False
    for k in range(KINDS):
        need[k] = _need(job, k, c.pue_ppm[m])
        fits &= need[k] <= of_all.least[m * KINDS + k]
    if fits:
        for s in range(job.first, last + 1):
            open_[s] = 1
        return True
    for s in range(c.horizon - 1, job.first - 1, -1):
        fits = True
        for k in range(KINDS):
            fits &= need[k] <= c.capacity[(m * c.horizon + s) * KINDS + k]
        run = run + 1 if fits else 0
        if s <= last and run >= min(slots, c.horizon - s):
            open_[s] = any_ = 1
    return any_


def _takes(sites):
    """Whether a site [class, precision, M] is up, takes the class and can run it."""
    of_class = sites.classes[:, None] >> np.arange(CLASSES_) & sites.up[:, None]
    takes = (of_class[:, :, None] == 1) & (sites.rate_ppm > 0)
    return np.ascontiguousarray(takes.transpose(1, 2, 0)).view(np.uint8)


def _pass(
    Held held,
    double per_ms,
    const double[::1] last_watt,
    const long long[:, ::1] least,
    const unsigned char[:, :, ::1] takes,
    long long[:, ::1] slots,
    double[:, ::1] fixed,
    unsigned char[:, ::1] large,
    unsigned char[:, :, ::1] open_,
    signed char[::1] reason,
    Py_ssize_t begin,
    Py_ssize_t past,
):
    """Rows in [begin, past): all pairs of them; 1 [K] for what any of them asks."""
    asked_ = np.zeros(KINDS, np.uint8)
    cdef Py_ssize_t count = held.at.count
    cdef unsigned char[::1] asked = asked_
    cdef int[::1] left = np.empty(count + 1, np.int32)
    cdef Shared of_all
    cdef Py_ssize_t m
    cdef int k
    if begin < past and count:
        of_all.per_ms, of_all.last_watt, of_all.most_pue_ppm = per_ms, &last_watt[0], PPM
        of_all.least, of_all.takes = &least[0, 0], &takes[0, 0, 0]
        for k in range(KINDS):
            of_all.roomy[k] = least[0, k]
        for m in range(count):
            of_all.most_pue_ppm = max(of_all.most_pue_ppm, held.at.pue_ppm[m])
            for k in range(KINDS):
                of_all.roomy[k] = min(of_all.roomy[k], least[m, k])
        with nogil:
            _rows(
                &held.at, &of_all, &slots[0, 0], &fixed[0, 0], &large[0, 0], &open_[0, 0, 0],
                &reason[0], &asked[0], &left[0], begin, past,
            )
    return asked_


cdef void _rows(
    const Columns* given,
    const Shared* shared,
    long long* slots,
    double* fixed,
    unsigned char* large,
    unsigned char* open_,
    signed char* reason,
    unsigned char* asked_,
    int* left,
    Py_ssize_t begin,
    Py_ssize_t past,
) noexcept nogil:
    cdef Columns c = given[0]  # here, so that no store can change them
    cdef Shared of_all = shared[0]
    cdef Job job
    cdef Py_ssize_t i, m, pair, which, many, s
    cdef long long last
    cdef long long[KINDS] asked
    cdef double transfer, watts, origin_ms
    cdef int k, why, highest
    cdef bint roomy
    for k in range(KINDS):
        asked[k] = 0
    for i in range(begin, past):
        job = _read(&c, i)
        for k in range(KINDS):
            asked[k] |= job.demand[k]
        watts, roomy = <double>job.demand[POWER], _fits_anywhere(&of_all, &job)
        many, highest = _sites(&c, &of_all, &job, slots + i * c.count, left), 0
        for which in range(many):
            m = left[which]
            pair = i * c.count + m
            transfer, last = _transfer(&c, &job, m), c.horizon - 1
            if job.deadline != -1:
                last = min(last, job.deadline - slots[pair])
            if not -INFINITE < transfer < INFINITE:
                why = LATENCY
            elif job.first >= c.horizon:
                why = RELEASE
            elif last < job.first:
                why = DEADLINE
            elif not roomy and not _open_starts(
                &c, &of_all, &job, m, slots[pair], last, open_ + pair * c.horizon
            ):
                why = large[pair] = TOO_LARGE
            else:
                why = OPEN
                if roomy:
                    for s in range(job.first, last + 1):
                        open_[pair * c.horizon + s] = 1
                origin_ms = 0.0 if job.origin == -1 else of_all.per_ms * job.rtt[c.hub[m]]
                fixed[pair] = transfer + origin_ms + watts * (
                    <double>max(slots[pair] - c.horizon, 0) * of_all.last_watt[m]
                )
            highest = max(highest, why)
        if highest < OPEN:
            for m in range(c.count):
                highest = max(highest, _barred(&c, &job, m, slots[i * c.count + m]))
            reason[i] = highest
    for k in range(KINDS):
        asked_[k] = asked[k] != 0


def compile_problem(jobs, sites, series, network, policy, threads=1):
    """What problem.compile_problem returns."""
    cdef Held held = Held(jobs, sites, series, network)
    cdef Columns c = held.at
    watt_cost = _watt_cost(sites, series, policy)
    slots_ = np.empty((c.rows, c.count), np.int64)
    fixed_ = np.full((c.rows, c.count), np.inf)
    large_ = np.zeros((c.rows, c.count), np.uint8)
    open__ = np.zeros((c.rows, c.count, c.horizon), np.uint8)
    reason_ = np.full(c.rows, 0 if c.count else SITE_DOWN, np.int8)
    paid = policy.latency_price_per_ms, np.ascontiguousarray(watt_cost[:, -1])
    at_sites = np.ascontiguousarray(sites.capacity.min(axis=1)), _takes(sites)

    def block(first, past):
        return _pass(held, *paid, *at_sites, slots_, fixed_, large_, open__, reason_, first, past)

    asked_ = np.logical_or.reduce(in_blocks(block, c.rows, c.count * c.horizon, threads))
    scale = scale_ppm(sites)
    too_large = np.full(c.rows, ANY, np.int8)
    large = np.flatnonzero(reason_ == TOO_LARGE)
    too_large[large] = _short_of(jobs, sites, scale, large, large_[large] == TOO_LARGE)
    row = np.flatnonzero(reason_ == 0)
    active = np.array([k for k in range(KINDS) if k == POWER or asked_[k]])
    taken = (lambda column: column) if len(row) == c.rows else (lambda column: column[row])
    lengths, span = _spans(taken(slots_), c.horizon)
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
