# A step's supply as a stack, and what a step costs by what it stores (h_t).

from libc.math cimport INFINITY

from kernels.balance._sites_work cimport *

cdef inline int insert(
    double* price, double* width, int* kind, int n, double p, double w, int k
) noexcept nogil:
    """By rising price, at equal prices in the order of the calls."""
    cdef int j = n
    if w <= 0:
        return n
    while j > 0 and price[j - 1] > p:
        price[j], width[j], kind[j] = price[j - 1], width[j - 1], kind[j - 1]
        j -= 1
    price[j], width[j], kind[j] = p, w, k
    return n + 1


cdef inline void stacks(const Site* p, Work* w) noexcept nogil:
    """Each step's supply without the deferrable load, from full export upwards."""
    cdef int t, k, n
    cdef double* price
    cdef double* width
    cdef int* kind
    for t in range(p.steps):
        price = w.base_price + t * w.wide
        width = w.base_width + t * w.wide
        kind = w.base_kind + t * w.wide
        n = insert(price, width, kind, 0, 0.0, p.ren[t] * p.hours, REN)
        n = insert(price, width, kind, n, p.export_price[t], p.export_max[t] * p.hours, EXPORT)
        for k in range(p.units):
            n = insert(price, width, kind, n, p.unit_cost[k], p.unit_cap[k] * p.hours, UNIT + k)
        n = insert(price, width, kind, n, p.import_cost[t], p.import_max[t] * p.hours, IMPORT)
        w.base_stacked[t] = insert(price, width, kind, n, p.voll, p.load[t] * p.hours, SHED)


cdef inline void with_flex(const Site* p, Work* w, int t, double mu) noexcept nogil:
    """The stack in which serving less of the deferrable load costs mu; before shedding at a tie."""
    cdef int n = w.base_stacked[t], i, j = 0
    cdef double* price = w.price + t * w.wide
    cdef double* width = w.width + t * w.wide
    cdef int* kind = w.kind + t * w.wide
    cdef const double* base_price = w.base_price + t * w.wide
    cdef const double* base_width = w.base_width + t * w.wide
    cdef const int* base_kind = w.base_kind + t * w.wide
    cdef double flex = p.flex_max[t] * p.hours
    cdef bint put = flex <= 0 or p.flex_energy <= 0
    for i in range(n):
        if not put and (base_price[i] > mu or (base_price[i] == mu and base_kind[i] == SHED)):
            price[j], width[j], kind[j] = mu, flex, FLEX
            j += 1
            put = True
        price[j], width[j], kind[j] = base_price[i], base_width[i], base_kind[i]
        j += 1
    if not put:
        price[j], width[j], kind[j] = mu, flex, FLEX
        j += 1
    w.stacked[t] = j


cdef inline double flex_wanted(const Site* p, int t) noexcept nogil:
    return p.flex_max[t] * p.hours if p.flex_energy > 0 else 0.0


cdef struct Walk:
    # down the stack of a step: the block that is walked through, and its upper end
    const double* price
    const double* wide
    double top, sliver
    int block


cdef inline int emit(
    const Site* p, Walk* at, double high, double low, int move,
    double* value, double* width, int* moves, int n,
) noexcept nogil:
    """The stack between two positions (MWh from full export), on from where the walk is."""
    cdef double bottom, begun = high
    cdef double per_value = p.per_eta_c if move == LESS_CHARGE else p.eta_d
    cdef double per_width = p.eta_c if move == LESS_CHARGE else p.per_eta_d
    cdef double wear = 0.0 if move == LESS_CHARGE else p.wear
    cdef int first = n
    while at.block >= 0:
        bottom = most(at.top - at.wide[at.block], low) if at.block else low
        if begun - bottom > at.sliver:
            moves[n] = move
            value[n] = (at.price[at.block] - wear) * per_value
            width[n] = (begun - bottom) * per_width
            n += 1
            begun = bottom
        if bottom <= low:
            break
        at.top -= at.wide[at.block]
        at.block -= 1
    if n > first:
        width[n - 1] += (begun - low) * per_width
    return n


cdef inline void stage(const Site* p, Work* w, int t) noexcept nogil:
    """h_t: from charging all it can (h_top MWh stored) down to discharging all it can.

    Where prices are low enough to burn, the storage first charges and discharges at once and
    ends there: a third kind of segment lies between, at which both move together.
    """
    cdef double* value = w.h_value + t * (w.tall + 1)
    cdef double* width = w.h_width + t * (w.tall + 1)
    cdef int* move = w.h_move + t * w.tall
    cdef const double* price = w.price + t * w.wide
    cdef const double* wide = w.width + t * w.wide
    cdef double at_rest = (p.load[t] + p.export_max[t]) * p.hours + flex_wanted(p, t)
    cdef double all_ = 0.0, room, low, high, star, both
    cdef Walk at
    cdef int j, n
    for j in range(w.stacked[t]):
        all_ += wide[j]
    room = all_ - at_rest
    if room <= LABEL * all_:  # the sum of what can serve is what must be served, but for rounding
        room = 0.0
    high = at_rest + least(p.charge, room)
    low = at_rest - least(p.discharge, at_rest)
    star = low
    if p.burns:
        both = 0.0
        for j in range(w.stacked[t]):
            if price[j] < p.burn_price:
                both += wide[j]
        star = least(most(low, both), high)
    at.price, at.wide, at.top, at.block = price, wide, all_, w.stacked[t] - 1
    at.sliver = POSITION_SLIVER * high
    n = emit(p, &at, high, most(star, at_rest), LESS_CHARGE, value, width, move, 0)
    w.h_charging[t] = n if star <= at_rest else -1  # -1: no breakpoint of h is at rest
    if star < at_rest:
        n = emit(p, &at, at_rest, star, MORE_DISCHARGE, value, width, move, n)
    if p.burns:
        both = at_rest + p.charge - p.discharge
        if star >= both:
            width[n] = at_rest + p.charge - star - most(at_rest - star, 0.0)
        else:
            width[n] = p.discharge - most(at_rest - star, 0.0)
        width[n] *= p.per_eta_d - p.eta_c
        value[n], move[n] = p.burn_value, MORE_OF_BOTH
        if width[n] > POSITION_SLIVER * high:
            n += 1
        if both < star:
            n = emit(p, &at, star, most(both, low), MORE_DISCHARGE, value, width, move, n)
        if both > low:
            n = emit(p, &at, least(both, star), low, LESS_CHARGE, value, width, move, n)
    value[n] = -INFINITY
    w.h_count[t] = n
    w.h_top[t] = least(p.charge, room) * p.eta_c
    w.h_full[t] = (FULL_CHARGE if p.charge <= room else 0) | (
        FULL_DISCHARGE if p.discharge <= at_rest else 0
    )
