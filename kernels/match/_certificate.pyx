"""Compiled certificate: certificate.py's bound, cost and feasibility in one pass over the jobs.

As there, nothing is shared with the solver but the columns. Layout and order of the sums are those of
certificate.py, so that both give the same bits.
"""

import numpy as np

from libc.math cimport ldexp
from libc.string cimport memcpy, memset

from kernels.match._columns cimport Columns, Held
from kernels.match.certificate import _fillable, _watt_cost, _windows
from kernels.match.columns import CLASSES, LIMITED, PRECISIONS, RESOURCES
from kernels.match.threads import in_blocks

cdef extern from "_proof.h":
    ctypedef struct gl_proof:
        long wide, hubs
        int straight
        double per_ms
        long long slot_ms, small
        const long long* hub
        const long long* bit
        const long long* takes
        const long long* rate
        const long long* pue_ppm
        const unsigned char* even
        const long long* room
        const double* space
        const double* scale
        const double* watt
        const double* price
        const double* rtt
        const double* per_gb
    ctypedef struct gl_row:
        const long long* demand
        long long work, release, deadline, pair, of_class, own, held
        long long origin, data_place, data_site, current_site
        double most_rtt, data_gb, migration
    ctypedef struct gl_proved:
        double least, size, chosen
        int closed
    gl_proved gl_prove(const gl_proof* given, const gl_row* job, long own) noexcept nogil

cdef enum:
    PPM = 1000000
    KINDS = 5
    POWER = 2
    GREEN = 4
    PRIORITIES = 4
    CLASSES_ = 3
    PRECISIONS_ = 4
    PARTIALS = 64  # of an exact sum: a double's exponents leave room for no more than 40
    EXPONENTS = 2048
    ADDED_MOST = 1 << 20  # numbers below 2^32 whose sum a double holds

cdef unsigned long long MANTISSA = (1 << 52) - 1
cdef unsigned long long LOWER = (1 << 32) - 1

assert (len(RESOURCES), len(CLASSES), len(PRECISIONS)) == (KINDS, CLASSES_, PRECISIONS_)

cdef double INFINITE = float("inf")


cdef struct Tables:
    double per_ms  # of round trip
    const double* watt  # [M, T] cost
    # certificate._Windows
    const double* energy
    const double* price
    const long long* room
    const int* of_length  # [T + 1] index of a run's length


cdef inline long long _runs(const Columns* c, Py_ssize_t i, long long rate) noexcept nogil:
    """Slots a run takes; 0 where the rate is 0."""
    cdef long long done = rate * c.slot_ms
    return (c.duration_ms[i] * PPM + done - 1) // done if rate > 0 else 0


cdef inline long long _rate(const Columns* c, Py_ssize_t i, Py_ssize_t m) noexcept nogil:
    return c.rate_ppm[(m * CLASSES_ + c.job_class[i]) * PRECISIONS_ + c.precision[i]]


cdef inline Py_ssize_t _length(const Columns* c, long long runs) noexcept nogil:
    """Of it, what lies within the horizon."""
    return min(max(runs, 1), c.horizon)


cdef struct Job:
    # what a row of the columns says of moving, read once
    long long data_site, current_site
    double data_gb, migration
    const double* per_gb  # [H] from where its data are; NULL = nothing to move
    const double* rtt  # [H] from its origin; NULL = of no matter


cdef inline Job _read(const Columns* c, Py_ssize_t i) noexcept nogil:
    cdef Job job
    cdef long long place = c.data_hub[i]
    job.data_site, job.data_gb = c.data_site[i], c.data_gb[i]
    if job.data_site >= 0:
        place = c.hub[job.data_site]
    job.per_gb = c.price_per_gb + place * c.hubs if job.data_gb > 0 and place >= 0 else NULL
    job.current_site, job.migration = c.current_site[i], c.migration_cost[i]
    job.rtt = c.rtt_ms + c.origin_hub[i] * c.hubs if c.origin_hub[i] >= 0 else NULL
    return job


cdef inline double _moving(const Columns* c, const Job* job, Py_ssize_t m) noexcept nogil:
    cdef double cost = 0.0
    if job.per_gb != NULL and job.data_site != m:
        cost = job.data_gb * job.per_gb[c.hub[m]]
    if job.current_site >= 0 and job.current_site != m:
        cost += job.migration
    return cost


cdef inline double _latency(
    const Columns* c, const Job* job, Py_ssize_t m, double per_ms
) noexcept nogil:
    """What the round trip costs, nothing where it has no end."""
    cdef double rtt
    if per_ms == 0.0 or job.rtt == NULL:
        return 0.0
    rtt = job.rtt[c.hub[m]]
    return per_ms * rtt if -INFINITE < rtt < INFINITE else 0.0


cdef inline Py_ssize_t _allowed(const Columns* c, Py_ssize_t i, int* allowed) noexcept nogil:
    """Sites that hold the job but for its run's length or the cost of moving; how many.

    Without a branch for each site: which way it goes is anybody's guess.
    """
    cdef Py_ssize_t m, many = 0
    cdef long long hub, of_class = c.job_class[i], held = c.residency[i], own = c.affinity[i]
    cdef long long origin = c.origin_hub[i]
    cdef double most = c.max_rtt_ms[i], rtt
    cdef const double* near = c.rtt_ms + (origin * c.hubs if origin >= 0 else 0)
    cdef bint bound = own != -1 or held != -1
    cdef int fits
    for m in range(c.count):
        hub = c.hub[m]
        rtt = near[hub]
        fits = (rtt <= most) & (rtt < INFINITE) & (rtt > -INFINITE) | (origin < 0)
        fits &= c.up[m] & <int>(c.classes[m] >> of_class)
        if bound:
            fits &= (own == -1) | (own == m)
            fits &= <int>(held >> (hub if hub < 63 else 63))
        allowed[many] = <int>m
        many += fits & 1
    return many


cdef inline long long _need(const Columns* c, Py_ssize_t i, Py_ssize_t m, int k) noexcept nogil:
    if k != POWER and k != GREEN:
        return c.demand[i * KINDS + k]
    return (c.demand[i * KINDS + k] * c.pue_ppm[m] + PPM - 1) // PPM


def certify(jobs, sites, series, network, policy, site, slot, prices, threads=1):
    """What certificate.certify returns where there are no terms and each row is a job."""
    watt = np.ascontiguousarray(_watt_cost(sites, series, policy))
    cdef Held held = Held(jobs, sites, series, network)
    cdef Py_ssize_t n = held.at.rows, horizon = held.at.horizon
    lengths, of_length = _lengths(held)
    windows = _windows(lengths, watt, prices, sites.capacity)
    least_, chosen_, size_ = np.empty(n), np.empty(n), np.empty(n)
    closed = np.zeros(n, np.uint8)
    plan = np.ascontiguousarray(site), np.ascontiguousarray(slot)
    tables = policy.latency_price_per_ms, watt, *windows, of_length

    found = least_, chosen_, size_, closed
    of_slot = None
    if horizon == 1 and held.at.count:
        of_slot = _Slot(held, sites, policy, watt, windows)

    def block(first, past):
        if of_slot is not None:
            _pass_of_slot(held, of_slot, *plan, *found, first, past)
        else:
            _pass(held, *tables, *plan, *found, first, past)

    in_blocks(block, n, held.at.count * horizon, threads)
    cdef double[::1] least = least_, chosen = chosen_, reject = _outweighing(held, least)
    cdef const int[::1] at = plan[0]
    cdef Py_ssize_t i
    cdef bint gains = False
    with nogil:
        for i in range(n):
            least[i] = min(least[i], reject[i])
            if at[i] < 0:
                chosen[i] = reject[i]
            gains |= chosen[i] < 0.0
    used = _used(held, *plan)
    violations = [
        f"job {i} may not start at site {site[i]} in slot {slot[i]}"
        for i in np.flatnonzero(closed)[:8].tolist()
    ]
    for m, t, k in np.argwhere(used > sites.capacity)[:8].tolist():
        violations.append(f"site {m}, slot {t}: {RESOURCES[k]} {used[m, t, k]} is too much")
    if not (prices >= 0).all():
        violations.append("a price is below zero")
    worth = exact_sum((prices * _fillable(jobs, sites.capacity)).ravel())
    cdef double operations = 2 * horizon + 4 * KINDS + 16
    margin = 2 * operations * 2.0**-52 * (exact_sum(size_) + exact_sum(reject) + worth)
    dual = exact_sum(np.array([exact_sum(least_), -worth, -margin]))
    no_quota = np.zeros((0, horizon, len(LIMITED)), np.int64)
    primal = exact_sum(chosen_)
    scale = exact_sum(np.abs(chosen_)) if gains else primal
    return primal, dual, scale, used, no_quota, tuple(violations)


def _lengths(Held held):
    """Slots within the horizon that runs take, ascending, and the index [horizon + 1] of each."""
    cdef Columns c = held.at
    seen_ = np.zeros(c.horizon + 1, np.uint8)
    cdef unsigned char[::1] seen = seen_
    cdef Py_ssize_t i, m
    cdef long long rate, before
    with nogil:
        if c.horizon == 1:
            seen[1] = 1
        else:
            for i in range(c.rows):
                before = -1
                for m in range(c.count):
                    rate = _rate(&c, i, m)
                    if rate != before:  # divisions are slow, and rates are often equal
                        seen[_length(&c, _runs(&c, i, rate))] = 1
                        before = rate
    lengths = np.flatnonzero(seen_) if seen_.any() else np.ones(1, np.int64)
    return lengths, (seen_.cumsum() - 1).astype(np.int32)


def _pass(
    Held held,
    double per_ms,
    const double[:, ::1] watt,
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
    cdef Tables tables
    cdef int[::1] allowed = np.empty(held.at.count + 1, np.int32)
    tables.per_ms, tables.watt, tables.energy = per_ms, &watt[0, 0], &energy[0, 0, 0]
    tables.price, tables.room = &price[0, 0, 0, 0], &room[0, 0, 0, 0]
    tables.of_length = &of_length[0]
    with nogil:
        _rows(
            &held.at, &tables, &allowed[0], &site[0], &slot[0],
            &least[0], &chosen[0], &size[0], &closed[0], begin, past,
        )


cdef class _Slot:
    """One slot: the tables of gl_proof, behind the sites of sites that take nobody."""

    cdef gl_proof at

    def __init__(self, Held held, sites, policy, watt, windows):
        cdef Py_ssize_t count = held.at.count, wide = (count + 3) // 4 * 4

        def behind(values, dtype):
            table = np.zeros((*values.shape[:-1], wide), dtype)
            table[..., :count] = values
            return table

        takes = sites.up & (sites.classes >> np.arange(CLASSES_)[:, None])
        rate, room = sites.rate_ppm.reshape(count, -1).T, windows.room[0, :, :, 0]
        at, whole, real = &self.at, np.int64, np.float64
        at.wide, at.slot_ms, at.per_ms = wide, held.at.slot_ms, policy.latency_price_per_ms
        at.small = (2**51 - PPM) // max(sites.pue_ppm.max(initial=PPM), PPM)
        at.hubs, at.rtt, at.per_gb = held.at.hubs, held.at.rtt_ms, held.at.price_per_gb
        at.straight = at.hubs >= wide and np.array_equal(sites.hub, np.arange(wide))
        at.hub = held.whole(behind(sites.hub, whole))
        at.bit = held.whole(behind(np.left_shift(1, np.minimum(sites.hub, 63)), whole))
        at.takes, at.rate = held.whole(behind(-takes, whole)), held.whole(behind(rate, whole))
        at.even = held.flags((rate == rate[:, :1]).all(axis=1))
        at.pue_ppm, at.scale = held.whole(behind(sites.pue_ppm, whole)), held.real(behind(sites.pue_ppm, real))
        at.room = held.whole(behind(room, whole))
        at.space = held.real(behind(np.minimum(room, 2**53), real))
        at.watt = held.real(behind(watt[:, 0], real))
        at.price = held.real(behind(windows.price[0, :, :, 0], real))


def _pass_of_slot(
    Held held,
    _Slot tables,
    const int[::1] site,
    const int[::1] slot,
    double[::1] least,
    double[::1] chosen,
    double[::1] size,
    unsigned char[::1] closed,
    Py_ssize_t begin,
    Py_ssize_t past,
):
    """What _pass does, where there is one slot."""
    cdef Columns c = held.at
    cdef gl_row row
    cdef gl_proved found
    cdef Py_ssize_t i
    if begin == past or not tables.at.wide:
        least[begin:past], chosen[begin:past], size[begin:past] = INFINITE, INFINITE, 0.0
        return
    with nogil:
        for i in range(begin, past):
            row.demand, row.work = c.demand + i * KINDS, c.duration_ms[i] * PPM
            row.release, row.deadline = c.release_slot[i], c.deadline_slot[i]
            row.of_class, row.pair = c.job_class[i], c.job_class[i] * PRECISIONS_ + c.precision[i]
            row.own, row.held = c.affinity[i], c.residency[i]
            row.origin, row.most_rtt = c.origin_hub[i], c.max_rtt_ms[i]
            row.data_site, row.data_gb = c.data_site[i], c.data_gb[i]
            row.data_place = c.hub[row.data_site] if row.data_site >= 0 else c.data_hub[i]
            if not row.data_gb > 0:
                row.data_place = -1
            row.current_site, row.migration = c.current_site[i], c.migration_cost[i]
            found = gl_prove(&tables.at, &row, site[i])
            least[i], size[i], chosen[i] = found.least, found.size, found.chosen
            closed[i] = found.closed or site[i] >= 0 and slot[i] != 0


cdef void _rows(
    const Columns* given,
    const Tables* given_tables,
    int* allowed,
    const int* site,
    const int* slot,
    double* least,
    double* chosen,
    double* size,
    unsigned char* closed,
    Py_ssize_t begin,
    Py_ssize_t past,
) noexcept nogil:
    cdef Columns c = given[0]  # here, so that no store can change them
    cdef Tables w = given_tables[0]
    cdef Job job
    cdef Py_ssize_t i, m, s, d, first, last, many, which, at, window, plane = c.count * c.horizon
    cdef long long[KINDS] need
    cdef Py_ssize_t[KINDS] of_kind
    cdef long long runs, rate, before, own
    cdef double moving, late, cost, priced, magnitude, worth, watts
    cdef double cheapest, largest
    cdef int k, asking, each
    cdef int[KINDS] asked
    cdef bint fits
    for i in range(begin, past):
        cheapest, largest = INFINITE, 0.0
        own, job = site[i], _read(&c, i)
        chosen[i], closed[i] = INFINITE, own >= 0
        watts, asking = <double>c.demand[i * KINDS + POWER], 0
        for k in range(KINDS):
            if c.demand[i * KINDS + k]:
                asked[asking], of_kind[asking] = k, k * plane
                asking += 1
        before, runs = -1, 0
        many = _allowed(&c, i, allowed)
        for which in range(many):
            m = allowed[which]
            rate, moving = _rate(&c, i, m), _moving(&c, &job, m)
            if rate != before:
                runs, before = _runs(&c, i, rate), rate
            if runs <= 0 or not -INFINITE < moving < INFINITE:
                continue
            moving = moving + _latency(&c, &job, m, w.per_ms)
            d = w.of_length[_length(&c, runs)]
            late = <double>max(runs - c.horizon, 0) * w.watt[m * c.horizon + c.horizon - 1]
            first, last = max(c.release_slot[i], 0), c.horizon - 1
            if c.deadline_slot[i] != -1:
                last = min(last, c.deadline_slot[i] - runs)
            at, window = d * plane + m * c.horizon, d * KINDS * plane + m * c.horizon
            if own == m:
                chosen[i] = moving + watts * (w.energy[at + slot[i]] + late)
            for each in range(asking):
                need[each] = _need(&c, i, m, asked[each])
            for s in range(first, last + 1):
                cost = moving + watts * (w.energy[at + s] + late)
                priced, magnitude, fits = cost, abs(cost), True
                for each in range(asking):
                    fits &= need[each] <= w.room[window + of_kind[each] + s]
                    worth = <double>need[each] * w.price[window + of_kind[each] + s]
                    priced += worth
                    magnitude += worth
                if fits:
                    cheapest = min(cheapest, priced)
                    largest = max(largest, magnitude)
                    if own == m and slot[i] == s:
                        closed[i] = 0
        if own >= 0 and chosen[i] == INFINITE:  # its cost is told even where it is no option
            m = own
            runs = _runs(&c, i, _rate(&c, i, m))
            late = <double>max(runs - c.horizon, 0) * w.watt[m * c.horizon + c.horizon - 1]
            at = (w.of_length[_length(&c, runs)] * c.count + m) * c.horizon + slot[i]
            chosen[i] = 0.0 + watts * (w.energy[at] + late)
        least[i], size[i] = cheapest, largest


def _used(Held held, const int[::1] site, const int[::1] slot):
    """Use [M, T, K] of the plan."""
    cdef Columns c = held.at
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
            end = c.horizon
            if c.horizon > 1:
                end = min(slot[i] + _length(&c, _runs(&c, i, _rate(&c, i, m))), c.horizon)
            for k in range(KINDS):
                need = _need(&c, i, m, k)
                change[m, slot[i], k] += need
                change[m, end, k] -= need
    return np.ascontiguousarray(edges.cumsum(axis=1)[:, : c.horizon])


cdef _outweighing(Held held, const double[::1] least):
    """Reject cost [N]; among jobs with options, one outweighs all of lower priority together."""
    cdef Columns c = held.at
    cost_ = np.empty(c.rows)
    cdef double[::1] cost = cost_, of_class = np.empty(c.rows)
    cdef double below = 0.0
    cdef Py_ssize_t i, many, left = c.rows
    cdef int priority
    for i in range(c.rows):
        cost[i] = c.reject_cost[i]
    for priority in range(PRIORITIES):
        many = 0
        for i in range(c.rows if left else 0):
            if c.priority[i] == priority:
                left -= 1
                if least[i] < INFINITE:
                    cost[i] += below
                    of_class[many] = cost[i]
                    many += 1
        if left:
            below += exact_sum(of_class[:many])
    return cost_


def exact_sum(const double[::1] values):
    """math.fsum of finite numbers: their sum, rounded once.

    Numbers of one exponent are added up as whole numbers, in two halves that leave room for so many;
    what these come to, a few dozen numbers, is added up exactly. Source: Shewchuk, Adaptive
    precision floating-point arithmetic, DCG 18 (1997); Neal, Fast exact summation using small and
    large superaccumulators, arXiv:1505.05571 (2015).
    """
    cdef long long[2 * EXPONENTS] halves
    cdef double[PARTIALS] partials
    cdef unsigned long long bits
    cdef long long mantissa, sign
    cdef Py_ssize_t i, first = 0
    cdef int count = 0, e, lowest, highest
    with nogil:
        while first < values.shape[0]:
            memset(halves, 0, sizeof(halves))
            lowest, highest = EXPONENTS, 0
            for i in range(first, min(first + ADDED_MOST, values.shape[0])):
                memcpy(&bits, &values[i], sizeof(bits))
                e = <int>(bits >> 52) & (EXPONENTS - 1)
                mantissa = <long long>(bits & MANTISSA | (<unsigned long long>(e > 0) << 52))
                sign = 1 - 2 * <long long>(bits >> 63)
                halves[2 * e] += sign * (mantissa & LOWER)
                halves[2 * e + 1] += sign * (mantissa >> 32)
                lowest, highest = min(lowest, e), max(highest, e)
            for e in range(lowest, highest + 1):
                count = _added(partials, count, ldexp(<double>halves[2 * e], max(e, 1) - 1075))
                count = _added(partials, count, ldexp(<double>halves[2 * e + 1], max(e, 1) - 1043))
            first += ADDED_MOST
    return _rounded(partials, count)


cdef int _added(double* partials, int count, double x) noexcept nogil:
    """Partials that do not overlap, in ascending order, with x added exactly; how many."""
    cdef double y, high, low
    cdef int kept = 0, at
    if x == 0.0:
        return count
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
    return kept + 1


cdef double _rounded(const double* partials, int count) noexcept nogil:
    cdef double x, y, high = 0.0, low = 0.0
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
