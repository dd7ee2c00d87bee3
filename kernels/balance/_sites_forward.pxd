# One step of the plan: where the walk along the slopes ends, what the storage does, what serves it.

from libc.math cimport INFINITY

from kernels.balance._sites_step cimport flex_wanted
from kernels.balance._sites_work cimport *

cdef struct Ended:
    int taken           # segments of h_t that are used up
    bint within_h       # ... and a part of the next
    double part         # MWh of that part
    double before       # MWh of the segments used up
    double stored       # at the step's end


cdef inline void walk(const Site* p, Work* w, int t, double kept, Ended* at) noexcept nogil:
    """From the most that can be stored down both lists until what is kept is reached.

    A position closer to a breakpoint than rounding is at it, so that the prices are those of a
    breakpoint; where both lists end there, h_t's own amounts are taken.
    """
    cdef const double* av = w.v_value + w.v_first[t + 1]
    cdef const double* aw = w.v_width + w.v_first[t + 1]
    cdef const double* bv = w.h_value + t * (w.tall + 1)
    cdef const double* bw = w.h_width + t * (w.tall + 1)
    cdef double start = w.v_start[t + 1], need = most(kept - start + w.h_top[t], 0.0)
    cdef double eps = SOC_LABEL * most(p.high, w.h_top[t]), stored = start, before = 0.0
    cdef int i = 0, j = 0
    cdef bint within_h = False
    while need > eps:
        if av[i] >= bv[j]:  # at equal value energy is kept
            if av[i] == -INFINITY:
                break
            if aw[i] > need + eps:
                stored += need
                break
            stored += aw[i]
            need -= aw[i]
            i += 1
        else:
            if bw[j] > need + eps:
                within_h = True
                break
            before += bw[j]
            need -= bw[j]
            j += 1
    w.value_low[t] = bv[j]
    w.value_high[t] = bv[j] if within_h else (bv[j - 1] if j else INFINITY)
    w.limit[t] = (AT_LOW if stored <= p.low + eps else 0) | (
        AT_HIGH if stored >= p.high - eps else 0
    )
    if w.limit[t] & AT_LOW:
        stored = p.low
    elif w.limit[t] & AT_HIGH:
        stored = p.high
    elif j == w.h_charging[t] and not within_h:
        stored = kept
    elif not within_h:
        stored = kept + w.h_top[t] - before
    at.taken, at.within_h, at.part, at.before = j, within_h, need, before
    at.stored = least(most(stored, p.low), p.high)


cdef inline void moves(const Site* p, Work* w, int t, double added, const Ended* at) noexcept nogil:
    """Charge or discharge from what the step adds to the storage: never both."""
    cdef int j = at.taken, c_state = 0, d_state = 0
    cdef double charged = 0.0, discharged = 0.0
    if j < w.h_charging[t]:
        charged, c_state = least(most(added / p.eta_c, 0.0), p.charge), 1
        if j == 0 and not at.within_h and w.h_full[t] & FULL_CHARGE:
            charged, c_state = p.charge, 2
    elif j > w.h_charging[t] or at.within_h:
        discharged, d_state = least(most(-added * p.eta_d, 0.0), p.discharge), 1
        if j == w.h_count[t] and not at.within_h and w.h_full[t] & FULL_DISCHARGE:
            discharged, d_state = p.discharge, 2
    w.charged[t], w.discharged[t] = charged, discharged
    w.state[t] = c_state + 3 * d_state


cdef inline void moves_by_segment(const Site* p, Work* w, int t, const Ended* at) noexcept nogil:
    """Charge and discharge as the segments move them: where prices burn, both at once."""
    cdef const double* bw = w.h_width + t * (w.tall + 1)
    cdef const int* move = w.h_move + t * w.tall
    cdef double charged = w.h_top[t] / p.eta_c, discharged = 0.0, amount, rounding
    cdef int k
    for k in range(at.taken + at.within_h):
        amount = bw[k] if k < at.taken else at.part
        if move[k] == LESS_CHARGE:
            charged -= amount / p.eta_c
        elif move[k] == MORE_DISCHARGE:
            discharged += amount * p.eta_d
        else:
            amount /= p.per_eta_d - p.eta_c
            charged += amount
            discharged += amount
    rounding = (p.load[t] + p.export_max[t]) * p.hours + flex_wanted(p, t)
    rounding *= POSITION_SLIVER
    w.state[t] = snapped(&charged, p.charge, rounding)
    w.state[t] += 3 * snapped(&discharged, p.discharge, rounding)
    w.charged[t], w.discharged[t] = charged, discharged


cdef inline int snapped(double* amount, double limit, double rounding) noexcept nogil:
    """0 none, 1 between, 2 all of the limit; rounding taken off."""
    cdef double eps = LIMIT_LABEL * limit + rounding
    if amount[0] > limit - eps:
        amount[0] = limit
        return 2
    if amount[0] > eps:
        return 1
    amount[0] = 0.0
    return 0


cdef inline double served(const Site* p, Work* w, int t) noexcept nogil:
    """The step's cost without deferrable load; its energy served, and what the bus price may be."""
    cdef const double* price = w.price + t * w.wide
    cdef const double* width = w.width + t * w.wide
    cdef const int* kind = w.kind + t * w.wide
    cdef double flexed = flex_wanted(p, t), low = -INFINITY, high = INFINITY, used
    cdef double reach = (p.load[t] + p.export_max[t]) * p.hours + flexed + w.charged[t]
    cdef double cost = p.wear * w.discharged[t] - p.export_price[t] * p.export_max[t] * p.hours
    cdef double eps = LABEL * (reach + w.h_top[t])
    cdef int k
    reach -= w.discharged[t]
    for k in range(w.stacked[t]):
        if reach <= eps:
            high = price[k]
            break
        used = least(width[k], reach)
        if kind[k] == FLEX:
            flexed -= used
        else:
            cost += used * price[k]
        low = price[k]
        if width[k] > reach + eps:
            high = price[k]
            break
        reach -= used
    w.price_low[t], w.price_high[t] = low, high
    w.flexed[t] = most(flexed, 0.0)
    return cost
