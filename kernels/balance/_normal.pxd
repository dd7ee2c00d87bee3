"""The normal equations A theta A' of a network, eliminated step by step.

Unknowns of step t: bus[R], then store[J] (J storages in use), and once flex[F] at the border.

    bus t      M_t  = diag + links                     R x R, inverted
    store t    S_t  = diag - w M_t^-1 w - e S_{t-1}^-1 e   J x J, inverted; e ties t - 1 to t
    flex       what is left of the border              F x F, inverted

Every column of A has at most two entries, so each block is an M-matrix: elimination without
pivoting is stable, and a row that nothing touches is skipped. O(T (R^3 + J^3 + J^2 F)).
"""


cdef extern from *:
    """
    typedef double *__restrict gl_row;
    """
    ctypedef double* column "gl_row"


cdef extern from "_dense.h":
    void combine "gl_combine" (
        int n, double* by, int stride, double* rows, int wide, double sign, double* to
    ) noexcept nogil
    void pick "gl_pick" (
        int n, double by, double* row, int* at, int straight, double* w, double* out
    ) noexcept nogil
    void pick_off "gl_pick_off" (
        int n, double by, double* row, int* at, int straight, double* w, double* out
    ) noexcept nogil


cdef struct Normal:
    int steps, regions, stores, flexes
    bint one_store, one_flex  # whether storage j, deferrable load f is of region j, f
    int* store_region   # [J]
    int* flex_region    # [F]
    double* bus         # [T][R][R] in: M_t, out: its inverse; rows padded to 4, as all matrices
    double* store       # [T][J][J] in: diagonals, out: inverse of S_t
    double* tie         # [T][J] entry of (store t, store t+1)
    double* bus_store   # [T][J] entry of (bus t, store t)
    double* bus_flex    # [T][F] entry of (bus t, flex)
    double* border      # [T][J][F] S_t^-1 x what ties store t to flex
    double* flex        # [F][F] in: diagonal, out: inverse
    double* pass_on     # [J][F] scratch
    double* scratch     # [padded(max(R, J, F))]
    double* spare       # as long
    double* kept_nu     # [J]
    double* all_but_one # ones on both sides of a 0, to which it points
    double* one         # zeros on both sides of a 1


cdef inline int padded(int n) noexcept nogil:
    """Length of a row of n: a multiple of 4, so that loops over it need no remainder."""
    return (n + 3) // 4 * 4


cdef inline void add(int n, double by, column row, column to) noexcept nogil:
    """to += by x row; n is a multiple of 4."""
    cdef int c
    for c in range(0, n, 4):
        to[c] += by * row[c]
        to[c + 1] += by * row[c + 1]
        to[c + 2] += by * row[c + 2]
        to[c + 3] += by * row[c + 3]


cdef inline void replace_pivot(
    int n, double kept, double by, column keep, column head, column row
) noexcept nogil:
    """row = row with its pivot column out, + by x head, times kept."""
    cdef int c
    for c in range(0, n, 4):
        row[c] = kept * (row[c] * keep[c]) + by * head[c]
        row[c + 1] = kept * (row[c + 1] * keep[c + 1]) + by * head[c + 1]
        row[c + 2] = kept * (row[c + 2] * keep[c + 2]) + by * head[c + 2]
        row[c + 3] = kept * (row[c + 3] * keep[c + 3]) + by * head[c + 3]


cdef inline void invert(Normal* m, double* a, int n) noexcept nogil:
    """A symmetric M-matrix in place by Gauss-Jordan; an empty row stays out (zeros).

    The pivot's column is replaced within the rows' own vectors: a single number stored there would
    stall each vector that is loaded next.
    """
    cdef int i, k, c, wide = padded(n)
    cdef double pivot
    cdef double* row
    cdef double* head
    cdef double* keep
    for k in range(n):
        head = a + k * wide
        keep = m.all_but_one - k
        pivot = head[k]
        if not pivot > 1e-280:
            for c in range(n):
                head[c] = 0.0
                a[c * wide + k] = 0.0
            continue
        pivot = 1.0 / pivot
        replace_pivot(wide, pivot, pivot, keep, m.one - k, head)
        row = a
        for i in range(k):
            replace_pivot(wide, 1.0, -row[k], keep, head, row)
            row += wide
        row += wide
        for i in range(k + 1, n):
            replace_pivot(wide, 1.0, -row[k], keep, head, row)
            row += wide


cdef inline void times(double* a, double* v, double* out, int n) noexcept nogil:
    """out = a v for a symmetric a; out holds padded(n)."""
    cdef int i, wide = padded(n)
    for i in range(wide):
        out[i] = 0.0
    combine(n, v, 1, a, wide, 1.0, out)


cdef inline void factor(Normal* m) noexcept nogil:
    """Eliminate bus, store and flex in this order; the blocks become what solve needs."""
    cdef int t
    for t in range(m.steps):
        invert(m, m.bus + t * m.regions * padded(m.regions), m.regions)
        _fold_bus(m, t)
        invert(m, m.store + t * m.stores * padded(m.stores), m.stores)
        if m.flexes:
            _fold_flex(m, t)
    invert(m, m.flex, m.flexes)


cdef inline void _fold_bus(Normal* m, int t) noexcept nogil:
    """store t -= w M_t^-1 w + e S_{t-1}^-1 e."""
    cdef int j, J = m.stores, wide = padded(J)
    cdef double* bus
    cdef double* tie = m.tie + (t - 1) * J
    cdef double* w = m.bus_store + t * J
    cdef column store = m.store + t * J * wide
    cdef column before = m.store + (t - 1) * J * wide
    for j in range(J):
        bus = m.bus + (t * m.regions + m.store_region[j]) * padded(m.regions)
        pick_off(J, w[j], bus, m.store_region, m.one_store, w, store + j * wide)
        if t:
            pick_off(J, tie[j], before + j * wide, NULL, True, tie, store + j * wide)


cdef inline void _fold_flex(Normal* m, int t) noexcept nogil:
    """border = S_t^-1 x (what ties store t to flex), and what both leave of the flex block."""
    cdef int j, f, J = m.stores, F = m.flexes, wide = padded(F), broad = padded(J)
    cdef double* bus
    cdef double* w = m.bus_store + t * J
    cdef double* wf = m.bus_flex + t * F
    cdef double* tie = m.tie + (t - 1) * J
    cdef double* b = m.pass_on
    cdef double* border = m.border + t * J * wide
    cdef double* before = m.border + (t - 1) * J * wide
    for j in range(J):
        bus = m.bus + (t * m.regions + m.store_region[j]) * padded(m.regions)
        pick(F, -w[j], bus, m.flex_region, m.one_flex, wf, b + j * wide)
        if t:
            add(wide, -tie[j], before + j * wide, b + j * wide)
    for j in range(J):
        for f in range(wide):
            border[j * wide + f] = 0.0
        combine(J, m.store + (t * J + j) * broad, 1, b, wide, 1.0, border + j * wide)
    for f in range(F):
        bus = m.bus + (t * m.regions + m.flex_region[f]) * padded(m.regions)
        pick_off(F, wf[f], bus, m.flex_region, m.one_flex, wf, m.flex + f * wide)
    for f in range(F):
        combine(J, b + f, wide, border, wide, -1.0, m.flex + f * wide)


cdef inline void solve(Normal* m, double* y) noexcept nogil:
    """y = [bus T,R | store T,J | flex F] in place."""
    cdef int t, j, f, R = m.regions, J = m.stores, F = m.flexes, T = m.steps, wide = padded(F)
    cdef double s
    cdef double* mu = y + T * (R + J)
    cdef double* v = m.scratch
    cdef double* pi
    cdef double* nu
    cdef double* w
    cdef double* wf
    cdef double* border
    for t in range(T):
        pi, nu = y + t * R, y + T * R + t * J
        w, wf, border = m.bus_store + t * J, m.bus_flex + t * F, m.border + t * J * wide
        times(m.bus + t * R * padded(R), pi, v, R)
        for j in range(R):
            pi[j] = v[j]
        for j in range(J):
            nu[j] -= w[j] * pi[m.store_region[j]]
        for f in range(F):
            mu[f] -= wf[f] * pi[m.flex_region[f]]
        if t:
            for j in range(J):
                nu[j] -= (m.tie + (t - 1) * J)[j] * (nu - J)[j]
        for j in range(J):
            s = nu[j]
            for f in range(F):
                mu[f] -= border[j * wide + f] * s
        times(m.store + t * J * padded(J), nu, v, J)
        for j in range(J):
            nu[j] = v[j]
    times(m.flex, mu, v, F)
    for f in range(F):
        mu[f] = v[f]
    for t in range(T - 1, -1, -1):
        pi, nu = y + t * R, y + T * R + t * J
        w, wf, border = m.bus_store + t * J, m.bus_flex + t * F, m.border + t * J * wide
        if t < T - 1:
            for j in range(J):
                (nu + J)[j] *= (m.tie + t * J)[j]
            times(m.store + t * J * padded(J), nu + J, v, J)
            for j in range(J):
                (nu + J)[j] = m.kept_nu[j]
                nu[j] -= v[j]
        for j in range(J):
            s = 0.0
            for f in range(F):
                s = s + border[j * wide + f] * mu[f]
            nu[j] -= s
            m.kept_nu[j] = nu[j]
        for j in range(R):
            v[j] = 0.0
        for j in range(J):
            v[m.store_region[j]] += w[j] * nu[j]
        for f in range(F):
            v[m.flex_region[f]] += wf[f] * mu[f]
        times(m.bus + t * R * padded(R), v, m.spare, R)
        for j in range(R):
            pi[j] -= m.spare[j]
