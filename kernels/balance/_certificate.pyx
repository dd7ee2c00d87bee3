"""The compiled twin of sites_certificate.py: bound, objective and residuals, row by row.

Knows the columns and nothing of any solver. The order of the sums is its own: its figures agree
with the twin's to rounding.
"""

from libc.math cimport fabs, pow
from libc.stdint cimport uint8_t

cimport numpy as cnp

from kernels.balance._sites_columns cimport *

from kernels.balance.columns import Status
from kernels.balance.sites_columns import GAP_MAX, SEEN, UNMET_MIN

cnp.import_array()

cdef uint8_t FLEX_UNMET = Status.FLEX_UNMET.value
cdef uint8_t SHED = Status.SHED.value
cdef uint8_t BAD_INPUT = Status.BAD_INPUT.value
cdef uint8_t BURN = Status.BURN.value
cdef uint8_t GAP_LOOSE = Status.GAP_LOOSE.value
cdef double GAP_LARGEST = GAP_MAX, LEAST_SEEN = SEEN, ROUNDING = UNMET_MIN


cdef inline double box(double cost, double upper) noexcept nogil:
    """The least of cost x over 0 <= x <= upper."""
    return cost * upper if cost < 0 else 0.0


cdef inline double most(double a, double b) noexcept nogil:
    return a if a > b else b


cdef inline double outside(double x, double upper) noexcept nogil:
    return most(-x, x - upper)


cdef struct Sums:
    double bound, cost, size, residual
    double largest    # MW or MWh: what residuals are measured against
    uint8_t status


cdef inline void pay(Sums* sums, double cost) noexcept nogil:
    sums.cost += cost
    sums.size += fabs(cost)


cdef void storage(
    double** g, double** f, const Shape* s, Py_ssize_t row, Py_ssize_t i, Sums* sums
) noexcept nogil:
    cdef Py_ssize_t t, T = s.steps, n = row * s.storages + i
    cdef double hours = g[HOURS][row], eta_c = g[ETA_C][n], eta_d = g[ETA_D][n]
    cdef double retain = g[RETAIN][n], high = g[SOC_MAX][n], low = g[SOC_MIN][n]
    cdef double soc = most(g[SOC0][n], low), price, later, worst = 0.0, charge, discharge, cost
    cdef const double* bus = f[BUS_PRICE] + row * T
    cdef const double* value = f[STORAGE_VALUE] + n * T
    cdef const double* end = f[SOC_MWH] + n * T
    if soc > high:
        soc = high
    if low > soc * pow(retain, T):
        low = soc * pow(retain, T)
    sums.bound -= value[0] * retain * soc
    for t in range(T):
        price = bus[t]
        later = retain * value[t + 1] if t + 1 < T else g[TERMINAL_VALUE][n]
        sums.bound += hours * box(price - eta_c * value[t], g[CHARGE_MAX][n])
        cost = g[WEAR][n] - price + value[t] / eta_d
        sums.bound += hours * box(cost, g[DISCHARGE_MAX][n])
        cost = value[t] - later
        sums.bound += cost * low if cost > 0 else cost * high
        charge, discharge = f[CHARGE_MW][n * T + t], f[DISCHARGE_MW][n * T + t]
        soc = retain * soc + hours * (eta_c * charge - discharge / eta_d)
        worst = most(worst, fabs(end[t] - soc))
        worst = most(worst, most(low - end[t], end[t] - high))
        worst = most(worst, outside(charge, g[CHARGE_MAX][n]))
        worst = most(worst, outside(discharge, g[DISCHARGE_MAX][n]))
        soc = end[t]
        pay(sums, hours * g[WEAR][n] * discharge)
        if charge > LEAST_SEEN * g[CHARGE_MAX][n] and discharge > LEAST_SEEN * g[DISCHARGE_MAX][n]:
            sums.status |= BURN
    sums.largest = most(sums.largest, most(high, most(g[CHARGE_MAX][n], g[DISCHARGE_MAX][n])))
    pay(sums, -g[TERMINAL_VALUE][n] * soc)
    sums.residual = most(sums.residual, worst)


cdef void requirement(
    double** g, double** f, const Shape* s, Py_ssize_t row, Py_ssize_t i, Sums* sums
) noexcept nogil:
    cdef Py_ssize_t t, T = s.steps, n = row * s.flexes + i
    cdef double hours = g[HOURS][row], voll = g[VOLL][row], mu = f[MU][n], served = 0.0
    cdef double asked = g[FLEX_ENERGY][n], flex
    cdef const double* bus = f[BUS_PRICE] + row * T
    for t in range(T):
        flex = f[FLEX_MW][n * T + t]
        sums.bound += hours * box(bus[t] - mu, g[FLEX_MAX][n * T + t])
        sums.residual = most(sums.residual, outside(flex, g[FLEX_MAX][n * T + t]))
        served += hours * flex
    sums.bound += mu * asked + box(voll - mu, asked)
    if fabs(asked - served) <= ROUNDING * asked:
        sums.residual = most(sums.residual, fabs(asked - served))
    else:
        sums.residual = most(sums.residual, served - asked)
        pay(sums, voll * most(asked - served, 0.0))
    sums.largest = most(sums.largest, asked)
    if asked - served > LEAST_SEEN * asked:
        sums.status |= FLEX_UNMET


cdef void step(
    double** g, double** f, const Shape* s, Py_ssize_t row, Py_ssize_t t, Sums* sums
) noexcept nogil:
    cdef Py_ssize_t T = s.steps, at = row * T + t, i, n
    cdef double hours = g[HOURS][row], bus = f[BUS_PRICE][at], carbon = g[CARBON_PRICE][row]
    cdef double comes, cost, worst, bound
    cdef double load = g[LOAD][at], voll = g[VOLL][row]
    cdef double import_max = kept_free(g[IMPORT_MAX][at], g[RESERVE_UP][at])
    cdef double export_max = kept_free(g[EXPORT_MAX][at], g[RESERVE_DOWN][at])
    comes = f[IMPORT_MW][at] - f[EXPORT_MW][at] + f[REN_MW][at] + f[SHED_MW][at] - load
    worst = outside(f[IMPORT_MW][at], import_max)
    worst = most(worst, outside(f[EXPORT_MW][at], export_max))
    worst = most(worst, outside(f[REN_MW][at], g[REN_AVAIL][at]))
    worst = most(worst, outside(f[SHED_MW][at], load))
    cost = g[IMPORT_PRICE][at] + carbon * g[GRID_CI][at]
    bound = bus * load + box(cost - bus, import_max)
    bound += box(bus - g[EXPORT_PRICE][at], export_max)
    bound += box(-bus, g[REN_AVAIL][at]) + box(voll - bus, load)
    pay(sums, hours * cost * f[IMPORT_MW][at])
    pay(sums, -hours * g[EXPORT_PRICE][at] * f[EXPORT_MW][at])
    pay(sums, hours * voll * f[SHED_MW][at])
    for i in range(s.units):
        n = row * s.units + i
        cost = g[SUPPLY_COST][n] + carbon * g[SUPPLY_CI][n]
        bound += box(cost - bus, g[SUPPLY_CAP][n])
        comes += f[SUPPLY_MW][n * T + t]
        worst = most(worst, outside(f[SUPPLY_MW][n * T + t], g[SUPPLY_CAP][n]))
        pay(sums, hours * cost * f[SUPPLY_MW][n * T + t])
    for i in range(s.storages):
        n = (row * s.storages + i) * T + t
        comes += f[DISCHARGE_MW][n] - f[CHARGE_MW][n]
    for i in range(s.flexes):
        comes -= f[FLEX_MW][(row * s.flexes + i) * T + t]
    if f[SHED_MW][at] > LEAST_SEEN * (load + export_max):
        sums.status |= SHED
    sums.largest = most(sums.largest, load + f[EXPORT_MW][at])
    sums.bound += hours * bound
    sums.residual = most(sums.residual, most(worst, fabs(comes)))


def prove_rows(
    tuple given, tuple found, uint8_t[::1] status, tuple shape, Py_ssize_t first, Py_ssize_t last
):
    """Fill objective, lower_bound, gap_rel, max_residual of rows first to last; add to status.

    Rows left out (BAD_INPUT) have no proof. Returns how many are GAP_LOOSE.
    """
    cdef Shape s = shape_of(shape)
    cdef double* g[GIVEN]
    cdef double* f[FOUND]
    cdef Py_ssize_t row, t, i, loose = 0
    cdef Sums sums
    assert 0 <= first <= last <= s.sites == len(status)
    pointers(given, g, GIVEN, &s, True)
    pointers(found, f, FOUND, &s, False)
    with nogil:
        for row in range(first, last):
            if status[row] & BAD_INPUT:
                continue
            sums.bound = sums.cost = sums.size = sums.residual = 0.0
            sums.largest, sums.status = 1.0, 0
            for t in range(s.steps):
                step(g, f, &s, row, t, &sums)
            for i in range(s.storages):
                storage(g, f, &s, row, i, &sums)
            for i in range(s.flexes):
                requirement(g, f, &s, row, i, &sums)
            sums.size = most(1.0, sums.size)
            f[OBJECTIVE][row], f[LOWER_BOUND][row] = sums.cost, sums.bound
            f[GAP_REL][row] = (sums.cost - sums.bound) / sums.size
            f[MAX_RESIDUAL][row] = sums.residual
            if not (
                fabs(f[GAP_REL][row]) <= GAP_LARGEST
                and sums.residual <= GAP_LARGEST * sums.largest
            ):
                sums.status |= GAP_LOOSE
                loose += 1
            status[row] |= sums.status
    return loose
