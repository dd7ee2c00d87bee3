"""A network as the interior point sees it: where each variable stands, A'y, A x and A theta A'.

Variables, all in [0, w] and in units of `mw` (energy: `mw` x 1 h); planes are [T][R] unless named:

    supply K planes | import | export | ren | shed | flex | charge [T][J] | discharge | soc less its
    lower limit | flow [T][L] | unmet [F]

Rows: bus [T][R] | store [T][J] | flex [F]. J counts the storages that can charge or discharge, F
the regions whose deferrable energy has a window; what is left out needs no decision.
"""

from kernels.balance._normal cimport Normal, padded


cdef struct Model:
    int steps, regions, units, stores, flexes, links
    int size                 # variables, a multiple of LANES
    int rows
    int into, out, ren, shed, flex, charge, discharge, soc, flow, unmet  # where planes start
    int* store_region        # [J]
    int* store_slot          # [J]
    int* flex_region         # [F]
    int* link_from           # [L]
    int* link_to             # [L]
    double dt                # h
    double mw                # unit of power
    double money             # unit of cost per unit of power
    double* charged          # [J] dt eta_c
    double* drawn            # [J] dt / eta_d
    double* kept             # [J] retain
    double* arrives          # [L] 1 - loss
    double* width            # [size]
    double* on               # [size] 1 where the width is not 0
    double* cost             # [size]
    double* rhs              # [rows]
    double* reach            # [T][R] the most that sources other than shedding can bring


cdef inline void gather(Model* m, double* y, double* out) noexcept nogil:
    """out = A'y."""
    cdef int N = m.steps * m.regions, M = m.steps * m.stores, J = m.stores, R = m.regions
    cdef int i, k, t
    cdef double* nu = y + N
    cdef double* mu = nu + M
    cdef double* row
    for k in range(m.units + 4):
        row = out + k * N
        if k * N == m.out:
            for i in range(N):
                row[i] = -y[i]
        else:
            for i in range(N):
                row[i] = y[i]
    row = out + m.flex
    for i in range(N):
        row[i] = -y[i]
    for t in range(m.steps):
        for k in range(m.flexes):
            row[t * R + m.flex_region[k]] += m.dt * mu[k]
        for k in range(J):
            i = t * J + k
            out[m.charge + i] = -y[t * R + m.store_region[k]] - m.charged[k] * nu[i]
            out[m.discharge + i] = y[t * R + m.store_region[k]] + m.drawn[k] * nu[i]
            out[m.soc + i] = nu[i]
            if t < m.steps - 1:
                out[m.soc + i] -= m.kept[k] * nu[i + J]
        row = out + m.flow + t * m.links
        for k in range(m.links):
            row[k] = m.arrives[k] * y[t * R + m.link_to[k]] - y[t * R + m.link_from[k]]
        row = out + m.flex
    for k in range(m.flexes):
        out[m.unmet + k] = mu[k]


cdef inline void scatter(Model* m, double* x, double* y) noexcept nogil:
    """y = A x."""
    cdef int N = m.steps * m.regions, M = m.steps * m.stores, J = m.stores, R = m.regions
    cdef int i, k, t
    cdef double* nu = y + N
    cdef double* mu = nu + M
    cdef double* row
    for i in range(N):
        y[i] = x[m.into + i] - x[m.out + i] + x[m.ren + i] + x[m.shed + i] - x[m.flex + i]
    for k in range(m.units):
        row = x + k * N
        for i in range(N):
            y[i] += row[i]
    for k in range(m.flexes):
        mu[k] = x[m.unmet + k]
    for t in range(m.steps):
        for k in range(J):
            i = t * J + k
            y[t * R + m.store_region[k]] += x[m.discharge + i] - x[m.charge + i]
            nu[i] = (
                x[m.soc + i] - m.charged[k] * x[m.charge + i] + m.drawn[k] * x[m.discharge + i]
            )
            if t:
                nu[i] -= m.kept[k] * x[m.soc + i - J]
        for k in range(m.flexes):
            mu[k] += m.dt * x[m.flex + t * R + m.flex_region[k]]
        row = x + m.flow + t * m.links
        for k in range(m.links):
            y[t * R + m.link_from[k]] -= row[k]
            y[t * R + m.link_to[k]] += m.arrives[k] * row[k]


cdef inline void weights(Model* m, double* theta, Normal* q) noexcept nogil:
    """The blocks of A theta A', ready to be factored."""
    cdef int N = m.steps * m.regions, J = m.stores, R = m.regions, F = m.flexes
    cdef int i, k, t, a, b, R4 = padded(R), J4 = padded(J), F4 = padded(F)
    cdef double v
    cdef double* bus
    cdef double* store
    for i in range(F * F4):
        q.flex[i] = 0.0
    for k in range(F):
        q.flex[k * F4 + k] = theta[m.unmet + k]
    for t in range(m.steps):
        bus, store = q.bus + t * R * R4, q.store + t * J * J4
        for i in range(R * R4):
            bus[i] = 0.0
        for i in range(J * J4):
            store[i] = 0.0
        for k in range(m.units + 5):
            for i in range(R):
                bus[i * R4 + i] += theta[k * N + t * R + i]
        for k in range(m.links):
            v, a, b = theta[m.flow + t * m.links + k], m.link_from[k], m.link_to[k]
            bus[a * R4 + a] += v
            v = v * m.arrives[k]
            bus[a * R4 + b] -= v
            bus[b * R4 + a] -= v
            bus[b * R4 + b] += v * m.arrives[k]
        for k in range(F):
            v = m.dt * theta[m.flex + t * R + m.flex_region[k]]
            q.bus_flex[t * F + k] = -v
            q.flex[k * F4 + k] += m.dt * v
        for k in range(J):
            i = t * J + k
            a = m.store_region[k] * (R4 + 1)
            bus[a] += theta[m.charge + i] + theta[m.discharge + i]
            v = m.charged[k] * theta[m.charge + i]
            q.bus_store[i] = v + m.drawn[k] * theta[m.discharge + i]
            store[k * (J4 + 1)] = (
                theta[m.soc + i]
                + m.charged[k] * v
                + m.drawn[k] * m.drawn[k] * theta[m.discharge + i]
            )
            q.tie[i] = -m.kept[k] * theta[m.soc + i]
            if t:
                store[k * (J4 + 1)] += m.kept[k] * m.kept[k] * theta[m.soc + i - J]
