# One row of the batch: are its values usable, its numbers as a Site, its plan in MW.

from libc.math cimport INFINITY, pow

from kernels.balance._sites_columns cimport *
from kernels.balance._sites_work cimport *

cdef enum Rows:
    PLAIN = 0
    SEVERAL = 1   # storages or requirements: not for the dynamic programme

cdef extern from *:
    """
    #define VALUE_MAX 1e12
    #define EFFICIENCY_LEAST 1e-6
    #define HOURS_LEAST 1e-6
    """
    const double VALUE_MAX          # sites_columns.LIMIT
    const double EFFICIENCY_LEAST   # sites_columns.EFFICIENCY_MIN
    const double HOURS_LEAST        # sites_columns.HOURS_MIN


cdef inline bint is_bad(double** given, const Shape* s, Py_ssize_t row) noexcept nogil:
    """The rules of sites_checks.py, without saying which."""
    cdef int column, bad = 0
    cdef Py_ssize_t i, wide
    cdef const double* x
    cdef double low
    for column in range(GIVEN):
        wide = s.wide[per_given(column)]
        x = given[column] + row * wide
        low = 0.0
        if column == IMPORT_PRICE or column == EXPORT_PRICE:
            low = -VALUE_MAX
        elif column == SUPPLY_COST or column == TERMINAL_VALUE or column == SOC0:
            low = -VALUE_MAX
        elif column == HOURS:
            low = HOURS_LEAST
        elif column == ETA_C or column == ETA_D or column == RETAIN:
            low = EFFICIENCY_LEAST
            for i in range(wide):
                bad |= x[i] > 1.0
        for i in range(wide):
            bad |= not (x[i] >= low and x[i] <= VALUE_MAX)  # NaN is outside
    for i in range(s.storages):
        bad |= given[SOC_MIN][row * s.storages + i] > given[SOC_MAX][row * s.storages + i]
    return bad


cdef inline void clear(double** found, const Shape* s, Py_ssize_t row) noexcept nogil:
    cdef int column
    cdef Py_ssize_t i, wide
    for column in range(FOUND):
        wide = s.wide[per_found(column)]
        for i in range(wide):
            found[column][row * wide + i] = 0.0


cdef inline int read(
    double** given, const Shape* s, Py_ssize_t row, Site* p, Work* w
) noexcept nogil:
    """Fill p from the columns: the storage that moves, the requirement that asks."""
    cdef Py_ssize_t i, t, at = row * s.steps, storages = 0, flexes = 0
    cdef double carbon = given[CARBON_PRICE][row], least_price = INFINITY
    p.steps, p.units, p.hours, p.voll = s.steps, s.units, given[HOURS][row], given[VOLL][row]
    p.load, p.ren = given[LOAD] + at, given[REN_AVAIL] + at
    p.import_max, p.export_max = w.import_max, w.export_max
    p.export_price, p.import_cost = given[EXPORT_PRICE] + at, w.import_cost
    p.unit_cap, p.unit_cost = given[SUPPLY_CAP] + row * s.units, w.unit_cost
    p.short = False
    for t in range(s.steps):
        p.short |= given[RESERVE_UP][at + t] > given[IMPORT_MAX][at + t]
        p.short |= given[RESERVE_DOWN][at + t] > given[EXPORT_MAX][at + t]
        w.import_max[t] = kept_free(given[IMPORT_MAX][at + t], given[RESERVE_UP][at + t])
        w.export_max[t] = kept_free(given[EXPORT_MAX][at + t], given[RESERVE_DOWN][at + t])
        w.import_cost[t] = given[IMPORT_PRICE][at + t] + carbon * given[GRID_CI][at + t]
        least_price = least(least_price, least(w.import_cost[t], p.export_price[t]))
    for i in range(s.units):
        w.unit_cost[i] = given[SUPPLY_COST][row * s.units + i]
        w.unit_cost[i] += carbon * given[SUPPLY_CI][row * s.units + i]
        least_price = least(least_price, w.unit_cost[i])
    p.storage = p.flex = -1
    p.clamped = False
    for i in range(s.storages):
        t = row * s.storages + i
        p.clamped |= given[SOC0][t] < given[SOC_MIN][t] or given[SOC0][t] > given[SOC_MAX][t]
        if given[CHARGE_MAX][t] > 0 or given[DISCHARGE_MAX][t] > 0:
            p.storage = i
            storages += 1
    for i in range(s.flexes):
        if given[FLEX_ENERGY][row * s.flexes + i] > 0:
            p.flex = i
            flexes += 1
    p.charge = p.discharge = p.soc0 = p.low = p.high = p.wear = p.worth = 0.0
    p.eta_c = p.eta_d = p.retain = 1.0
    if p.storage >= 0:
        i = row * s.storages + p.storage
        p.charge = given[CHARGE_MAX][i] * p.hours
        p.discharge = given[DISCHARGE_MAX][i] * p.hours
        p.eta_c, p.eta_d, p.retain = given[ETA_C][i], given[ETA_D][i], given[RETAIN][i]
        p.high = given[SOC_MAX][i]
        p.soc0 = least(most(given[SOC0][i], given[SOC_MIN][i]), p.high)
        # a storage that leaks may fall below its lower limit where nothing is there to charge it
        p.low = least(given[SOC_MIN][i], p.soc0 * pow(p.retain, s.steps))
        p.wear, p.worth = given[WEAR][i], given[TERMINAL_VALUE][i]
    p.per_eta_c, p.per_eta_d = 1 / p.eta_c, 1 / p.eta_d
    p.burns_always, p.burn_price, p.burn_value = False, -INFINITY, -INFINITY
    if p.charge > 0 and p.discharge > 0 and p.eta_c * p.eta_d < 1:
        p.burn_value = -p.wear * p.eta_d / (1 - p.eta_c * p.eta_d)
        p.burn_price = p.burn_value * p.eta_c
        p.burns_always = least_price < p.burn_price or p.worth < p.burn_value
    p.flex_energy, p.flex_max = 0.0, w.nothing
    if p.flex >= 0:
        p.flex_energy = given[FLEX_ENERGY][row * s.flexes + p.flex]
        p.flex_max = given[FLEX_MAX] + (row * s.flexes + p.flex) * s.steps
    return SEVERAL if storages > 1 or flexes > 1 else PLAIN


cdef inline void write(
    double** given, double** found, const Shape* s, Py_ssize_t row, const Site* p, const Work* w
) noexcept nogil:
    """MW from MWh: what the storage and the deferrable load need is served in the stack's order."""
    cdef Py_ssize_t T = s.steps, i, t, at = row * T
    cdef double* column
    for i in range(s.storages):
        if i != p.storage:
            idle_storage(given, found, s, row, i)
    for i in range(s.flexes):
        column = found[FLEX_MW] + (row * s.flexes + i) * T
        for t in range(T):
            column[t] = least(w.flexed[t] / p.hours, p.flex_max[t]) if i == p.flex else 0.0
        found[MU][row * s.flexes + i] = p.mu if i == p.flex else least_bus(p, w)
    if p.storage >= 0:
        storage(found, s, row, p, w)
    for t in range(T):
        serve(found, s, row, p, w, t)
        found[BUS_PRICE][at + t] = w.bus[t]
        emissions(given, found, s, row, t)


cdef inline double least_bus(const Site* p, const Work* w) noexcept nogil:
    """A requirement of nothing is worth the least price: no step serves it."""
    cdef int t
    cdef double price = w.bus[0]
    for t in range(1, p.steps):
        price = least(price, w.bus[t])
    return price


cdef inline void idle_storage(
    double** given, double** found, const Shape* s, Py_ssize_t row, Py_ssize_t i
) noexcept nogil:
    """A storage that can neither charge nor discharge only leaks."""
    cdef Py_ssize_t t, T = s.steps, here = row * s.storages + i
    cdef double soc = most(given[SOC0][here], given[SOC_MIN][here])
    cdef double value = given[TERMINAL_VALUE][here]
    soc = least(soc, given[SOC_MAX][here])
    for t in range(T):
        soc *= given[RETAIN][here]
        found[SOC_MWH][here * T + t] = soc
        found[CHARGE_MW][here * T + t] = found[DISCHARGE_MW][here * T + t] = 0.0
    for t in range(T - 1, -1, -1):
        found[STORAGE_VALUE][here * T + t] = value
        value *= given[RETAIN][here]


cdef inline void storage(
    double** found, const Shape* s, Py_ssize_t row, const Site* p, const Work* w
) noexcept nogil:
    cdef Py_ssize_t t, at = (row * s.storages + p.storage) * s.steps
    cdef double soc = p.soc0
    for t in range(s.steps):
        soc = p.retain * soc + p.eta_c * w.charged[t] - w.discharged[t] / p.eta_d
        if w.limit[t] == AT_LOW and soc < p.low + 1e-12 * p.high:
            soc = p.low
        elif w.limit[t] == AT_HIGH and soc > p.high * (1 - 1e-12):
            soc = p.high
        soc = least(most(soc, p.low), p.high)
        found[SOC_MWH][at + t] = soc
        found[CHARGE_MW][at + t] = least(w.charged[t], p.charge) / p.hours
        found[DISCHARGE_MW][at + t] = least(w.discharged[t], p.discharge) / p.hours
        found[STORAGE_VALUE][at + t] = w.value[t]


cdef inline void serve(
    double** found, const Shape* s, Py_ssize_t row, const Site* p, const Work* w, Py_ssize_t t
) noexcept nogil:
    cdef Py_ssize_t at = row * s.steps + t
    cdef int k, kind, here = t * w.wide
    cdef double reach = (p.load[t] + p.export_max[t]) * p.hours, used, mw
    cdef double* supply = found[SUPPLY_MW] + row * s.units * s.steps + t
    reach += w.flexed[t] + w.charged[t] - w.discharged[t]
    cdef double rounding = 1e-14 * (reach + w.discharged[t])
    found[IMPORT_MW][at] = found[REN_MW][at] = found[SHED_MW][at] = 0.0
    found[EXPORT_MW][at] = p.export_max[t]
    for k in range(s.units):
        supply[k * s.steps] = 0.0
    for k in range(w.base_stacked[t]):
        if reach <= rounding:
            break
        used = least(w.base_width[here + k], reach)
        reach -= used
        mw = used / p.hours
        kind = w.base_kind[here + k]
        if kind == REN:
            found[REN_MW][at] = least(mw, p.ren[t])
        elif kind == EXPORT:
            found[EXPORT_MW][at] = most(p.export_max[t] - mw, 0.0)
        elif kind == IMPORT:
            found[IMPORT_MW][at] = least(mw, p.import_max[t])
        elif kind == SHED:
            found[SHED_MW][at] = least(mw, p.load[t])
        else:
            supply[(kind - UNIT) * s.steps] = least(mw, p.unit_cap[kind - UNIT])
    found[CURTAILED_MW][at] = p.ren[t] - found[REN_MW][at]


cdef inline void emissions(
    double** given, double** found, const Shape* s, Py_ssize_t row, Py_ssize_t t
) noexcept nogil:
    """MW x h x 1000 x kg/kWh of imports and supply."""
    cdef Py_ssize_t k, at = row * s.steps + t
    cdef double rate = found[IMPORT_MW][at] * given[GRID_CI][at]
    for k in range(s.units):
        rate += (
            found[SUPPLY_MW][(row * s.units + k) * s.steps + t]
            * given[SUPPLY_CI][row * s.units + k]
        )
    found[EMISSIONS_KG][at] = rate * 1000 * given[HOURS][row]
