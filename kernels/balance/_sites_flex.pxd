# The deferrable requirement: its price, and the plan that serves just what was asked.

from libc.math cimport INFINITY, fabs
from libc.string cimport memcpy

from kernels.balance._sites_path cimport solve_at
from kernels.balance._sites_step cimport stacks
from kernels.balance._sites_work cimport *

cdef inline void keep(const Work* w, int steps, double* side) noexcept nogil:
    memcpy(side, w.charged, steps * sizeof(double))
    memcpy(side + steps, w.discharged, steps * sizeof(double))
    memcpy(side + 2 * steps, w.flexed, steps * sizeof(double))


cdef inline double quantile(const Site* p, Work* w, double energy, bint served) noexcept nogil:
    """The price below which the steps' prices leave room for so much deferrable energy."""
    cdef int t, n = 0, at
    cdef double width, price, reach
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
        prices[n], widths[n] = price, width
        n += 1
    return reached(prices, widths, n, energy) if n else p.voll


cdef inline double reached(double* prices, double* widths, int n, double energy) noexcept nogil:
    """The least price below or at which the widths sum to `energy`; the highest where none does."""
    cdef int low = 0, high = n - 1, less, i, more
    cdef double pivot = prices[0], below, same
    while low <= high:
        pivot = prices[(low + high) // 2]
        below = same = 0.0
        less, i, more = low, low, high  # [less: below it | equal | not seen | above it]
        while i <= more:
            if prices[i] < pivot:
                below += widths[i]
                swap(prices, widths, i, less)
                less += 1
                i += 1
            elif prices[i] > pivot:
                swap(prices, widths, i, more)
                more -= 1
            else:
                same += widths[i]
                i += 1
        if energy <= below and less > low:
            high = less - 1
        elif energy <= below + same or more == high:
            return pivot
        else:
            energy -= below + same
            low = more + 1
    return pivot


cdef inline void swap(double* prices, double* widths, int i, int j) noexcept nogil:
    prices[i], prices[j] = prices[j], prices[i]
    widths[i], widths[j] = widths[j], widths[i]


cdef inline int solve(Site* p, Work* w, double start, double step, double* mu_found) noexcept nogil:
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
        step = FIRST_STEP * (1 + fabs(mu))
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
            # beyond what the steps' prices suggest for twice the miss, so that the next is a bracket
            share = quantile(p, w, 2 * ask - energy, True)
            if energy < ask:
                mu = least(most(share, mu + step), p.voll)
            else:
                mu = least(share, mu - step)
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
