# Backward: the least cost by what is stored. Forward: the plan from soc0.

from libc.float cimport DBL_MAX
from libc.math cimport INFINITY
from libc.stdlib cimport realloc

from kernels.balance._sites_step cimport flex_wanted, stage, with_flex
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
            begun = p.high
        ov[n] = -INFINITY
        w.v_end[t] = begun
        w.v_first[t], w.v_count[t] = first, n
    return 0


cdef inline double forward(const Site* p, Work* w, double* energy) noexcept nogil:
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
    energy[0] = 0.0
    for t in range(T):
        kept = p.retain * soc
        av, aw = w.v_value + w.v_first[t + 1], w.v_width + w.v_first[t + 1]
        bv, bw = w.h_value + t * (w.tall + 1), w.h_width + t * (w.tall + 1)
        move = w.h_move + t * w.tall
        need = most(kept - w.v_start[t + 1] + w.h_top[t], 0.0)
        eps = SOC_LABEL * most(p.high, w.h_top[t])
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
        y = stored - kept if within_h else w.h_top[t] - before
        # charge and discharge
        n = w.h_count[t]
        c_state = d_state = 0
        charged = discharged = 0.0
        if not p.burns:
            if j < w.h_charging[t]:
                charged = least(most(y / p.eta_c, 0.0), p.charge)
                c_state = 1
                if j == 0 and not within_h and w.h_full[t] & FULL_CHARGE:
                    charged, c_state = p.charge, 2
            elif j > w.h_charging[t] or within_h:
                discharged = least(most(-y * p.eta_d, 0.0), p.discharge)
                d_state = 1
                if j == n and not within_h and w.h_full[t] & FULL_DISCHARGE:
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
            reach = (p.load[t] + p.export_max[t]) * p.hours + flex_wanted(p, t)
            eps = 1e-12 * p.charge + POSITION_SLIVER * reach
            if charged > p.charge - eps:
                charged, c_state = p.charge, 2
            elif charged > eps:
                c_state = 1
            else:
                charged = 0.0
            eps = 1e-12 * p.discharge + POSITION_SLIVER * reach
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
        eps = LABEL * (reach + discharged + w.h_top[t])
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
