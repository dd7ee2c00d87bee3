"""The interior point of a network: Mehrotra's predictor-corrector on the structure of the model.

    minimise c.x   subject to  A x = b,  0 <= x <= w

Each iteration factors A theta A' step by step (_normal.pxd) and passes over the variables five
times (_passes.pxd). Then the plan is settled: what is at a bound is put exactly there, and the
rest is projected on the rows. Nothing here is a proof: that is the certificate's.

Mehrotra, S. (1992), On the implementation of a primal-dual interior point method.
"""

from libc.stdlib cimport free, malloc
from libc.string cimport memset

from kernels.balance._model cimport Model, gather, scatter, weights
from kernels.balance._normal cimport Normal, factor, padded, solve
from kernels.balance._passes cimport LANES, centre, direction, move, predict, weigh
from kernels.balance._plan cimport read_plan, write_plan, write_prices

cdef double CLOSE = 1e-9       # of complementarity and residuals, in the model's units
cdef double SNUG = 1e-12       # of the rows after settling, same units
cdef double WARM_ROOM = 0.1    # of its width: how far from its bounds a variable starts
cdef double WARM_FAR = 0.1      # at most, in units of power
cdef double WARM_Z = 0.1        # least multiplier to start with, in units of cost
cdef int ITERATIONS_MAX = 60
cdef int COLUMNS = 15


cdef class Workspace:
    """Memory of the solves, kept between them. One a thread."""

    cdef Model m
    cdef Normal q
    cdef double* block
    cdef int* ints
    cdef long held, held_ints
    cdef double* x
    cdef double* zl
    cdef double* zu
    cdef double* red
    cdef double* isl
    cdef double* isu
    cdef double* theta
    cdef double* h
    cdef double* dx
    cdef double* g
    cdef double* tl
    cdef double* tu
    cdef double* y
    cdef double* dy
    cdef double* left
    cdef public int iterations
    cdef public double apart     # how far the iterations ended from optimal

    def __cinit__(self):
        self.block, self.ints, self.held, self.held_ints = NULL, NULL, 0, 0

    def __dealloc__(self):
        free(self.block)
        free(self.ints)

    cdef int lay_out(self, int T, int R, int K, int J, int F, int L) except -1:
        """Sizes and places of everything for T steps, R regions and so on."""
        cdef Model* m = &self.m
        cdef Normal* q = &self.q
        cdef int N = T * R, M = T * J
        m.steps, m.regions, m.units, m.stores, m.flexes, m.links = T, R, K, J, F, L
        m.into = K * N
        m.out, m.ren, m.shed, m.flex = m.into + N, m.into + 2 * N, m.into + 3 * N, m.into + 4 * N
        m.charge = m.flex + N
        m.discharge, m.soc, m.flow = m.charge + M, m.charge + 2 * M, m.charge + 3 * M
        m.unmet = m.flow + T * L
        m.size = (m.unmet + F + LANES - 1) // LANES * LANES
        m.rows = N + M + F
        cdef int i, widest = padded(max(R, J, F, 1))
        cdef long wanted = <long> COLUMNS * m.size + 4 * m.rows + N + 3 * J + L
        cdef int R4 = padded(R), J4 = padded(J), F4 = padded(F)
        wanted += <long> T * (R * R4 + J * J4 + 2 * J + F + J * F4) + F * F4 + J * F4 + J
        wanted += 6 * widest
        cdef long ints = 2 * J + F + 2 * L + 1
        if wanted > self.held:
            free(self.block)
            self.block = <double*> malloc(wanted * sizeof(double))
            self.held = wanted if self.block != NULL else 0
        if ints > self.held_ints:
            free(self.ints)
            self.ints = <int*> malloc(ints * sizeof(int))
            self.held_ints = ints if self.ints != NULL else 0
        if self.block == NULL or self.ints == NULL:
            raise MemoryError("a network too large for this machine's memory")
        memset(self.block, 0, wanted * sizeof(double))
        cdef double* at = self.block
        self.x, at = at, at + m.size
        self.zl, at = at, at + m.size
        self.zu, at = at, at + m.size
        self.red, at = at, at + m.size
        self.isl, at = at, at + m.size
        self.isu, at = at, at + m.size
        self.theta, at = at, at + m.size
        self.h, at = at, at + m.size
        self.dx, at = at, at + m.size
        self.g, at = at, at + m.size
        self.tl, at = at, at + m.size
        self.tu, at = at, at + m.size
        m.width, at = at, at + m.size
        m.on, at = at, at + m.size
        m.cost, at = at, at + m.size
        self.y, at = at, at + m.rows
        self.dy, at = at, at + m.rows
        self.left, at = at, at + m.rows
        m.rhs, at = at, at + m.rows
        m.reach, at = at, at + N
        m.charged, at = at, at + J
        m.drawn, at = at, at + J
        m.kept, at = at, at + J
        m.arrives, at = at, at + L
        q.steps, q.regions, q.stores, q.flexes = T, R, J, F
        q.bus, at = at, at + T * R * R4
        q.store, at = at, at + T * J * J4
        q.tie, at = at, at + T * J
        q.bus_store, at = at, at + T * J
        q.bus_flex, at = at, at + T * F
        q.border, at = at, at + T * J * F4
        q.flex, at = at, at + F * F4
        q.pass_on, at = at, at + J * F4
        q.kept_nu, at = at, at + J
        q.scratch, q.spare, at = at, at + widest, at + 2 * widest
        q.all_but_one, q.one = at + widest, at + 3 * widest
        for i in range(2 * widest):
            at[i] = 1.0
        q.all_but_one[0], q.one[0] = 0.0, 1.0
        m.store_region, m.store_slot = self.ints, self.ints + J
        m.flex_region = m.store_slot + J
        m.link_from = m.flex_region + F
        m.link_to = m.link_from + L
        q.store_region, q.flex_region = m.store_region, m.flex_region
        return 0

    cdef int load(self, net) except -1:
        """The columns of a checked network."""
        cdef const double[:, ::1] load = net.load_mw
        cdef const double[:, ::1] ren = net.ren_avail_mw
        cdef const double[:, ::1] into = net.import_max_mw
        cdef const double[:, ::1] out = net.export_max_mw
        cdef const double[:, ::1] into_price = net.import_price
        cdef const double[:, ::1] out_price = net.export_price
        cdef const double[:, ::1] ci = net.grid_ci
        cdef const double[:, ::1] flex = net.flex_max_mw
        cdef const double[::1] energy = net.flex_energy_mwh
        cdef const double[:, ::1] cap = net.supply_cap_mw
        cdef const double[:, ::1] unit_cost = net.supply_cost
        cdef const double[:, ::1] unit_ci = net.supply_ci
        cdef const double[:, ::1] charge = net.storage_charge_mw
        cdef const double[:, ::1] discharge = net.storage_discharge_mw
        cdef const double[:, ::1] eta_c = net.storage_eta_c
        cdef const double[:, ::1] eta_d = net.storage_eta_d
        cdef const double[:, ::1] retain = net.storage_retain
        cdef const double[:, ::1] soc0 = net.storage_soc0_mwh
        cdef const double[:, ::1] low = net.storage_soc_min_mwh
        cdef const double[:, ::1] high = net.storage_soc_max_mwh
        cdef const double[:, ::1] wear = net.storage_wear
        cdef const double[:, ::1] worth = net.storage_terminal_value
        cdef const long long[::1] link_from = net.link_from
        cdef const long long[::1] link_to = net.link_to
        cdef const double[::1] link_cap = net.link_cap_mw
        cdef const double[::1] loss = net.link_loss
        cdef const double[::1] tariff = net.link_tariff
        cdef double dt = net.dt_h, carbon = net.carbon_price, voll = net.voll
        cdef int R = load.shape[0], T = load.shape[1], K = cap.shape[1], S = charge.shape[1]
        cdef int L = link_cap.shape[0], J = 0, F = 0, r, t, k, s, i
        cdef double v, most = 0.0, sum_cost = 0.0
        for r in range(R):
            for s in range(S):
                J += charge[r, s] > 0.0 or discharge[r, s] > 0.0
            F += _has_window(flex[r], energy[r])
        self.lay_out(T, R, K, J, F, L)
        cdef Model* m = &self.m
        m.dt = dt
        for r in range(R):
            for t in range(T):
                most = max(most, load[r, t])
        if most == 0.0:
            for r in range(R):
                most = max(most, energy[r])
                for t in range(T):
                    most = max(most, ren[r, t], into[r, t])
        m.mw = most if most > 0.0 else 1.0
        v = 1.0 / m.mw
        for t in range(T):
            for r in range(R):
                i = t * R + r
                for k in range(K):
                    m.width[k * T * R + i] = cap[r, k] * v
                    m.cost[k * T * R + i] = dt * (unit_cost[r, k] + carbon * unit_ci[r, k])
                m.width[m.into + i] = into[r, t] * v
                m.cost[m.into + i] = dt * (into_price[r, t] + carbon * ci[r, t])
                m.width[m.out + i] = out[r, t] * v
                m.cost[m.out + i] = -dt * out_price[r, t]
                m.width[m.ren + i] = ren[r, t] * v
                m.width[m.shed + i] = load[r, t] * v
                m.cost[m.shed + i] = dt * voll
                m.rhs[i] = load[r, t] * v
        k = 0
        for r in range(R):
            if not _has_window(flex[r], energy[r]):
                continue
            m.flex_region[k] = r
            m.rhs[T * (R + J) + k] = energy[r] * v
            m.width[m.unmet + k], m.cost[m.unmet + k] = 1.5 * energy[r] * v, voll
            for t in range(T):
                m.width[m.flex + t * R + r] = flex[r, t] * v
            k += 1
        k = 0
        for r in range(R):
            for s in range(S):
                if not (charge[r, s] > 0.0 or discharge[r, s] > 0.0):
                    continue
                m.store_region[k], m.store_slot[k] = r, s
                m.charged[k], m.drawn[k] = dt * eta_c[r, s], dt / eta_d[r, s]
                m.kept[k] = retain[r, s]
                for t in range(T):
                    i = t * J + k
                    m.width[m.charge + i] = charge[r, s] * v
                    m.width[m.discharge + i] = discharge[r, s] * v
                    m.cost[m.discharge + i] = dt * wear[r, s]
                    m.width[m.soc + i] = (high[r, s] - low[r, s]) * v
                    m.rhs[T * R + i] = (retain[r, s] * (low[r, s] if t else soc0[r, s]) - low[r, s]) * v
                m.cost[m.soc + (T - 1) * J + k] = -worth[r, s]
                k += 1
        for k in range(L):
            m.link_from[k], m.link_to[k] = link_from[k], link_to[k]
            m.arrives[k] = 1.0 - loss[k]
            for t in range(T):
                m.width[m.flow + t * L + k] = link_cap[k] * v
                m.cost[m.flow + t * L + k] = dt * tariff[k]
        _give_room(m)
        k = 0
        for i in range(m.size):
            if m.width[i] > 1e-12:
                m.on[i] = 1.0
                if not (m.shed <= i < m.flex or i >= m.unmet):
                    sum_cost += abs(m.cost[i])
                    k += 1
            else:
                m.width[i] = 0.0
        m.money = sum_cost / k if sum_cost > 0.0 else 1.0
        v = 1.0 / m.money
        for i in range(m.size):
            m.cost[i] *= v
        return 0


cdef void _give_room(Model* m) noexcept nogil:
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


cdef bint _has_window(const double[::1] flex, double energy) noexcept nogil:
    cdef int t
    if energy > 0.0:
        for t in range(flex.shape[0]):
            if flex[t] > 0.0:
                return True
    return False


cdef void _start(Workspace w) noexcept nogil:
    """The middle of the box, the mean cost as price of everything, multipliers to match."""
    cdef Model* m = &w.m
    cdef int i
    cdef double c
    for i in range(m.rows):
        w.y[i] = 1.0
    for i in range(m.steps * m.stores):
        w.y[m.steps * m.regions + i] = -1.0
    gather(m, w.y, w.g)
    for i in range(m.size):
        c = m.cost[i] - w.g[i]
        w.red[i] = c
        w.x[i] = 0.5 * m.width[i]
        w.zl[i] = m.on[i] * ((c if c > 0.0 else 0.0) + 1.0)
        w.zu[i] = m.on[i] * ((-c if c < 0.0 else 0.0) + 1.0)


cdef void _start_warm(Workspace w) noexcept nogil:
    """x and y given: x moved into the box, multipliers that its reduced costs ask for."""
    cdef Model* m = &w.m
    cdef int i
    cdef double c, room
    gather(m, w.y, w.g)
    for i in range(m.size):
        c = m.cost[i] - w.g[i]
        w.red[i] = c
        room = WARM_ROOM * m.width[i]
        room = room if room < WARM_FAR else WARM_FAR
        w.x[i] = min(max(w.x[i], room), m.width[i] - room)
        w.zl[i] = m.on[i] * ((c if c > 0.0 else 0.0) + WARM_Z)
        w.zu[i] = m.on[i] * ((-c if c < 0.0 else 0.0) + WARM_Z)


cdef double _residual(Workspace w) noexcept nogil:
    """left = b - A x; the largest of it."""
    cdef Model* m = &w.m
    cdef int i
    cdef double v, worst = 0.0
    scatter(m, w.x, w.left)
    for i in range(m.rows):
        v = m.rhs[i] - w.left[i]
        w.left[i] = v
        v = v if v > 0.0 else -v
        worst = v if v > worst else worst
    return worst


cdef int _iterate(Workspace w, int most) noexcept nogil:
    """Iterations made; w.apart says how near they came."""
    cdef Model* m = &w.m
    cdef int i, n = m.size, done = 0
    cdef double found[4]
    cdef double both = 0.0, gap, target, primal, dual, worst, size
    cdef double unit = 1.0 / (m.mw * m.money)  # one of currency
    for i in range(n):
        both += 2.0 * m.on[i]
    if both == 0.0:
        w.apart = 0.0
        return 0
    worst = _residual(w)
    while True:
        weigh(n, w.x, m.width, m.on, w.zl, w.zu, w.red, m.cost, w.isl, w.isu, w.theta, w.h,
              found)
        gap, size = found[0], found[2] + (1.0 if unit > 1.0 else unit)
        w.apart = max(gap / size, 1e-3 * worst, found[1])  # the rows are settled afterwards
        if w.apart <= CLOSE or done == most or not w.apart < 1e100:
            return done
        weights(m, w.theta, &w.q)
        factor(&w.q)
        scatter(m, w.h, w.dy)
        for i in range(m.rows):
            w.dy[i] += w.left[i]
        solve(&w.q, w.dy)
        gather(m, w.dy, w.g)
        predict(n, w.x, m.width, w.zl, w.zu, w.red, w.isl, w.isu, w.theta, w.g, w.dx, found)
        primal = 1.0 / found[0] if found[0] > 1.0 else 1.0
        dual = 1.0 / found[1] if found[1] > 1.0 else 1.0
        target = (1.0 - dual) * gap + (primal * (1.0 - dual) - dual) * found[2]
        target = (target - primal * dual * found[3]) / gap
        target = target * target * target * gap / both
        centre(
            n, target, w.zl, w.zu, w.red, w.isl, w.isu, w.theta, w.dx, w.tl, w.tu, w.h, w.g
        )
        scatter(m, w.g, w.dy)
        for i in range(m.rows):
            w.dy[i] += w.left[i]
        solve(&w.q, w.dy)
        gather(m, w.dy, w.g)
        direction(n, m.on, w.zl, w.zu, w.isl, w.isu, w.theta, w.g, w.h, w.dx, w.tl, w.tu, found)
        size = 0.9995 if gap < 1e-4 * both else 0.999
        primal = size / found[0] if found[0] > size else 1.0
        dual = size / found[1] if found[1] > size else 1.0
        move(n, primal, dual, w.x, w.zl, w.zu, w.red, w.dx, w.tl, w.tu, w.g)
        for i in range(m.rows):
            w.y[i] += dual * w.dy[i]
        worst = _residual(w)
        done += 1


cdef double _project(Workspace w) noexcept nogil:
    """Move the free part of x, weighted by its room, until the rows hold; what is left of them."""
    cdef Model* m = &w.m
    cdef int i, attempt
    cdef double worst = _residual(w), v
    if worst <= SNUG:
        return worst
    weights(m, w.theta, &w.q)
    factor(&w.q)
    for attempt in range(6):
        solve(&w.q, w.left)
        gather(m, w.left, w.g)
        for i in range(m.size):
            v = w.x[i] + w.theta[i] * w.g[i]
            w.x[i] = 0.0 if v < 0.0 else m.width[i] if v > m.width[i] else v
        worst = _residual(w)
        if worst <= SNUG:
            break
    return worst


cdef double _settle(Workspace w) noexcept nogil:
    """Put what is at a bound exactly there and project the rest; the residual left."""
    cdef Model* m = &w.m
    cdef int i
    cdef double room, worst
    for i in range(m.size):
        w.x[i] = min(max(w.x[i], 0.0), m.width[i])
        w.dx[i] = w.x[i]
        room = m.width[i] - w.x[i]
        w.theta[i] = 0.0
        if m.on[i] == 0.0 or (w.x[i] < w.zl[i] and w.x[i] <= room):
            w.x[i] = 0.0
        elif room < w.zu[i]:
            w.x[i] = m.width[i]
        else:
            w.theta[i] = room * room if room < w.x[i] else w.x[i] * w.x[i]
    worst = _project(w)
    if worst <= 1e2 * SNUG:
        return worst
    for i in range(m.size):  # not a vertex: keep what the iterations left inside
        w.x[i] = w.dx[i]
        room = m.width[i] - w.x[i]
        w.theta[i] = room * room if room < w.x[i] else w.x[i] * w.x[i]
    return _project(w)


def solve_network(net, plan, prices, Workspace w not None, start=None, int later=0):
    """Fill plan (arrays by block, as named in layout.py) and prices for a checked network.

    start: (plan, prices) of an earlier solve of the same shape, whose step `later` is step 0 now.
    """
    w.load(net)
    if start is not None:
        read_plan(&w.m, w.x, w.y, net, start[0], start[1], later)
    with nogil:
        if start is None:
            _start(w)
        else:
            _start_warm(w)
        w.iterations = _iterate(w, ITERATIONS_MAX)
        _settle(w)
    write_plan(&w.m, w.x, net, plan)
    write_prices(&w.m, w.y, net, prices)
