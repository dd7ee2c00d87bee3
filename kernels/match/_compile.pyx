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


cdef inline double _transfer(const Columns* c, Py_ssize_t i, Py_ssize_t m) noexcept nogil:
    """Moving the data to the site and the job off its current one."""
    cdef double cost = 0.0
    cdef long long place
    if c.data_gb[i] > 0 and c.data_site[i] != m:
        place = c.hub[c.data_site[i]] if c.data_site[i] >= 0 else c.data_hub[i]
        if place >= 0:
            cost = c.data_gb[i] * c.price_per_gb[place * c.hubs + c.hub[m]]
    if c.current_site[i] >= 0 and c.current_site[i] != m:
        cost += c.migration_cost[i]
    return cost


cdef inline double _latency(
    const Columns* c, Py_ssize_t i, Py_ssize_t m, double per_ms
) noexcept nogil:
    """What a round trip to an allowed site costs."""
    if c.origin_hub[i] == -1:
        return 0.0
    return per_ms * c.rtt_ms[c.origin_hub[i] * c.hubs + c.hub[m]]


cdef inline Py_ssize_t _filter(
    const Columns* c, Py_ssize_t i, long long* slots, int* barred, int* left
) noexcept nogil:
    """Slots [M] that a run takes, the filters [M] that forbid a site, as bits; the sites left.

    Without a branch for each site: which way it goes is anybody's guess.
    """
    cdef Py_ssize_t m, many = 0
    cdef long long origin = c.origin_hub[i], own = c.affinity[i], held = c.residency[i]
    cdef long long of_class = c.job_class[i], pair = of_class * PRECISIONS_ + c.precision[i]
    cdef long long work = c.duration_ms[i] * PPM, before = -1, slot = 0, rate, done, hub
    cdef const double* near = c.rtt_ms + (origin * c.hubs if origin >= 0 else 0)
    cdef double most = c.max_rtt_ms[i], rtt
    for m in range(c.count):
        rate = c.rate_ppm[m * CLASSES_ * PRECISIONS_ + pair]
        if rate != before:  # divisions are slow, and rates are often equal
            before, done = rate, rate * c.slot_ms
            slot = (work + done - 1) // done if rate > 0 else 0
        slots[m], hub = slot, c.hub[m]
        rtt = near[hub]
        barred[m] = (
            ((own != -1) & (own != m)) << AFFINITY
            | (c.up[m] == 0) << SITE_DOWN
            | <int>(~(held >> (hub if hub < 63 else 63)) & 1) << RESIDENCY
            | <int>(~(c.classes[m] >> of_class) & 1) << CLASS
            | (slot <= 0) << PRECISION
            | ((origin != -1) & (1 - ((rtt <= most) & (-INFINITE < rtt) & (rtt < INFINITE)))) << LATENCY
        )
        left[many] = <int>m
        many += barred[m] == 0
    return many


cdef inline bint _open_starts(
    const Columns* c, Py_ssize_t i, Py_ssize_t m, const long long* least,
    long long slots, long long first, long long last, unsigned char* open_,
) noexcept nogil:
    """Mark the starts of [first, last] that the site would have room for if it were empty."""
    cdef Py_ssize_t s
    cdef long long run = 0
    cdef long long[KINDS] need
    cdef int k
    cdef bint fits = True, any_ = False
    for k in range(KINDS):
        need[k] = c.demand[i * KINDS + k]
        if k == POWER or k == GREEN:
            need[k] = (need[k] * c.pue_ppm[m] + PPM - 1) // PPM
        fits &= need[k] <= least[m * KINDS + k]
    if fits:
        for s in range(first, last + 1):
            open_[s] = 1
        return True
    for s in range(c.horizon - 1, first - 1, -1):
        fits = True
        for k in range(KINDS):
            fits &= need[k] <= c.capacity[(m * c.horizon + s) * KINDS + k]
        run = run + 1 if fits else 0
        if s <= last and run >= min(slots, c.horizon - s):
            open_[s] = any_ = 1
    return any_


def _pass(
    Held held,
    double per_ms,
    const double[::1] last_watt,
    const long long[:, ::1] least,
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
    cdef int[::1] work = np.empty(2 * count, np.int32)
    if begin < past and count:
        with nogil:
            _rows(
                &held.at, per_ms, &last_watt[0], &least[0, 0], &slots[0, 0], &fixed[0, 0],
                &large[0, 0], &open_[0, 0, 0], &reason[0], &asked[0], &work[0], begin, past,
            )
    return asked_


cdef void _rows(
    const Columns* given,
    double per_ms,
    const double* last_watt,
    const long long* least,
    long long* slots,
    double* fixed,
    unsigned char* large,
    unsigned char* open_,
    signed char* reason,
    unsigned char* asked_,
    int* work,
    Py_ssize_t begin,
    Py_ssize_t past,
) noexcept nogil:
    cdef Columns c = given[0]  # here, so that no store can change them
    cdef Py_ssize_t i, m, pair, which, many
    cdef long long first, last
    cdef long long[KINDS] asked
    cdef double transfer
    cdef int k, why, highest
    cdef int* left = work + c.count
    for k in range(KINDS):
        asked[k] = 0
    for i in range(begin, past):
        for k in range(KINDS):
            asked[k] |= c.demand[i * KINDS + k]
        many = _filter(&c, i, slots + i * c.count, work, left)
        first, highest = max(c.release_slot[i], 0), 0
        for which in range(many):
            m = left[which]
            pair = i * c.count + m
            transfer, last = _transfer(&c, i, m), c.horizon - 1
            if c.deadline_slot[i] != -1:
                last = min(last, c.deadline_slot[i] - slots[pair])
            if not -INFINITE < transfer < INFINITE:
                why = LATENCY
            elif first >= c.horizon:
                why = RELEASE
            elif last < first:
                why = DEADLINE
            elif not _open_starts(
                &c, i, m, least, slots[pair], first, last, open_ + pair * c.horizon
            ):
                why = large[pair] = TOO_LARGE
            else:
                why = OPEN
                fixed[pair] = transfer + _latency(&c, i, m, per_ms) + <double>c.demand[
                    i * KINDS + POWER
                ] * (<double>max(slots[pair] - c.horizon, 0) * last_watt[m])
            highest = max(highest, why)
        if highest == OPEN:
            continue
        for m in range(c.count):
            for k in range(AFFINITY, LATENCY + 1):
                if work[m] >> k & 1:
                    highest = max(highest, k)
                    break
        reason[i] = highest
    for k in range(KINDS):
        asked_[k] = asked[k] != 0


def compile_problem(jobs, sites, series, network, policy, threads=1):
    """What problem.compile_problem returns."""
    cdef Held held = Held(jobs, sites, series, network)
    cdef Columns c = held.at
    watt_cost = _watt_cost(sites, series, policy)
    slots_ = np.empty((c.rows, c.count), np.int64)
    fixed_ = np.zeros((c.rows, c.count))
    large_ = np.zeros((c.rows, c.count), np.uint8)
    open__ = np.zeros((c.rows, c.count, c.horizon), np.uint8)
    reason_ = np.full(c.rows, 0 if c.count else SITE_DOWN, np.int8)
    paid = policy.latency_price_per_ms, np.ascontiguousarray(watt_cost[:, -1])
    least = np.ascontiguousarray(sites.capacity.min(axis=1))

    def block(first, past):
        return _pass(held, *paid, least, slots_, fixed_, large_, open__, reason_, first, past)

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
