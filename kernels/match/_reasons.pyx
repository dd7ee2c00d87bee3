"""Compiled reasons: reasons.py's explain in one pass over the jobs, with the same bits."""

import numpy as np

from kernels.match._core cimport Engine
from kernels.match.columns import ANY, Reason

cdef enum:
    NOWHERE = -1
    KINDS_MAX = 8  # as in _core.pyx
    # of Reason
    PLACED = 0
    COST = 10
    CAPACITY = 11

assert (PLACED, COST, CAPACITY, NOWHERE) == (
    Reason.PLACED, Reason.REJECTED_COST, Reason.REJECTED_CAPACITY, ANY,
)


cdef struct Short:
    int resource  # active, that is short at the highest price; NOWHERE = none
    double units  # of it; 0 where others are short too


def explain(
    Engine engine,
    const double[:, :, :, ::1] costs,
    answers,
    const long long[::1] active,
    const double[:, :, ::1] prices,
    const int[::1] option,
    const long long[:, :, ::1] free,
):
    """The fields of reasons.Explained."""
    cdef Py_ssize_t n = engine.n, i, site
    reason_, resource_ = np.empty(n, np.int8), np.full(n, NOWHERE, np.int8)
    site_, second_, relax_ = np.full(n, NOWHERE, np.int32), np.empty(n), np.zeros(n)
    cost_ = np.empty(n)
    cdef signed char[::1] reason = reason_, resource = resource_
    cdef int[::1] at = site_
    cdef double[::1] second = second_, relax = relax_, cost = cost_
    cdef const double[::1] best = answers.least, next_ = answers.second
    cdef const int[::1] wanted = answers.option
    cdef const double[::1] reject = engine.reject
    cdef int want, own
    cdef bint as_wanted
    cdef Short short_
    with nogil:
        for i in range(n):
            want, own = wanted[i], option[i]
            reason[i] = PLACED if own >= 0 else CAPACITY if want >= 0 else COST
            cost[i] = best[i]
            if want != own:
                cost[i] = reject[i] if own < 0 else engine.price(
                    &costs[0, 0, 0, 0], i, engine.site_of[own], engine.slot_of[own]
                )
            as_wanted = want < 0 and own < 0
            if want >= 0:
                site = engine.site_of[want]
                as_wanted = own >= 0 and engine.site_of[own] == site
                if want != own and best[i] <= cost[i]:
                    short_ = _short(engine, &prices[0, 0, 0], &free[0, 0, 0], i, want, own)
                    if short_.resource >= 0:
                        at[i], resource[i] = <int>site, <signed char>active[short_.resource]
                        if own < 0:
                            relax[i] = short_.units
            second[i] = next_[i] if as_wanted else best[i]
            if reason[i] == COST:
                relax[i] = next_[i] - reject[i]
    return reason_, site_, resource_, second_, relax_, cost_


cdef Short _short(
    Engine engine,
    const double* prices,
    const long long* free,
    Py_ssize_t job,
    int want,
    int own,
) noexcept nogil:
    """What a wanted option lacks room in; what the job has now is room too."""
    cdef Py_ssize_t site = engine.site_of[want], t, k
    cdef Py_ssize_t start = engine.slot_of[want], end = engine.end_of(job, site, start)
    cdef Py_ssize_t own_start = 0, own_end = 0  # where it is at the same site
    cdef double[KINDS_MAX] worth, share
    cdef long long[KINDS_MAX] need, units
    cdef long long lacking, most = 0
    cdef double whole = 0.0
    cdef int many = 0
    cdef Short found
    if own >= 0 and engine.site_of[own] == site:
        own_start = engine.slot_of[own]
        own_end = engine.end_of(job, site, own_start)
    prices += site * engine.slots * engine.kinds
    free += site * engine.slots * engine.kinds
    for k in range(engine.kinds):
        need[k] = engine.need(job, site, k)
        worth[k], units[k] = 0.0, 0
        for t in range(start, end):
            lacking = need[k] - free[t * engine.kinds + k]
            if own_start <= t < own_end:
                lacking -= need[k]
            if lacking > 0:
                worth[k] += prices[t * engine.kinds + k] * <double>need[k]
                units[k] = max(units[k], lacking)
        whole += worth[k]
        if units[k] > 0:
            many, most = many + 1, units[k]
    found.resource, found.units = NOWHERE, <double>most if many == 1 else 0.0
    if many:
        # the price decides; where nothing short has one, the largest missing share does
        found.resource = 0
        for k in range(engine.kinds):
            share[k] = worth[k] if whole > 0 else <double>units[k] / <double>max(need[k], 1)
            if share[k] > share[found.resource]:
                found.resource = <int>k
    return found
