"""One site, one storage, one deferrable requirement: exact by dynamic programming. See README.md.

V_t(s), the least cost from step t on with s MWh stored, is convex and piecewise linear. It is kept
as its segments, by falling value of one more MWh stored:

    domain   start ----- seg 0 ----- | -- seg 1 -- | ... | end       MWh
    value          v0       >=            v1       >=  ...            currency per MWh

A step's own cost h_t(y), y = what the step adds to the storage, has the same form. V_t is the merge
of the two lists, scaled by what the storage retains and cut to its limits: O(segments) a step.
"""

from libc.math cimport INFINITY, fabs
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy

import numpy as np

DEF_FLEX = -1

cdef enum Kind:
    REN = 0
    EXPORT = 1
    UNIT = 2      # unit k is UNIT + k
    IMPORT = -3
    FLEX = -2
    SHED = -1

cdef enum Move:
    LESS_CHARGE = 0
    MORE_DISCHARGE = 1
    MORE_OF_BOTH = 2

cdef enum Limit:
    AT_LOW = 1
    AT_HIGH = 2

cdef double LABEL = 1e-13   # of a position: closer to a breakpoint is at it
cdef double TIE = 1e-14     # of the cost: tangents that are this close meet
cdef int TANGENTS_MAX = 80

cdef struct Site:
    int steps, units
    double hours, voll
    double charge, discharge, eta_c, eta_d, retain, soc0, low, high, wear, worth
    double burn_price, burn_value    # below this bus price charging and discharging at once pays
    bint burns
    const double* load
    const double* ren
    const double* import_max
    const double* export_max
    const double* import_cost
    const double* export_price
    const double* flex_max
    const double* unit_cap
    const double* unit_cost
    double flex_energy

cdef struct Work:
    int steps, units, wide, tall
    # the stack of a step: what can serve, by rising price; the deferrable load is put in each time
    double* price
    double* width
    int* kind
    int* stacked
    double* base_price
    double* base_width
    int* base_kind
    int* base_stacked
    # h_t, by falling value
    double* h_value
    double* h_width
    int* h_move
    int* h_count
    int* h_charging
    double* h_top
    # V_1..V_T in one arena
    double* v_value
    double* v_width
    Py_ssize_t v_room
    Py_ssize_t* v_first
    int* v_count
    double* v_start
    double* v_end
    # what a solve found: amounts in MWh at the bus, intervals of prices
    double* charged
    double* discharged
    double* flexed
    double* value_low
    double* value_high
    double* price_low
    double* price_high
    int* limit
    int* state         # of charge and discharge: 0 none, 1 between, 2 full, as c + 3 d
    double* low_side   # charged, discharged, flexed of the tangent below
    double* high_side
    double* order
    double* value
    double* bus


cdef inline double least(double a, double b) noexcept nogil:
    return a if a < b else b


cdef inline double most(double a, double b) noexcept nogil:
    return a if a > b else b


cdef class Workspace:
    """Buffers of one thread; they grow with the largest site seen and are reused."""

    cdef Work work
    cdef void* block

    def __cinit__(self):
        self.block = NULL
        self.work.v_value = NULL
        self.work.v_width = NULL
        self.work.v_room = 0
        self.work.steps = self.work.units = 0

    def __dealloc__(self):
        free(self.block)
        free(self.work.v_value)
        free(self.work.v_width)

    cdef int reserve(self, int steps, int units) except -1:
        cdef Work* w = &self.work
        if steps <= w.steps and units <= w.units:
            return 0
        steps, units = max(steps, w.steps), max(units, w.units)
        cdef int wide = units + 6, tall = 2 * (units + 6) + 3
        cdef size_t numbers = 4 * steps * wide + 2 * steps * (tall + 1) + 24 * (steps + 2)
        cdef size_t integers = 2 * steps * wide + steps * tall + 12 * (steps + 2)
        cdef size_t bytes_ = 8 * numbers + 4 * integers + 8 * (steps + 2)
        free(self.block)
        self.block = malloc(bytes_)
        if self.block == NULL:
            w.steps = w.units = 0
            raise MemoryError("no memory for the balance's workspace; solve fewer steps at once")
        w.steps, w.units, w.wide, w.tall = steps, units, wide, tall
        cdef double* d = <double*>self.block
        w.price = d; d += steps * wide
        w.width = d; d += steps * wide
        w.base_price = d; d += steps * wide
        w.base_width = d; d += steps * wide
        w.h_value = d; d += steps * (tall + 1)
        w.h_width = d; d += steps * (tall + 1)
        w.h_top = d; d += steps
        w.v_start = d; d += steps + 1
        w.v_end = d; d += steps + 1
        w.charged = d; d += steps
        w.discharged = d; d += steps
        w.flexed = d; d += steps
        w.value_low = d; d += steps
        w.value_high = d; d += steps
        w.price_low = d; d += steps
        w.price_high = d; d += steps
        w.low_side = d; d += 3 * steps
        w.high_side = d; d += 3 * steps
        w.order = d; d += 2 * steps
        w.value = d; d += steps
        w.bus = d; d += steps
        w.v_first = <Py_ssize_t*>d; d += steps + 1
        cdef int* i = <int*>d
        w.kind = i; i += steps * wide
        w.base_kind = i; i += steps * wide
        w.h_move = i; i += steps * tall
        w.stacked = i; i += steps
        w.base_stacked = i; i += steps
        w.h_count = i; i += steps
        w.h_charging = i; i += steps
        w.v_count = i; i += steps + 1
        w.limit = i; i += steps
        w.state = i; i += steps
        return 0


# ---------------------------------------------------------------- a step's supply

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


cdef void stacks(const Site* p, Work* w) noexcept nogil:
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


cdef void with_flex(const Site* p, Work* w, int t, double mu) noexcept nogil:
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


# ---------------------------------------------------------------- a step's cost of charging

cdef int emit(
    const Site* p, const Work* w, int t, double low, double high, int move,
    double* value, double* width, int* moves, int n,
) noexcept nogil:
    """The stack between two positions (MWh from full export), from the dear end down."""
    cdef const double* price = w.price + t * w.wide
    cdef const double* wide = w.width + t * w.wide
    cdef int j, count = w.stacked[t]
    cdef double top = 0.0, bottom, a, b
    for j in range(count):
        top += wide[j]
    for j in range(count - 1, -1, -1):
        bottom = top - wide[j] if j else 0.0
        a, b = most(bottom, low), least(top, high)
        if b - a > 1e-15 * high:
            moves[n] = move
            if move == LESS_CHARGE:
                value[n], width[n] = price[j] / p.eta_c, (b - a) * p.eta_c
            else:
                value[n], width[n] = (price[j] - p.wear) * p.eta_d, (b - a) / p.eta_d
            n += 1
        top = bottom
        if top <= low:
            break
    return n


cdef void stage(const Site* p, Work* w, int t) noexcept nogil:
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
    cdef double all_ = 0.0, low, high, star, both
    cdef int j, n
    for j in range(w.stacked[t]):
        all_ += wide[j]
    high = at_rest + least(p.charge, most(all_ - at_rest, 0.0))
    low = at_rest - least(p.discharge, at_rest)
    star = low
    if p.burns:
        both = 0.0
        for j in range(w.stacked[t]):
            if price[j] < p.burn_price:
                both += wide[j]
        star = least(most(low, both), high)
    n = emit(p, w, t, most(star, at_rest), high, LESS_CHARGE, value, width, move, 0)
    w.h_charging[t] = n
    if star < at_rest:
        n = emit(p, w, t, star, at_rest, MORE_DISCHARGE, value, width, move, n)
    if p.burns:
        both = at_rest + p.charge - p.discharge
        if star >= both:
            width[n] = at_rest + p.charge - star - most(at_rest - star, 0.0)
        else:
            width[n] = p.discharge - most(at_rest - star, 0.0)
        width[n] *= 1 / p.eta_d - p.eta_c
        value[n], move[n] = p.burn_value, MORE_OF_BOTH
        if width[n] > 0:
            n += 1
        if both < star:
            n = emit(p, w, t, most(both, low), star, MORE_DISCHARGE, value, width, move, n)
        if both > low:
            n = emit(p, w, t, low, least(both, star), LESS_CHARGE, value, width, move, n)
    value[n] = -INFINITY
    w.h_count[t] = n
    w.h_top[t] = (high - at_rest) * p.eta_c


# ---------------------------------------------------------------- backward and forward

cdef int room(Work* w, Py_ssize_t wanted) noexcept nogil:
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


cdef int backward(const Site* p, Work* w) noexcept nogil:
    """V_T down to V_1; -1 = no memory."""
    cdef int t, n, T = p.steps
    cdef Py_ssize_t first = 0
    cdef const double* av
    cdef const double* aw
    cdef const double* bv
    cdef const double* bw
    cdef double* ov
    cdef double* ow
    cdef double position, end, cut, v, step, back = 1.0 / p.retain
    if room(w, 2) < 0:
        return -1
    w.v_first[T], w.v_count[T] = 0, 0
    w.v_start[T], w.v_end[T] = p.low, p.high
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
        w.v_start[t] = most(position, p.low)
        while position < p.high:
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
            end = position + step * back
            if end > p.low:
                cut = least(end, p.high) - most(position, p.low)
                if cut > 0:
                    v *= p.retain
                    if n and ov[n - 1] == v:
                        ow[n - 1] += cut
                    else:
                        ov[n], ow[n] = v, cut
                        n += 1
            position = end
        ov[n] = -INFINITY
        w.v_end[t] = most(least(position, p.high), w.v_start[t])
        w.v_first[t], w.v_count[t] = first, n
    return 0


cdef double forward(const Site* p, Work* w, double* energy) noexcept nogil:
    """Walk the segments from soc0; the cost without the deferrable load, and its energy."""
    cdef int t, i, j, k, n, c_state, d_state, T = p.steps
    cdef double soc = p.soc0, kept, need, eps, stored, y, before, charged, discharged, amount
    cdef double reach, used, cost = 0.0, low, high, served
    cdef const double* av
    cdef const double* aw
    cdef const double* bv
    cdef const double* bw
    cdef const int* move
    cdef const double* price
    cdef const double* width
    cdef const int* kind
    cdef bint within_h, within_v
    cdef double span = p.high + p.charge + p.discharge
    energy[0] = 0.0
    for t in range(T):
        kept = p.retain * soc
        av, aw = w.v_value + w.v_first[t + 1], w.v_width + w.v_first[t + 1]
        bv, bw = w.h_value + t * (w.tall + 1), w.h_width + t * (w.tall + 1)
        move = w.h_move + t * w.tall
        need = most(kept - w.v_start[t + 1] + w.h_top[t], 0.0)
        eps = LABEL * (kept + w.v_start[t + 1] + w.h_top[t])
        i = j = 0
        stored = w.v_start[t + 1]
        before = 0.0
        within_h = within_v = False
        while need > eps:
            if av[i] >= bv[j]:
                if av[i] == -INFINITY:
                    break
                if aw[i] > need + eps:
                    stored += need
                    within_v = True
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
        if within_h:
            w.value_low[t] = w.value_high[t] = bv[j]
        else:
            w.value_high[t] = bv[j - 1] if j else INFINITY
            w.value_low[t] = bv[j]
        # where the step ends
        w.limit[t] = 0
        if not within_v:
            if i == 0 and w.v_start[t + 1] <= p.low:
                w.limit[t] |= AT_LOW
            if i == w.v_count[t + 1] and w.v_end[t + 1] >= p.high:
                w.limit[t] |= AT_HIGH
        if j == w.h_charging[t] and not within_h:
            stored = kept
        elif not within_h:
            stored = kept + w.h_top[t] - before
        if w.limit[t] & AT_LOW:
            stored = p.low
        elif w.limit[t] & AT_HIGH:
            stored = p.high
        stored = least(most(stored, p.low), p.high)
        y = stored - kept
        # charge and discharge
        n = w.h_count[t]
        c_state = d_state = 0
        charged = discharged = 0.0
        if not p.burns:
            if j < w.h_charging[t]:
                charged = least(most(y / p.eta_c, 0.0), p.charge)
                c_state = 1
                if j == 0 and not within_h and w.h_top[t] >= p.charge * p.eta_c:
                    charged, c_state = p.charge, 2
            elif j > w.h_charging[t] or within_h:
                discharged = least(most(-y * p.eta_d, 0.0), p.discharge)
                d_state = 1
                if j == n and not within_h and discharged >= p.discharge * (1 - LABEL):
                    discharged, d_state = p.discharge, 2
        else:
            charged = w.h_top[t] / p.eta_c
            for k in range(j + within_h):
                amount = bw[k] if k < j else need
                if move[k] == LESS_CHARGE:
                    charged -= amount / p.eta_c
                elif move[k] == MORE_DISCHARGE:
                    discharged += amount * p.eta_d
                else:
                    amount /= 1 / p.eta_d - p.eta_c
                    charged += amount
                    discharged += amount
            eps = 1e-12 * p.charge
            if charged > p.charge - eps:
                charged, c_state = p.charge, 2
            elif charged > eps:
                c_state = 1
            else:
                charged = 0.0
            eps = 1e-12 * p.discharge
            if discharged > p.discharge - eps:
                discharged, d_state = p.discharge, 2
            elif discharged > eps:
                d_state = 1
            else:
                discharged = 0.0
        w.charged[t], w.discharged[t] = charged, discharged
        w.state[t] = c_state + 3 * d_state
        # what serves it
        price, width = w.price + t * w.wide, w.width + t * w.wide
        kind = w.kind + t * w.wide
        reach = (p.load[t] + p.export_max[t]) * p.hours + flex_wanted(p, t) + charged - discharged
        eps = LABEL * (reach + discharged)
        served = flex_wanted(p, t)
        cost += p.wear * discharged - p.export_price[t] * p.export_max[t] * p.hours
        low, high = -INFINITY, INFINITY
        for k in range(w.stacked[t]):
            if reach <= eps:
                high = price[k]
                break
            used = least(width[k], reach)
            if kind[k] == FLEX:
                served -= used
            else:
                cost += used * price[k]
            if width[k] > reach + eps:
                low = high = price[k]
                reach = 0
                break
            low = price[k]
            reach -= used
        w.price_low[t], w.price_high[t] = low, high
        w.flexed[t] = most(served, 0.0)
        energy[0] += w.flexed[t]
        soc = stored
    return cost - p.worth * soc


cdef int solve_at(const Site* p, Work* w, double mu, double* cost, double* energy) noexcept nogil:
    cdef int t
    for t in range(p.steps):
        with_flex(p, w, t, mu)
        stage(p, w, t)
    if backward(p, w) < 0:
        return -1
    cost[0] = forward(p, w, energy)
    return 0


# ---------------------------------------------------------------- prices

cdef inline double within(double low, double high) noexcept nogil:
    """The lower end of an interval, or what is finite of it."""
    if low > -INFINITY:
        return low
    return high if high < INFINITY else 0.0


cdef void price_paths(const Site* p, Work* w) noexcept nogil:
    """Stored values that fit together over time, then bus prices that fit them.

    w.value_low, w.value_high are narrowed backwards to what the later steps allow; the forward
    pass then takes the lower end of what is left.
    """
    cdef int t, T = p.steps, c_state, d_state
    cdef double low, high, v, after_low = p.worth, after_high = p.worth, c_price, d_price, lo, hi
    for t in range(T - 1, -1, -1):
        low, high = after_low, after_high
        if w.limit[t] & AT_LOW:
            high = INFINITY
        if w.limit[t] & AT_HIGH:
            low = -INFINITY
        low, high = most(low, w.value_low[t]), least(high, w.value_high[t])
        if low > high:  # by rounding
            low = high = (low + high) / 2
        w.value_low[t], w.value_high[t] = low, high
        after_low, after_high = low * p.retain, high * p.retain
    v = 0.0
    for t in range(T):
        low, high = w.value_low[t], w.value_high[t]
        if t:
            if not (w.limit[t - 1] & AT_LOW):
                low = least(most(low, v / p.retain), high)
            if not (w.limit[t - 1] & AT_HIGH):
                high = most(least(high, v / p.retain), low)
        v = within(low, high)
        w.value[t] = v
        low, high = w.price_low[t], w.price_high[t]
        c_state, d_state = w.state[t] % 3, w.state[t] // 3
        c_price, d_price = v * p.eta_c, v / p.eta_d + p.wear
        lo, hi = -INFINITY, INFINITY
        if p.charge > 0:
            if c_state <= 1:
                lo = c_price
            if c_state >= 1:
                hi = c_price
        if p.discharge > 0:
            if d_state >= 1:
                lo = most(lo, d_price)
            if d_state <= 1:
                hi = least(hi, d_price)
        if hi < lo:  # by rounding
            lo = hi = (lo + hi) / 2
        lo, hi = most(lo, low), least(hi, high)
        if hi < lo:
            lo = hi = (lo + hi) / 2
        w.bus[t] = within(lo, hi)


# ---------------------------------------------------------------- the deferrable requirement

cdef void keep(const Work* w, int steps, double* side) noexcept nogil:
    memcpy(side, w.charged, steps * sizeof(double))
    memcpy(side + steps, w.discharged, steps * sizeof(double))
    memcpy(side + 2 * steps, w.flexed, steps * sizeof(double))


cdef double quantile(const Site* p, Work* w, double energy, bint served) noexcept nogil:
    """The price below which the steps' prices leave room for so much deferrable energy."""
    cdef int t, n = 0, j, at
    cdef double width, price, reach, sum_ = 0.0
    cdef double* prices = w.order
    cdef double* widths = w.order + p.steps
    for t in range(p.steps):
        width = p.flex_max[t] * p.hours
        if width <= 0:
            continue
        if served:
            price = w.price_low[t] if w.price_low[t] > -INFINITY else w.price_high[t]
        else:
            reach = (p.load[t] + p.export_max[t]) * p.hours + width / 2
            at = 0
            while at < w.base_stacked[t] - 1 and reach > w.base_width[t * w.wide + at]:
                reach -= w.base_width[t * w.wide + at]
                at += 1
            price = w.base_price[t * w.wide + at] if w.base_stacked[t] else 0.0
        j = n
        while j > 0 and prices[j - 1] > price:
            prices[j], widths[j] = prices[j - 1], widths[j - 1]
            j -= 1
        prices[j], widths[j] = price, width
        n += 1
    for j in range(n):
        sum_ += widths[j]
        if sum_ >= energy:
            return prices[j]
    return prices[n - 1] if n else p.voll


cdef int solve(const Site* p, Work* w, double start, double step, double* mu_found) noexcept nogil:
    """Fills charged, discharged, flexed and the price intervals; returns the solves, -1 no memory.

    The least cost g(mu) of the relaxed requirement is concave: solve at two prices on either side,
    then where their tangents meet, until they meet on g. There the plans of both sides cost the
    same, and so does the mix that serves just what was asked.
    """
    cdef int T = p.steps, t, solves = 0, doublings = 0
    cdef double mu, cost, energy, g, ask = p.flex_energy, room_ = 0.0, size, share, meet
    cdef double mu_low = 0.0, g_low = 0.0, e_low = 0.0, mu_high = 0.0, g_high = 0.0, e_high = 0.0
    cdef bint has_low = False, has_high = False
    stacks(p, w)
    for t in range(T):
        room_ += p.flex_max[t] * p.hours
    if ask <= 0 or room_ <= 0:
        mu_found[0] = p.voll
        if solve_at(p, w, p.voll, &cost, &energy) < 0:
            return -1
        return 1
    mu = least(start, p.voll) if step > 0 else least(quantile(p, w, ask, False), p.voll)
    if ask >= room_:
        mu = p.voll
    if not step > 0:
        step = 1e-3 * (1 + fabs(mu))
    meet = INFINITY
    while solves < TANGENTS_MAX:
        if solve_at(p, w, mu, &cost, &energy) < 0:
            return -1
        solves += 1
        mu_found[0] = mu
        g = cost + mu * (ask - energy)
        size = fabs(cost) + fabs(mu) * ask
        if fabs(energy - ask) <= 1e-15 * ask:
            return solves
        if energy < ask:
            if mu >= p.voll:
                return solves  # what is missing is unmet
            if has_high and meet - g <= TIE * size:
                keep(w, T, w.low_side)
                e_low, has_low = energy, True
                break
            keep(w, T, w.low_side)
            mu_low, g_low, e_low, has_low = mu, g, energy, True
        else:
            if has_low and meet - g <= TIE * size:
                keep(w, T, w.high_side)
                e_high, has_high = energy, True
                break
            keep(w, T, w.high_side)
            mu_high, g_high, e_high, has_high = mu, g, energy, True
        if has_low and has_high:
            mu = g_high - g_low + (ask - e_low) * mu_low - (ask - e_high) * mu_high
            mu /= e_high - e_low
            mu = least(most(mu, mu_low), mu_high)
            meet = g_low + (ask - e_low) * (mu - mu_low)
        else:
            share = quantile(p, w, ask, True)
            if energy < ask:
                mu = least(most(share, mu) + step, p.voll)
            else:
                mu = least(share, mu) - step
            step *= 4
    if not (has_low and has_high):
        return solves
    share = (ask - e_low) / (e_high - e_low)
    for t in range(T):
        w.charged[t] = mix(w.low_side[t], w.high_side[t], share)
        w.discharged[t] = mix(w.low_side[T + t], w.high_side[T + t], share)
        w.flexed[t] = mix(w.low_side[2 * T + t], w.high_side[2 * T + t], share)
        if not p.burns:  # never both at once: what the storage gains is all that counts
            cost = w.charged[t] * p.eta_c - w.discharged[t] / p.eta_d
            if w.charged[t] > 0 and w.discharged[t] > 0:
                w.charged[t] = cost / p.eta_c if cost > 0 else 0.0
                w.discharged[t] = -cost * p.eta_d if cost < 0 else 0.0
    return solves


cdef inline double mix(double low, double high, double share) noexcept nogil:
    return low if low == high else low + (high - low) * share


# ---------------------------------------------------------------- the batch

cdef struct Out:
    double* import_
    double* export_
    double* ren
    double* charge
    double* discharge
    double* soc
    double* flex
    double* shed
    double* supply
    double* bus
    double* value


cdef void write(const Site* p, const Work* w, const Out* o) noexcept nogil:
    """MW from MWh: what the storage and the deferrable load need is served in the stack's order."""
    cdef int t, k, T = p.steps
    cdef double soc = p.soc0, reach, used, mw
    for t in range(T):
        reach = (p.load[t] + p.export_max[t]) * p.hours
        reach += w.flexed[t] + w.charged[t] - w.discharged[t]
        soc = p.retain * soc + p.eta_c * w.charged[t] - w.discharged[t] / p.eta_d
        if w.limit[t] == AT_LOW and soc < p.low + 1e-9 * p.high:
            soc = p.low
        elif w.limit[t] == AT_HIGH and soc > p.high * (1 - 1e-9):
            soc = p.high
        soc = least(most(soc, p.low), p.high)
        o.soc[t] = soc
        o.charge[t] = least(w.charged[t] / p.hours, p.charge / p.hours)
        o.discharge[t] = least(w.discharged[t] / p.hours, p.discharge / p.hours)
        o.flex[t] = least(w.flexed[t] / p.hours, p.flex_max[t])
        o.import_[t] = o.ren[t] = o.shed[t] = 0.0
        o.export_[t] = p.export_max[t]
        for k in range(p.units):
            o.supply[k * T + t] = 0.0
        for k in range(w.base_stacked[t]):
            used = least(w.base_width[t * w.wide + k], most(reach, 0.0))
            reach -= used
            mw = used / p.hours
            if w.base_kind[t * w.wide + k] == REN:
                o.ren[t] = least(mw, p.ren[t])
            elif w.base_kind[t * w.wide + k] == EXPORT:
                o.export_[t] = least(most(p.export_max[t] - mw, 0.0), p.export_max[t])
            elif w.base_kind[t * w.wide + k] == IMPORT:
                o.import_[t] = least(mw, p.import_max[t])
            elif w.base_kind[t * w.wide + k] == SHED:
                o.shed[t] = least(mw, p.load[t])
            else:
                o.supply[(w.base_kind[t * w.wide + k] - UNIT) * T + t] = least(
                    mw, p.unit_cap[w.base_kind[t * w.wide + k] - UNIT]
                )
        o.bus[t], o.value[t] = w.bus[t], w.value[t]
