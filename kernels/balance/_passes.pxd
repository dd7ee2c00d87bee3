"""The interior point's passes over its variables: each reads and writes its columns once.

Variables x in [0, w] with reduced cost red = c - A'y and multipliers zl, zu of the two bounds. A
variable of no width has on = 0: x, zl, zu, theta stay 0. Lengths are multiples of LANES; sums and
maxima run in LANES lanes in a fixed order, so that the loops are vectors and yet the same on every
machine.
"""

cdef enum:
    LANES = 64

from libc.math cimport fabs

cdef extern from *:
    """
    typedef double *__restrict gl_column;
    /* keeps theta, and with it the normal equations, within reach */
    #define GL_PROXIMAL 1e-8
    #define GL_LEAST 1e-15
    """
    ctypedef double* gl_column
    const double PROXIMAL "GL_PROXIMAL"
    const double LEAST "GL_LEAST"


cdef inline double most(double* lane) noexcept nogil:
    cdef int j
    cdef double found = lane[0]
    for j in range(LANES):
        found = lane[j] if lane[j] > found else found
    return found


cdef inline double total(double* lane) noexcept nogil:
    cdef int j
    cdef double found = 0.0
    for j in range(LANES):
        found += lane[j]
    return found


cdef inline void _weigh(
    gl_column x, gl_column w, gl_column on, gl_column zl, gl_column zu, gl_column red,
    gl_column c, gl_column isl, gl_column isu, gl_column theta, gl_column out, gl_column sums,
    gl_column worst, gl_column spent,
) noexcept nogil:
    cdef int j
    cdef double off, su, sl, d
    for j in range(LANES):
        off = 1.0 - on[j]
        su = w[j] - x[j]
        su = su if su > LEAST else LEAST  # rounding may close the gap to a limit
        sl = x[j] if x[j] > LEAST else LEAST
        isl[j] = on[j] / (sl + off)
        isu[j] = on[j] / (su + off)
        d = on[j] / (zl[j] * isl[j] + zu[j] * isu[j] + off + PROXIMAL)
        theta[j] = d
        out[j] = d * red[j]
        sums[j] += x[j] * zl[j] + su * zu[j]
        spent[j] += x[j] * fabs(c[j])
        d = on[j] * fabs(red[j] - zl[j] + zu[j])
        worst[j] = d if d > worst[j] else worst[j]


cdef inline void weigh(
    int n, double* x, double* w, double* on, double* zl, double* zu, double* red, double* c,
    double* isl, double* isu, double* theta, double* out, double* found,
) noexcept nogil:
    """theta, out = theta x red. found = (sum of x zl + (w - x) zu, largest dual residual, cost)."""
    cdef int i, k
    cdef double sums[LANES]
    cdef double worst[LANES]
    cdef double spent[LANES]
    for i in range(LANES):
        sums[i] = worst[i] = spent[i] = 0.0
    for k in range(n // LANES):
        i = k * LANES
        _weigh(
            x + i, w + i, on + i, zl + i, zu + i, red + i, c + i, isl + i, isu + i, theta + i,
            out + i, sums, worst, spent,
        )
    found[0], found[1], found[2] = total(sums), most(worst), total(spent)


cdef inline void _predict(
    gl_column x, gl_column w, gl_column zl, gl_column zu, gl_column red, gl_column isl,
    gl_column isu, gl_column theta, gl_column g, gl_column dx, gl_column down, gl_column up,
    gl_column one, gl_column two,
) noexcept nogil:
    cdef int j
    cdef double q, p, d, xz, uz
    for j in range(LANES):
        d = theta[j] * (g[j] - red[j])
        dx[j] = d
        q = d * isl[j]
        p = -d * isu[j]
        xz = x[j] * zl[j] * q
        uz = (w[j] - x[j]) * zu[j] * p
        one[j] += xz + uz
        two[j] += xz * q + uz * p
        up[j] = q if q > up[j] else up[j]
        up[j] = p if p > up[j] else up[j]
        down[j] = -q if -q > down[j] else down[j]
        down[j] = -p if -p > down[j] else down[j]


cdef inline void predict(
    int n, double* x, double* w, double* zl, double* zu, double* red, double* isl, double* isu,
    double* theta, double* g, double* dx, double* found,
) noexcept nogil:
    """dx of the affine step. found = (most of -dx / slack, of -dz / z, sum of xz q, of xz q q)."""
    cdef int i, k
    cdef double down[LANES]
    cdef double up[LANES]
    cdef double one[LANES]
    cdef double two[LANES]
    for i in range(LANES):
        down[i] = up[i] = one[i] = two[i] = 0.0
    for k in range(n // LANES):
        i = k * LANES
        _predict(
            x + i, w + i, zl + i, zu + i, red + i, isl + i, isu + i, theta + i, g + i, dx + i,
            down, up, one, two,
        )
    found[0], found[1] = most(down), 1.0 + most(up)
    found[2], found[3] = total(one), total(two)


cdef inline void centre(
    int n, double target, gl_column zl, gl_column zu, gl_column red, gl_column isl,
    gl_column isu, gl_column theta, gl_column dx, gl_column tl, gl_column tu, gl_column h,
    gl_column out,
) noexcept nogil:
    """Right side of the corrected step: complementarity towards target, second order included."""
    cdef int i
    cdef double q, p, l, u
    for i in range(n):
        q = dx[i] * isl[i]
        p = -dx[i] * isu[i]
        l = target * isl[i] - zl[i] * (1.0 - q - q * q)
        u = target * isu[i] - zu[i] * (1.0 - p - p * p)
        tl[i] = l
        tu[i] = u
        l = red[i] - zl[i] + zu[i] - l + u
        h[i] = l
        out[i] = theta[i] * l


cdef inline void _direction(
    gl_column on, gl_column zl, gl_column zu, gl_column isl, gl_column isu, gl_column theta,
    gl_column g, gl_column h, gl_column dx, gl_column tl, gl_column tu, gl_column slack,
    gl_column dual,
) noexcept nogil:
    cdef int j
    cdef double d, off, q, p
    for j in range(LANES):
        off = 1.0 - on[j]
        d = theta[j] * (g[j] - h[j])
        dx[j] = d
        q = d * isl[j]
        p = d * isu[j]
        tl[j] -= zl[j] * q
        tu[j] += zu[j] * p
        slack[j] = -q if -q > slack[j] else slack[j]
        slack[j] = p if p > slack[j] else slack[j]
        q = -tl[j] / (zl[j] + off)
        p = -tu[j] / (zu[j] + off)
        dual[j] = q if q > dual[j] else dual[j]
        dual[j] = p if p > dual[j] else dual[j]


cdef inline void direction(
    int n, double* on, double* zl, double* zu, double* isl, double* isu, double* theta, double* g,
    double* h, double* dx, double* tl, double* tu, double* found,
) noexcept nogil:
    """dx, and dz in tl and tu. found = (most of -dx / slack, most of -dz / z)."""
    cdef int i, k
    cdef double slack[LANES]
    cdef double dual[LANES]
    for i in range(LANES):
        slack[i] = dual[i] = 0.0
    for k in range(n // LANES):
        i = k * LANES
        _direction(
            on + i, zl + i, zu + i, isl + i, isu + i, theta + i, g + i, h + i, dx + i, tl + i,
            tu + i, slack, dual,
        )
    found[0], found[1] = most(slack), most(dual)


cdef inline void move(
    int n, double primal, double dual, gl_column x, gl_column zl, gl_column zu, gl_column red,
    gl_column dx, gl_column tl, gl_column tu, gl_column g,
) noexcept nogil:
    cdef int i
    for i in range(n):
        x[i] += primal * dx[i]
        zl[i] += dual * tl[i]
        zu[i] += dual * tu[i]
        red[i] -= dual * g[i]
