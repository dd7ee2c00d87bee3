"""Carbon of a plan, region by region and step by step: see carbon.py for the definitions."""

import numpy as np

from libc.math cimport fabs

cdef double INSIDE = 1e-7  # of a limit in MW: less is at it
cdef double NOTHING = 1e-12  # of what is served: a pivot below it leaves the region at 0


def average(net, const double[:, ::1] flow, const double[:, ::1] served, const double[:, ::1] own):
    """[R, T] kg/kWh: ci served = own + sum of sent x ci of the sender, solved a step at a time.

    own in t/h (emissions), served and flow in MW.
    """
    cdef int R = served.shape[0], T = served.shape[1], L = flow.shape[0], t, n, r, i, k, pivot
    cdef const long long[::1] link_from = net.link_from, link_to = net.link_to
    cdef double[:, ::1] ci = np.zeros((R, T))
    cdef double[:, ::1] a = np.empty((R, R + 1))
    cdef double by
    cdef bint linked
    for t in range(T):
        linked = False
        for n in range(L):
            linked = linked or flow[n, t] > 0.0
        if not linked:
            for r in range(R):
                ci[r, t] = own[r, t] / served[r, t] if served[r, t] > 0.0 else 0.0
            continue
        for r in range(R):
            for k in range(R):
                a[r, k] = 0.0
            a[r, r] = served[r, t] if served[r, t] > 0.0 else 1.0
            a[r, R] = own[r, t] if served[r, t] > 0.0 else 0.0
        for n in range(L):
            r = link_to[n]
            if flow[n, t] > 0.0 and served[r, t] > 0.0:
                a[r, link_from[n]] -= flow[n, t]
        for k in range(R):
            pivot = k
            for r in range(k + 1, R):
                if fabs(a[r, k]) > fabs(a[pivot, k]):
                    pivot = r
            if pivot != k:
                for i in range(k, R + 1):
                    a[k, i], a[pivot, i] = a[pivot, i], a[k, i]
            if fabs(a[k, k]) <= NOTHING * (served[k, t] if served[k, t] > 0.0 else 1.0):
                continue
            for r in range(k + 1, R):
                by = a[r, k] / a[k, k]
                if by != 0.0:
                    for i in range(k, R + 1):
                        a[r, i] -= by * a[k, i]
        for k in range(R - 1, -1, -1):
            if fabs(a[k, k]) <= NOTHING * (served[k, t] if served[k, t] > 0.0 else 1.0):
                continue
            by = a[k, R]
            for i in range(k + 1, R):
                by -= a[k, i] * ci[i, t]
            ci[k, t] = max(by / a[k, k], 0.0)
    return np.asarray(ci)


def marginal(
    net,
    const double[:, ::1] into,
    const double[:, ::1] ren,
    const double[:, :, ::1] supply,
    const double[:, ::1] average_ci,
):
    """[R, T] kg/kWh of the local source between its limits: the average where none is."""
    cdef const double[:, ::1] grid_ci = net.grid_ci, into_max = net.import_max_mw
    cdef const double[:, ::1] ren_max = net.ren_avail_mw, cap = net.supply_cap_mw
    cdef const double[:, ::1] cost = net.supply_cost, unit_ci = net.supply_ci
    cdef int R = into.shape[0], T = into.shape[1], K = supply.shape[1], r, t, k
    cdef double[:, ::1] ci = np.empty((R, T))
    cdef double dearest
    cdef bint found
    for r in range(R):
        for t in range(T):
            ci[r, t] = average_ci[r, t]
            if INSIDE < into[r, t] < into_max[r, t] - INSIDE:
                ci[r, t] = grid_ci[r, t]
            found, dearest = False, 0.0
            for k in range(K):
                if INSIDE < supply[r, k, t] < cap[r, k] - INSIDE:
                    if not found or cost[r, k] >= dearest:
                        found, dearest, ci[r, t] = True, cost[r, k], unit_ci[r, k]
            if ren[r, t] < ren_max[r, t] - INSIDE:
                ci[r, t] = 0.0
    return np.asarray(ci)
