"""The interior point of a network: Mehrotra's predictor-corrector on the structure of the model.

    minimise c.x   subject to  A x = b,  0 <= x <= w

Each iteration factors A theta A' step by step (_normal.pxd) and passes over the variables five
times (_passes.pxd). Then the plan is settled: what is at a bound is put exactly there, and the
rest is projected on the rows; what lies in rows that do not hold then is let go again. Where the
settled plan's gap is still too wide, the iterations go on from where they were. Nothing here is a
proof: that is the certificate's.

Mehrotra, S. (1992), On the implementation of a primal-dual interior point method.
"""

cimport numpy as cnp
from libc.stdlib cimport free, malloc
from libc.string cimport memset

from kernels.balance._load cimport can_move, fill, has_window
from kernels.balance._model cimport Model, gather, scatter, weights
from kernels.balance._network_columns cimport Columns, columns_of
from kernels.balance._normal cimport Normal, factor, padded, solve
from kernels.balance._passes cimport LANES, centre, direction, move, predict, weigh
from kernels.balance._plan cimport read_plan, write_plan, write_prices

cnp.import_array()

# of complementarity and residuals, in the model's units
cdef double NEAR = 5e-7        # a settled plan may be as good as proven from here
cdef double NEARER = 0.04      # of what was asked: what is asked next, where it is not
cdef double CLOSE = 1e-9       # as near as the iterations go

cdef double PROVEN = 3e-8      # of the cost: the gap that a settled plan may have
cdef double SNUG = 1e-12       # of the rows after settling, in the model's units
cdef double STALLED = 0.3      # of a residual: what has to be gone after another projection
cdef int RELEASES = 4          # times that what was put at a bound may be let go again
cdef double WARM_ROOM = 0.1    # of its width: how far from its bounds a variable starts
cdef double WARM_FAR = 0.1     # at most, in units of power
cdef double WARM_Z = 0.1       # least multiplier to start with, in units of cost
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
    cdef double spent            # sum of what the plan's parts cost, the unit of its gap
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
        cdef Columns c
        cdef int J = 0, F = 0, r
        columns_of(net, &c)
        for r in range(c.regions * c.storages):
            J += can_move(&c, r)
        for r in range(c.regions):
            F += has_window(&c, r)
        self.lay_out(c.steps, c.regions, c.units, J, F, c.links)
        fill(&self.m, &c)
        self.q.one_store, self.q.one_flex = J == c.regions, F == c.regions
        for r in range(J):
            self.q.one_store = self.q.one_store and self.m.store_region[r] == r
        return 0


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


cdef int _iterate(Workspace w, double close, int most) noexcept nogil:
    """Iterations made until w.apart, how near they came, is close."""
    cdef Model* m = &w.m
    cdef int i, n = m.size, done = 0
    cdef double found[4]
    cdef double both = 0.0, gap, target, primal, dual, worst, size
    cdef double unit = 1.0 / (m.mw * m.money)  # one of currency
    for i in range(n):
        both += 2.0 * m.on[i]
    if both == 0.0:
        w.apart = w.spent = 0.0
        return 0
    worst = _residual(w)
    while True:
        weigh(n, w.x, m.width, m.on, w.zl, w.zu, w.red, m.cost, w.isl, w.isu, w.theta, w.h,
              found)
        gap, size = found[0], found[2] + (1.0 if unit > 1.0 else unit)
        w.spent = size
        w.apart = max(gap / size, 1e-3 * worst, found[1])  # the rows are settled afterwards
        if w.apart <= close or done == most or not w.apart < 1e100:
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
    cdef double worst = _residual(w), before, v
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
        before, worst = worst, _residual(w)
        if worst <= SNUG or worst > STALLED * before:
            break
    return worst


cdef int _release(Workspace w) noexcept nogil:
    """What was put at a bound gets its room back where the rows do not hold; how many there are."""
    cdef Model* m = &w.m
    cdef int i, released = 0
    cdef double v, room
    for i in range(m.rows):
        v = w.left[i] if w.left[i] > 0.0 else -w.left[i]
        w.left[i] = v if v > SNUG else 0.0
    gather(m, w.left, w.g)
    for i in range(m.size):
        if w.g[i] != 0.0 and w.theta[i] == 0.0 and w.dx[i] > 0.0 and w.dx[i] < m.width[i]:
            w.x[i] = w.dx[i]
            room = m.width[i] - w.x[i]
            w.theta[i] = room * room if room < w.x[i] else w.x[i] * w.x[i]
            released += 1
    return released


cdef double _settle(Workspace w) noexcept nogil:
    """Put what is at a bound exactly there and project the rest; the residual left. dx keeps x."""
    cdef Model* m = &w.m
    cdef int i, attempt
    cdef double room, worst = 0.0
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
    for attempt in range(RELEASES):
        worst = _project(w)
        if worst <= 1e2 * SNUG or not _release(w):
            break
    return worst


cdef double _stay_inside(Workspace w) noexcept nogil:
    """Where the plan is no vertex: what the iterations left, projected; the residual left."""
    cdef Model* m = &w.m
    cdef int i
    cdef double room
    for i in range(m.size):
        w.x[i] = w.dx[i]
        room = m.width[i] - w.x[i]
        w.theta[i] = room * room if room < w.x[i] else w.x[i] * w.x[i]
    return _project(w)


cdef double _gap(Workspace w) noexcept nogil:
    """What the certificate will find between the cost of x and the bound of y, rows aside."""
    cdef Model* m = &w.m
    cdef int i
    cdef double c, s = 0.0
    for i in range(m.size):
        c = w.red[i]
        s += m.on[i] * c * (w.x[i] if c > 0.0 else w.x[i] - m.width[i])
    return s


cdef void _optimise(Workspace w) noexcept nogil:
    """Iterate until a settled plan is as good as proven; where it is not, go nearer."""
    cdef Model* m = &w.m
    cdef int i
    cdef double near = NEAR
    w.iterations = 0
    while True:
        w.iterations += _iterate(w, near, ITERATIONS_MAX - w.iterations)
        if _settle(w) <= 1e2 * SNUG and _gap(w) <= PROVEN * w.spent:
            return
        if near <= CLOSE or not w.apart <= near:
            break
        near = max(CLOSE, near * NEARER)
        for i in range(m.size):
            w.x[i] = w.dx[i]
    _stay_inside(w)


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
        _optimise(w)
    write_plan(&w.m, w.x, net, plan)
    write_prices(&w.m, w.y, net, prices)
