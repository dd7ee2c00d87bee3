"""Compiled certificate: certificate.py's bound, cost and feasibility in one pass over the jobs.

As there, nothing is shared with the solver but the columns. Layout and order of the sums are those of
certificate.py, so that both give the same bits.
"""

import numpy as np

cimport cython

from kernels.match.certificate import _fillable, _watt_cost, _windows
from kernels.match.columns import LIMITED, RESOURCES
from kernels.match.threads import in_blocks

cdef enum:
    PPM = 1000000
    KINDS = 5
    POWER = 2
    GREEN = 4
    PRIORITIES = 4
    PARTIALS = 64  # of an exact sum: a double's exponents leave room for no more than 40

assert len(RESOURCES) == KINDS

cdef double INFINITE = float("inf")


@cython.final  # so that its methods are inlined
cdef class _Columns:
    """The columns as the pass reads them; names as in columns.py."""

    cdef Py_ssize_t rows, count, horizon, of_job
    cdef long long slot_ms, of_rate, quotient  # the last run's length
    cdef const long long[::1] job_class, precision, duration_ms, release_slot, deadline_slot
    cdef const long long[::1] origin_hub, residency, affinity, data_site, data_hub, current_site
    cdef const long long[::1] priority
    cdef const double[::1] max_rtt_ms, data_gb, migration_cost, reject_cost
    cdef const long long[:, ::1] demand
    cdef const long long[::1] hub, pue_ppm, classes
    cdef const unsigned char[::1] up
    cdef const long long[:, :, ::1] rate_ppm
    cdef const double[:, ::1] rtt_ms, price_per_gb, watt

    def __init__(self, jobs, sites, series, network, watt):
        def flat(column):
            return np.ascontiguousarray(column)

        self.rows, self.count = len(jobs.job_id), len(sites.site_id)
        self.horizon, self.slot_ms = series.price_per_mwh.shape[1], series.slot_ms
        self.job_class, self.precision = flat(jobs.job_class), flat(jobs.precision)
        self.duration_ms, self.release_slot = flat(jobs.duration_ms), flat(jobs.release_slot)
        self.deadline_slot, self.origin_hub = flat(jobs.deadline_slot), flat(jobs.origin_hub)
        self.residency, self.affinity = flat(jobs.residency), flat(jobs.affinity)
        self.data_site, self.data_hub = flat(jobs.data_site), flat(jobs.data_hub)
        self.current_site, self.priority = flat(jobs.current_site), flat(jobs.priority)
        self.max_rtt_ms, self.data_gb = flat(jobs.max_rtt_ms), flat(jobs.data_gb)
        self.migration_cost, self.reject_cost = flat(jobs.migration_cost), flat(jobs.reject_cost)
        self.demand = flat(jobs.demand)
        self.hub, self.pue_ppm, self.classes = flat(sites.hub), flat(sites.pue_ppm), flat(sites.classes)
        self.up, self.rate_ppm = flat(sites.up).view(np.uint8), flat(sites.rate_ppm)
        self.rtt_ms, self.price_per_gb = flat(network.rtt_ms), flat(network.price_per_gb)
        self.watt = flat(watt)
        self.of_job = -1

    cdef long long runs(self, Py_ssize_t i, Py_ssize_t m) noexcept nogil:
        """Slots a run takes; 0 where the rate is 0."""
        cdef long long rate = self.rate_ppm[m, self.job_class[i], self.precision[i]]
        if rate <= 0:
            return 0
        if i != self.of_job or rate != self.of_rate:  # divisions are slow, and rates are often equal
            self.of_job, self.of_rate = i, rate
            self.quotient = (self.duration_ms[i] * PPM + rate * self.slot_ms - 1) // (
                rate * self.slot_ms
            )
        return self.quotient

    cdef double moving(self, Py_ssize_t i, Py_ssize_t m) noexcept nogil:
        cdef double cost = 0.0
        cdef long long place = self.data_hub[i]
        if self.data_gb[i] > 0 and self.data_site[i] != m:
            if self.data_site[i] >= 0:
                place = self.hub[self.data_site[i]]
            if place >= 0:
                cost = self.data_gb[i] * self.price_per_gb[place, self.hub[m]]
        if self.current_site[i] >= 0 and self.current_site[i] != m:
            cost += self.migration_cost[i]
        return cost

    cdef double latency(self, Py_ssize_t i, Py_ssize_t m, double per_ms) noexcept nogil:
        """What the round trip costs, nothing where it has no end."""
        cdef double rtt
        if self.origin_hub[i] < 0:
            return 0.0
        rtt = self.rtt_ms[self.origin_hub[i], self.hub[m]]
        return per_ms * rtt if -INFINITE < rtt < INFINITE else 0.0

    cdef bint allows(self, Py_ssize_t i, Py_ssize_t m) noexcept nogil:
        """What does not depend on the run's length or the cost of moving."""
        cdef long long hub = self.hub[m]
        cdef double rtt
        if not self.up[m] or not (self.classes[m] >> self.job_class[i]) & 1:
            return False
        if self.affinity[i] != -1 and self.affinity[i] != m:
            return False
        if self.origin_hub[i] >= 0:
            rtt = self.rtt_ms[self.origin_hub[i], hub]
            if not (rtt < INFINITE and rtt > -INFINITE and rtt <= self.max_rtt_ms[i]):
                return False
        return self.residency[i] < 0 if hub > 62 else (self.residency[i] >> hub) & 1

    cdef long long need(self, Py_ssize_t i, Py_ssize_t m, int k) noexcept nogil:
        if k != POWER and k != GREEN:
            return self.demand[i, k]
        return (self.demand[i, k] * self.pue_ppm[m] + PPM - 1) // PPM


def certify(jobs, sites, series, network, policy, site, slot, prices, threads=1):
    """What certificate.certify returns where there are no terms and each row is a job."""
    watt = _watt_cost(sites, series, policy)
    columns = _Columns(jobs, sites, series, network, watt)
    cdef Py_ssize_t n = columns.rows, horizon = columns.horizon
    lengths, of_length = _lengths(columns)
    windows = _windows(lengths, watt, prices, sites.capacity)
    least_, chosen_, size_ = np.empty(n), np.empty(n), np.empty(n)
    closed = np.zeros(n, np.uint8)
    plan = np.ascontiguousarray(site), np.ascontiguousarray(slot)
    per_ms = policy.latency_price_per_ms
    tables = windows.energy, windows.price, windows.room, of_length

    def block(first, past):
        own = _Columns(jobs, sites, series, network, watt)
        _pass(own, per_ms, *tables, *plan, least_, chosen_, size_, closed, first, past)

    in_blocks(block, n, columns.count * horizon, threads)
    cdef double[::1] least = least_, chosen = chosen_, reject = _outweighing(columns, least)
    cdef const int[::1] at = plan[0]
    cdef Py_ssize_t i
    for i in range(n):
        least[i] = min(least[i], reject[i])
        if at[i] < 0:
            chosen[i] = reject[i]
    used = _used(columns, *plan)
    violations = [
        f"job {i} may not start at site {site[i]} in slot {slot[i]}"
        for i in np.flatnonzero(closed)[:8].tolist()
    ]
    for m, t, k in np.argwhere(used > sites.capacity)[:8].tolist():
        violations.append(f"site {m}, slot {t}: {RESOURCES[k]} {used[m, t, k]} is too much")
    if not (prices >= 0).all():
        violations.append("a price is below zero")
    held = exact_sum((prices * _fillable(jobs, sites.capacity)).ravel())
    cdef double operations = 2 * horizon + 4 * KINDS + 16
    margin = 2 * operations * 2.0**-52 * (exact_sum(size_) + exact_sum(reject) + held)
    dual = exact_sum(np.array([exact_sum(least_), -held, -margin]))
    no_quota = np.zeros((0, horizon, len(LIMITED)), np.int64)
    scale = exact_sum(np.abs(chosen_))
    return exact_sum(chosen_), dual, scale, used, no_quota, tuple(violations)


def _lengths(_Columns c):
    """Slots within the horizon that runs take, ascending, and the index [horizon + 1] of each."""
    seen_ = np.zeros(c.horizon + 1, np.uint8)
    cdef unsigned char[::1] seen = seen_
    cdef Py_ssize_t i, m
    with nogil:
        if c.horizon == 1:
            seen[1] = 1
        else:
            for i in range(c.rows):
                for m in range(c.count):
                    seen[min(max(c.runs(i, m), 1), c.horizon)] = 1
    lengths = np.flatnonzero(seen_) if seen_.any() else np.ones(1, np.int64)
    return lengths, (seen_.cumsum() - 1).astype(np.int32)


def _pass(
    _Columns c,
    double per_ms,
    const double[:, :, ::1] energy,
    const double[:, :, :, ::1] price,
    const long long[:, :, :, ::1] room,
    const int[::1] of_length,
    const int[::1] site,
    const int[::1] slot,
    double[::1] least,
    double[::1] chosen,
    double[::1] size,
    unsigned char[::1] closed,
    Py_ssize_t begin,
    Py_ssize_t past,
):
    """Rows in [begin, past). least: cheapest priced option; chosen: cost of the plan's; closed: 1 = that is no option."""
    cdef Py_ssize_t i, m, s, d, first, last
    cdef long long[KINDS] need
    cdef long long runs
    cdef double moving, late, cost, priced, magnitude, worth, watts
    cdef double cheapest, largest
    cdef int k, which, many
    cdef int[KINDS] asked
    cdef bint allowed, fits
    with nogil:
        for i in range(begin, past):
            cheapest, chosen[i], largest = INFINITE, INFINITE, 0.0
            closed[i] = site[i] >= 0
            watts, many = <double>c.demand[i, POWER], 0
            for k in range(KINDS):
                if c.demand[i, k]:
                    asked[many] = k
                    many += 1
            for m in range(c.count):
                allowed = c.allows(i, m)
                if not allowed and site[i] != m:
                    continue
                runs, moving = c.runs(i, m), c.moving(i, m)
                allowed = allowed and runs > 0 and moving < INFINITE and moving > -INFINITE
                if not allowed and site[i] != m:
                    continue
                moving = moving + c.latency(i, m, per_ms) if allowed else 0.0
                d = of_length[min(max(runs, 1), c.horizon)]
                late = <double>max(runs - c.horizon, 0) * c.watt[m, c.horizon - 1]
                first, last = max(c.release_slot[i], 0), c.horizon - 1
                if c.deadline_slot[i] != -1:
                    last = min(last, c.deadline_slot[i] - runs)
                if site[i] == m:  # its cost is told even where it is no option
                    chosen[i] = moving + watts * (energy[d, m, slot[i]] + late)
                if not allowed:
                    continue
                for which in range(many):
                    need[which] = c.need(i, m, asked[which])
                for s in range(first, last + 1):
                    cost = moving + watts * (energy[d, m, s] + late)
                    priced, magnitude, fits = cost, abs(cost), True
                    for which in range(many):
                        k = asked[which]
                        fits = fits and need[which] <= room[d, k, m, s]
                        worth = <double>need[which] * price[d, k, m, s]
                        priced += worth
                        magnitude += worth
                    if fits:
                        if priced < cheapest:
                            cheapest = priced
                        if magnitude > largest:
                            largest = magnitude
                        if site[i] == m and slot[i] == s:
                            closed[i] = 0
            least[i], size[i] = cheapest, largest


def _used(_Columns c, const int[::1] site, const int[::1] slot):
    """Use [M, T, K] of the plan."""
    edges = np.zeros((c.count, c.horizon + 1, KINDS), np.int64)
    cdef long long[:, :, ::1] change = edges
    cdef Py_ssize_t i, m, end
    cdef int k
    cdef long long need
    with nogil:
        for i in range(c.rows):
            m = site[i]
            if m < 0:
                continue
            end = min(slot[i] + min(max(c.runs(i, m), 1), c.horizon), c.horizon)
            for k in range(KINDS):
                need = c.need(i, m, k)
                change[m, slot[i], k] += need
                change[m, end, k] -= need
    return np.ascontiguousarray(edges.cumsum(axis=1)[:, : c.horizon])


cdef _outweighing(_Columns c, const double[::1] least):
    """Reject cost [N]; among jobs with options, one outweighs all of lower priority together."""
    cost_ = np.array(c.reject_cost)
    cdef double[::1] cost = cost_, of_class = np.empty(c.rows)
    cdef double below = 0.0
    cdef Py_ssize_t i, many
    for priority in range(PRIORITIES):
        many = 0
        for i in range(c.rows):
            if c.priority[i] == priority and least[i] < INFINITE:
                cost[i] += below
                of_class[many] = cost[i]
                many += 1
        below += exact_sum(of_class[:many])
    return cost_


def exact_sum(const double[::1] values):
    """math.fsum of finite numbers: their sum, rounded once.

    Source: Shewchuk, Adaptive precision floating-point arithmetic, DCG 18 (1997).
    """
    cdef double[PARTIALS] partials
    cdef double x, y, high, low = 0.0
    cdef Py_ssize_t i
    cdef int count = 0, kept, at
    with nogil:
        for i in range(values.shape[0]):
            x, kept = values[i], 0
            for at in range(count):
                y = partials[at]
                if abs(x) < abs(y):
                    x, y = y, x
                high = x + y
                low = y - (high - x)
                if low != 0.0:
                    partials[kept] = low
                    kept += 1
                x = high
            partials[kept] = x
            count = kept + 1
        high = 0.0
        if count > 0:
            count -= 1
            high = partials[count]
            while count > 0:
                count -= 1
                x, y = high, partials[count]
                high = x + y
                low = y - (high - x)
                if low != 0.0:
                    break
            # halfway cases are rounded by what is below them
            if count > 0 and (low < 0.0) == (partials[count - 1] < 0.0) and low != 0.0:
                if partials[count - 1] != 0.0:
                    y = low * 2.0
                    x = high + y
                    if y == x - high:
                        high = x
    return high
