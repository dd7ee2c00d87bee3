"""The compiled twin of certificate.py and invariants.py: what a plan costs, keeps and is proven by.

Knows the columns and nothing of any solver. The order of the sums is its own: its figures agree
with the twins' to rounding.
"""

from typing import NamedTuple

import numpy as np

cimport numpy as cnp
from libc.math cimport fabs

from kernels.balance._network_columns cimport Columns, columns_of, reals

from kernels.balance.columns import Status

cnp.import_array()

cdef int SHED = Status.SHED.value, BURN = Status.BURN.value, UNMET = Status.FLEX_UNMET.value
cdef double SEEN = 1e-6  # MW or MWh: less of shedding, burning or unmet energy is rounding


class Proof(NamedTuple):
    objective: float     # currency over the horizon
    scale: float         # sum of its terms without their signs
    lower_bound: float   # no plan costs less
    residual: float      # largest violation of a row, MW or MWh
    largest: float       # load or storage, at least 1: what a residual is measured against
    is_within: bool      # whether every variable lies in its box, to the last bit
    seen: list           # [R] of Status values: SHED, BURN, FLEX_UNMET
    served_mw: object    # [R, T] that reaches each bus: local sources, storage, links


cdef struct Found:       # a plan's blocks and its prices
    double* supply
    double* into
    double* out
    double* ren
    double* charge
    double* discharge
    double* soc
    double* flex
    double* shed
    double* flow
    double* unmet
    double* bus
    double* value
    double* mu


cdef struct Sums:
    double cost, size, bound, residual, largest
    bint within


cdef inline double box(double cost, double upper) noexcept nogil:
    """The least of cost x over 0 <= x <= upper."""
    return cost * upper if cost < 0.0 else 0.0


cdef inline void take(Sums* sums, double cost, double x, double upper) noexcept nogil:
    """Pay for x, and look at its limits."""
    sums.cost += cost * x
    sums.size += fabs(cost * x)
    sums.within = sums.within and 0.0 <= x <= upper


cdef inline void keep(Sums* sums, double off) noexcept nogil:
    """A row that is off by so much; one that is no number stays so."""
    off = fabs(off)
    if off > sums.residual or off != off:
        sums.residual = off


cdef void links(
    const Columns* c, const Found* f, double* served, double* sent, Sums* sums
) noexcept nogil:
    cdef Py_ssize_t n, t, T = c.steps, a, b
    cdef double cost, arrives, upper, x
    for n in range(c.links):
        a, b = c.link_from[n] * T, c.link_to[n] * T
        cost, arrives, upper = c.dt * c.tariff[n], 1.0 - c.loss[n], c.link_cap[n]
        for t in range(T):
            x = f.flow[n * T + t]
            take(sums, cost, x, upper)
            sent[a + t] += x
            served[b + t] += arrives * x
            sums.bound += box(cost + c.dt * (f.bus[a + t] - arrives * f.bus[b + t]), upper)


cdef void storage(
    const Columns* c, const Found* f, Py_ssize_t n, double* served, double* sent, Sums* sums
) noexcept nogil:
    """Storage n = (region, slot): its rows, limits, cost and share of the bound."""
    cdef Py_ssize_t t, T = c.steps, r = n // c.storages
    cdef double into = c.dt * c.eta_c[n], out = c.dt / c.eta_d[n], kept = c.retain[n]
    cdef double before = c.soc0[n], low = c.low[n], high = c.high[n], soc, price, later, pay
    cdef const double* bus = f.bus + r * T
    cdef const double* value = f.value + n * T
    sums.bound -= value[0] * kept * before
    if high > sums.largest:
        sums.largest = high
    for t in range(T):
        soc = f.soc[n * T + t]
        keep(
            sums,
            soc - kept * before - into * f.charge[n * T + t] + out * f.discharge[n * T + t],
        )
        take(sums, 0.0, f.charge[n * T + t], c.charge[n])
        take(sums, c.dt * c.wear[n], f.discharge[n * T + t], c.discharge[n])
        sums.within = sums.within and low <= soc <= high
        served[r * T + t] += f.discharge[n * T + t]
        sent[r * T + t] += f.charge[n * T + t]
        price = c.dt * bus[t]
        sums.bound += box(price - into * value[t], c.charge[n])
        sums.bound += box(c.dt * c.wear[n] - price + out * value[t], c.discharge[n])
        later = -kept * value[t + 1] if t < T - 1 else -c.worth[n]
        price = value[t] + later  # of stored energy: in its own row +1, in the next -kept
        sums.bound += price * (low if price > 0.0 else high)
        before = soc
    pay = -c.worth[n] * before
    sums.cost += pay
    sums.size += fabs(pay)


cdef void region(
    const Columns* c, const Found* f, Py_ssize_t r, double* served, const double* sent, Sums* sums
) noexcept nogil:
    """Buses, sources and deferrable load of region r; storages and links are in served and sent."""
    cdef Py_ssize_t t, k, i, n, T = c.steps
    cdef double bus, price, hourly, flexed = 0.0, mu = f.mu[r], dt = c.dt, bound, cost
    bound = mu * c.energy[r] + box(c.voll - mu, c.energy[r])
    for k in range(c.units):
        n = r * c.units + k
        cost = dt * (c.unit_cost[n] + c.carbon * c.unit_ci[n])
        for t in range(T):
            served[r * T + t] += f.supply[n * T + t]
            take(sums, cost, f.supply[n * T + t], c.cap[n])
            bound += box(cost - dt * f.bus[r * T + t], c.cap[n])
    for i in range(r * T, r * T + T):
        bus = dt * f.bus[i]
        price = dt * (c.into_price[i] + c.carbon * c.ci[i])
        take(sums, price, f.into[i], c.into[i])
        take(sums, -dt * c.out_price[i], f.out[i], c.out[i])
        take(sums, dt * c.voll, f.shed[i], c.load[i])
        take(sums, 0.0, f.ren[i], c.ren[i])
        take(sums, 0.0, f.flex[i], c.flex[i])
        bound += bus * c.load[i] + box(price - bus, c.into[i])
        bound += box(bus - dt * c.out_price[i], c.out[i]) + box(-bus, c.ren[i])
        bound += box(dt * c.voll - bus, c.load[i]) + box(bus - dt * mu, c.flex[i])
        served[i] += f.into[i] + f.ren[i]
        keep(sums, served[i] + f.shed[i] - f.out[i] - f.flex[i] - sent[i] - c.load[i])
        flexed += f.flex[i]
        if c.load[i] > sums.largest:
            sums.largest = c.load[i]
    sums.bound += bound
    take(sums, c.voll, f.unmet[r], c.energy[r])
    keep(sums, dt * flexed + f.unmet[r] - c.energy[r])


cdef int seen(const Columns* c, const Found* f, Py_ssize_t r) noexcept nogil:
    """What is special about the plan of region r."""
    cdef Py_ssize_t i, T = c.steps, S = c.storages
    cdef int found = UNMET if f.unmet[r] > SEEN else 0
    for i in range(r * T, r * T + T):
        if f.shed[i] > SEEN:
            found |= SHED
    for i in range(r * S * T, (r + 1) * S * T):
        if f.charge[i] > SEEN and f.discharge[i] > SEEN:
            found |= BURN
    return found


cdef int found_of(plan, prices, const Columns* c, Found* f) except -1:
    cdef Py_ssize_t R = c.regions, some = R * c.steps, S = some * c.storages
    f.supply = reals(plan["supply"], some * c.units, "supply")
    f.into, f.out = reals(plan["import"], some, "import"), reals(plan["export"], some, "export")
    f.ren, f.flex = reals(plan["ren"], some, "ren"), reals(plan["flex"], some, "flex")
    f.shed, f.unmet = reals(plan["shed"], some, "shed"), reals(plan["unmet"], R, "unmet")
    f.charge = reals(plan["charge"], S, "charge")
    f.discharge = reals(plan["discharge"], S, "discharge")
    f.soc, f.value = reals(plan["soc"], S, "soc"), reals(prices.storage, S, "prices.storage")
    f.flow = reals(plan["flow"], <Py_ssize_t> c.links * c.steps, "flow")
    f.bus, f.mu = reals(prices.bus, some, "prices.bus"), reals(prices.flex, R, "prices.flex")
    return 0


def prove(net, dict plan, prices):
    """The Proof of a plan of a checked network by these prices, whoever made them."""
    cdef Columns c
    cdef Found f
    cdef Sums sums
    cdef Py_ssize_t i
    columns_of(net, &c)
    found_of(plan, prices, &c, &f)
    cdef cnp.ndarray reached = np.zeros((c.regions, c.steps))
    cdef cnp.ndarray left = np.zeros((c.regions, c.steps))
    cdef double* served = <double*> cnp.PyArray_DATA(reached)
    cdef double* sent = <double*> cnp.PyArray_DATA(left)
    sums.cost = sums.size = sums.bound = sums.residual = 0.0
    sums.largest, sums.within = 1.0, True
    with nogil:
        links(&c, &f, served, sent, &sums)
        for i in range(c.regions * c.storages):
            storage(&c, &f, i, served, sent, &sums)
        for i in range(c.regions):
            region(&c, &f, i, served, sent, &sums)
    return Proof(
        sums.cost, sums.size, sums.bound, sums.residual, sums.largest, bool(sums.within),
        [seen(&c, &f, i) for i in range(c.regions)], reached,
    )
