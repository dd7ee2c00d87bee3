# Backward: the least cost by what is stored. Forward: the plan from soc0, step by step.

from libc.float cimport DBL_MAX
from libc.math cimport INFINITY
from libc.stdlib cimport realloc

from kernels.balance._sites_forward cimport Ended, moves, moves_by_segment, served, walk
from kernels.balance._sites_step cimport stage, with_flex
from kernels.balance._sites_work cimport *

cdef inline int room(Work* w, Py_ssize_t wanted) noexcept nogil:
    cdef void* more
    if wanted <= w.v_room:
        return 0
    more = realloc(w.v_value, 2 * wanted * sizeof(double))
    if more == NULL:
        return -1
    w.v_value = <double*>more
    more = realloc(w.v_width, 2 * wanted * sizeof(double))
    if more == NULL:
        return -1
    w.v_width = <double*>more
    w.v_room = 2 * wanted
    return 0


cdef inline int backward(const Site* p, Work* w) noexcept nogil:
    """V_T down to V_1; -1 = no memory."""
    cdef int t, n, T = p.steps
    cdef Py_ssize_t first = 0
    cdef const double* av
    cdef const double* aw
    cdef const double* bv
    cdef const double* bw
    cdef double* ov
    cdef double* ow
    cdef double position, end, begun, v, step, back = 1.0 / p.retain, sliver = SLIVER * p.high
    if room(w, 2) < 0:
        return -1
    w.v_first[T], w.v_count[T] = 0, 0
    w.v_start[T] = p.low
    if p.high > p.low:
        w.v_value[0], w.v_width[0], w.v_count[T] = p.worth, p.high - p.low, 1
    w.v_value[w.v_count[T]] = -INFINITY
    for t in range(T - 1, 0, -1):
        first = w.v_first[t + 1] + w.v_count[t + 1] + 1
        if room(w, first + w.v_count[t + 1] + w.h_count[t] + 2) < 0:
            return -1
        av, aw = w.v_value + w.v_first[t + 1], w.v_width + w.v_first[t + 1]
        bv, bw = w.h_value + t * (w.tall + 1), w.h_width + t * (w.tall + 1)
        ov, ow = w.v_value + first, w.v_width + first
        n = 0
        position = (w.v_start[t + 1] - w.h_top[t]) * back
        w.v_start[t] = begun = most(position, p.low)
        while position < p.high:
            if position == begun:  # within the limits: what the later steps' list has goes on as it is
                v = most(bv[0], -DBL_MAX)
                while av[0] >= v:
                    step = aw[0] * back
                    if position + step >= p.high:
                        break
                    ov[n], ow[n] = av[0] * p.retain, step
                    position += step
                    n += 1
                    av += 1
                    aw += 1
                begun = position
            if av[0] >= bv[0]:  # at equal value energy is kept
                v, step = av[0], aw[0]
                if v == -INFINITY:
                    break
                av += 1
                aw += 1
            else:
                v, step = bv[0], bw[0]
                bv += 1
                bw += 1
            position += step * back
            end = least(position, p.high)
            if end - begun > sliver:
                v *= p.retain
                if n and ov[n - 1] == v:
                    ow[n - 1] += end - begun
                else:
                    ov[n], ow[n] = v, end - begun
                    n += 1
                begun = end
        if n and p.high - begun <= sliver:
            ow[n - 1] += p.high - begun
        ov[n] = -INFINITY
        w.v_first[t], w.v_count[t] = first, n
    return 0


cdef inline double forward(const Site* p, Work* w, double* energy) noexcept nogil:
    """Walk the segments from soc0; the cost without the deferrable load, and its energy."""
    cdef int t
    cdef double soc = p.soc0, kept, added, cost = 0.0
    cdef Ended at
    energy[0] = 0.0
    for t in range(p.steps):
        kept = p.retain * soc
        walk(p, w, t, kept, &at)
        soc = at.stored
        added = soc - kept if at.within_h else w.h_top[t] - at.before
        if p.burns:
            moves_by_segment(p, w, t, &at)
        else:
            moves(p, w, t, added, &at)
        cost += served(p, w, t)
        energy[0] += w.flexed[t]
    return cost - p.worth * soc


cdef inline int solve_at(Site* p, Work* w, double mu, double* cost, double* energy) noexcept nogil:
    cdef int t
    p.burns = p.burns_always or (p.flex_energy > 0 and mu < p.burn_price)
    for t in range(p.steps):
        with_flex(p, w, t, mu)
        stage(p, w, t)
    if backward(p, w) < 0:
        return -1
    cost[0] = forward(p, w, energy)
    return 0
