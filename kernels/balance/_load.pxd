"""From a checked network's columns to the interior point's model, in units near 1."""

from libc.math cimport fabs

from kernels.balance._model cimport Model
from kernels.balance._network_columns cimport Columns


cdef inline bint can_move(const Columns* c, int n) noexcept nogil:
    """Whether storage n = (region, slot) can charge or discharge."""
    return c.charge[n] > 0.0 or c.discharge[n] > 0.0


cdef inline bint has_window(const Columns* c, int r) noexcept nogil:
    """Whether region r asks for deferrable energy and has a step to take it."""
    cdef int t
    if c.energy[r] > 0.0:
        for t in range(c.steps):
            if c.flex[r * c.steps + t] > 0.0:
                return True
    return False


cdef inline double unit_of_power(const Columns* c) noexcept nogil:
    """The largest load; without any, the largest of what could come."""
    cdef int i
    cdef double most = 0.0
    for i in range(c.regions * c.steps):
        most = max(most, c.load[i])
    if most == 0.0:
        for i in range(c.regions):
            most = max(most, c.energy[i])
        for i in range(c.regions * c.steps):
            most = max(most, c.ren[i], c.into[i])
    return most if most > 0.0 else 1.0


cdef inline void fill(Model* m, const Columns* c) noexcept nogil:
    """Widths, costs, rows and ends of a model that is laid out and all 0."""
    m.dt, m.mw = c.dt, unit_of_power(c)
    _fill_buses(m, c, 1.0 / m.mw)
    _fill_flexes(m, c, 1.0 / m.mw)
    _fill_stores(m, c, 1.0 / m.mw)
    _fill_links(m, c, 1.0 / m.mw)
    _give_room(m)
    _scale_costs(m)


cdef inline void _fill_buses(Model* m, const Columns* c, double v) noexcept nogil:
    cdef int R = c.regions, T = c.steps, K = c.units, N = R * T, r, t, k, i, n
    for t in range(T):
        for r in range(R):
            i, n = t * R + r, r * T + t
            for k in range(K):
                m.width[k * N + i] = c.cap[r * K + k] * v
                m.cost[k * N + i] = c.dt * (
                    c.unit_cost[r * K + k] + c.carbon * c.unit_ci[r * K + k]
                )
            m.width[m.into + i] = c.into[n] * v
            m.cost[m.into + i] = c.dt * (c.into_price[n] + c.carbon * c.ci[n])
            m.width[m.out + i] = c.out[n] * v
            m.cost[m.out + i] = -c.dt * c.out_price[n]
            m.width[m.ren + i] = c.ren[n] * v
            m.width[m.shed + i] = c.load[n] * v
            m.cost[m.shed + i] = c.dt * c.voll
            m.rhs[i] = c.load[n] * v


cdef inline void _fill_flexes(Model* m, const Columns* c, double v) noexcept nogil:
    cdef int R = c.regions, T = c.steps, r, t, k = 0
    for r in range(R):
        if not has_window(c, r):
            continue
        m.flex_region[k] = r
        m.rhs[T * (R + m.stores) + k] = c.energy[r] * v
        m.width[m.unmet + k], m.cost[m.unmet + k] = 1.5 * c.energy[r] * v, c.voll
        for t in range(T):
            m.width[m.flex + t * R + r] = c.flex[r * T + t] * v
        k += 1


cdef inline void _fill_stores(Model* m, const Columns* c, double v) noexcept nogil:
    cdef int R = c.regions, T = c.steps, S = c.storages, J = m.stores, n, t, i, k = 0
    for n in range(R * S):
        if not can_move(c, n):
            continue
        m.store_region[k], m.store_slot[k] = n // S, n % S
        m.charged[k], m.drawn[k] = c.dt * c.eta_c[n], c.dt / c.eta_d[n]
        m.kept[k] = c.retain[n]
        for t in range(T):
            i = t * J + k
            m.width[m.charge + i] = c.charge[n] * v
            m.width[m.discharge + i] = c.discharge[n] * v
            m.cost[m.discharge + i] = c.dt * c.wear[n]
            m.width[m.soc + i] = (c.high[n] - c.low[n]) * v
            m.rhs[T * R + i] = (c.retain[n] * (c.low[n] if t else c.soc0[n]) - c.low[n]) * v
        m.cost[m.soc + (T - 1) * J + k] = -c.worth[n]
        k += 1


cdef inline void _fill_links(Model* m, const Columns* c, double v) noexcept nogil:
    cdef int L = c.links, k, t
    for k in range(L):
        m.link_from[k], m.link_to[k] = <int> c.link_from[k], <int> c.link_to[k]
        m.arrives[k] = 1.0 - c.loss[k]
        for t in range(c.steps):
            m.width[m.flow + t * L + k] = c.link_cap[k] * v
            m.cost[m.flow + t * L + k] = c.dt * c.tariff[k]


cdef inline void _scale_costs(Model* m) noexcept nogil:
    """What has no width is off; the mean cost of what is not a penalty becomes 1."""
    cdef int i, k = 0
    cdef double v, sum_cost = 0.0
    for i in range(m.size):
        if m.width[i] > 1e-12:
            m.on[i] = 1.0
            if not (m.shed <= i < m.flex or i >= m.unmet):
                sum_cost += fabs(m.cost[i])
                k += 1
        else:
            m.width[i] = 0.0
    m.money = sum_cost / k if sum_cost > 0.0 else 1.0
    v = 1.0 / m.money
    for i in range(m.size):
        m.cost[i] *= v


cdef inline void _give_room(Model* m) noexcept nogil:
    """A bus that no source can reach sheds all its load: so that this is no corner of the box, its
    limit is let go and its sinks, which must be 0, are taken out."""
    cdef int i, k, t, N = m.steps * m.regions
    cdef double* reach = m.reach
    for i in range(N):
        reach[i] = m.width[m.into + i] + m.width[m.ren + i]
        for k in range(m.units):
            reach[i] += m.width[k * N + i]
    for t in range(m.steps):
        for k in range(m.stores):
            reach[t * m.regions + m.store_region[k]] += m.width[m.discharge + t * m.stores + k]
        for k in range(m.links):
            reach[t * m.regions + m.link_to[k]] += m.width[m.flow + t * m.links + k]
    for i in range(N):
        if reach[i] <= 1e-12:
            m.width[m.shed + i] *= 1.5
            m.width[m.out + i] = m.width[m.flex + i] = 0.0
    for t in range(m.steps):
        for k in range(m.stores):
            if reach[t * m.regions + m.store_region[k]] <= 1e-12:
                m.width[m.charge + t * m.stores + k] = 0.0
        for k in range(m.links):
            if reach[t * m.regions + m.link_from[k]] <= 1e-12:
                m.width[m.flow + t * m.links + k] = 0.0
