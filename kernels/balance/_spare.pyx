"""Where a storage charges and discharges at once for nothing, it need not."""

cimport numpy as cnp

from kernels.balance._network_columns cimport Columns, columns_of, reals

cnp.import_array()


cdef struct Flows:
    double* charge       # [R, S, T]
    double* discharge
    double* ren          # [R, T]
    double* into
    double* supply       # [R, K, T]


cdef double freed(
    const Columns* c, Flows* f, int r, int t, double power, bint taken
) noexcept nogil:
    """How much of `power` MW less can be had from sources that do not pay for being used; taken
    from them where asked."""
    cdef int k, n, i = r * c.steps + t
    cdef double left = power
    take(&f.ren[i], &left, taken)
    if c.into_price[i] + c.carbon * c.ci[i] >= 0.0:
        take(&f.into[i], &left, taken)
    for k in range(c.units):
        n = r * c.units + k
        if c.unit_cost[n] + c.carbon * c.unit_ci[n] >= 0.0:
            take(&f.supply[n * c.steps + t], &left, taken)
    return power - left


cdef inline void take(double* source, double* left, bint taken) noexcept nogil:
    cdef double by = min(left[0], source[0])
    left[0] -= by
    if taken:
        source[0] -= by


cdef void spare(const Columns* c, Flows* f, int n, int t) noexcept nogil:
    """Charge less by x and discharge less by x eta_c eta_d leave the state of charge as it is and
    free x (1 - eta_c eta_d) MW: so much less is taken from a source."""
    cdef double* charge = &f.charge[n * c.steps + t]
    cdef double* discharge = &f.discharge[n * c.steps + t]
    cdef double both = c.eta_c[n] * c.eta_d[n], less = min(charge[0], discharge[0] / both)
    cdef int r = n // c.storages
    if both < 1.0:
        less = min(less, freed(c, f, r, t, less * (1.0 - both), False) / (1.0 - both))
        freed(c, f, r, t, less * (1.0 - both), True)
    charge[0] -= less
    discharge[0] = max(discharge[0] - less * both, 0.0)
    if charge[0] < 1e-15 * less:  # what rounding left
        charge[0] = 0.0
    if discharge[0] < 1e-15 * less:
        discharge[0] = 0.0


def spare_the_storages(net, dict plan):
    """Change a plan of a checked network in place, storage by storage; its cost never rises."""
    cdef Columns c
    cdef Flows f
    cdef int n, t
    columns_of(net, &c)
    cdef Py_ssize_t some = <Py_ssize_t> c.regions * c.steps
    f.charge = reals(plan["charge"], some * c.storages, "charge")
    f.discharge = reals(plan["discharge"], some * c.storages, "discharge")
    f.ren, f.into = reals(plan["ren"], some, "ren"), reals(plan["import"], some, "import")
    f.supply = reals(plan["supply"], some * c.units, "supply")
    with nogil:
        for n in range(c.regions * c.storages):
            for t in range(c.steps):
                if f.charge[n * c.steps + t] > 0.0 and f.discharge[n * c.steps + t] > 0.0:
                    spare(&c, &f, n, t)
