# Prices that prove the plan: of stored energy, and of the bus.

from libc.math cimport INFINITY

from kernels.balance._sites_work cimport *

cdef inline double within(double low, double high) noexcept nogil:
    """The lower end of an interval, or what is finite of it."""
    if low > -INFINITY:
        return low
    return high if high < INFINITY else 0.0


cdef inline void price_paths(const Site* p, Work* w) noexcept nogil:
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
