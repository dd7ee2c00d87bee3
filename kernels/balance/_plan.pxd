"""From the interior point's variables back to the plan's columns, bounds kept to the last bit."""

from kernels.balance._model cimport Model


cdef inline double inside(Model* m, double* x, int i, double upper) noexcept nogil:
    """MW of variable i: exactly its limit where it is at it, never above."""
    cdef double v = x[i] * m.mw
    if m.width[i] == 0.0:
        return 0.0
    return upper if x[i] == m.width[i] or v > upper else v


cdef inline int write_plan(Model* m, double* x, net, plan) except -1:
    """Fills the blocks of layout.py in place, in MW and MWh."""
    cdef const double[:, ::1] ren_max = net.ren_avail_mw, into_max = net.import_max_mw
    cdef const double[:, ::1] out_max = net.export_max_mw, load = net.load_mw
    cdef const double[:, ::1] flex_max = net.flex_max_mw, cap = net.supply_cap_mw
    cdef const double[:, ::1] charge_max = net.storage_charge_mw
    cdef const double[:, ::1] discharge_max = net.storage_discharge_mw
    cdef const double[:, ::1] soc0 = net.storage_soc0_mwh, kept = net.storage_retain
    cdef const double[:, ::1] low = net.storage_soc_min_mwh, high = net.storage_soc_max_mwh
    cdef const double[::1] link_cap = net.link_cap_mw, energy = net.flex_energy_mwh
    cdef double[:, :, ::1] supply = plan["supply"]
    cdef double[:, ::1] into = plan["import"], out = plan["export"], ren = plan["ren"]
    cdef double[:, ::1] shed = plan["shed"], flex = plan["flex"], flow = plan["flow"]
    cdef double[:, :, ::1] charge = plan["charge"], discharge = plan["discharge"]
    cdef double[:, :, ::1] soc = plan["soc"]
    cdef double[::1] unmet = plan["unmet"]
    cdef int R = m.regions, T = m.steps, r, t, k, s, i
    cdef double v
    for r in range(R):
        unmet[r] = energy[r]
        for t in range(T):
            i = t * R + r
            for k in range(m.units):
                supply[r, k, t] = inside(m, x, k * T * R + i, cap[r, k])
            into[r, t] = inside(m, x, m.into + i, into_max[r, t])
            out[r, t] = inside(m, x, m.out + i, out_max[r, t])
            ren[r, t] = inside(m, x, m.ren + i, ren_max[r, t])
            flex[r, t] = inside(m, x, m.flex + i, flex_max[r, t])
            v = x[m.shed + i] * m.mw
            shed[r, t] = v if v < load[r, t] else load[r, t]
        for s in range(charge_max.shape[1]):  # of a storage that can do nothing; others below
            v = soc0[r, s]
            for t in range(T):
                v = v * kept[r, s]
                charge[r, s, t] = discharge[r, s, t] = 0.0
                soc[r, s, t] = min(max(v, low[r, s]), high[r, s])
    for k in range(m.flexes):
        v = x[m.unmet + k] * m.mw
        unmet[m.flex_region[k]] = v if v < energy[m.flex_region[k]] else energy[m.flex_region[k]]
    for k in range(m.stores):
        r, s = m.store_region[k], m.store_slot[k]
        for t in range(T):
            i = t * m.stores + k
            charge[r, s, t] = inside(m, x, m.charge + i, charge_max[r, s])
            discharge[r, s, t] = inside(m, x, m.discharge + i, discharge_max[r, s])
            v = low[r, s] + x[m.soc + i] * m.mw
            if x[m.soc + i] == m.width[m.soc + i] or v > high[r, s]:
                v = high[r, s]
            soc[r, s, t] = v
    for k in range(m.links):
        for t in range(T):
            flow[k, t] = inside(m, x, m.flow + t * m.links + k, link_cap[k])
    return 0


cdef inline int write_prices(Model* m, double* y, net, prices) except -1:
    """Bus prices, values of stored energy and of deferrable requirements, per MWh."""
    cdef const double[:, ::1] kept = net.storage_retain, worth = net.storage_terminal_value
    cdef const double[:, ::1] flex_max = net.flex_max_mw
    cdef const double[::1] energy = net.flex_energy_mwh
    cdef double[:, ::1] bus = prices.bus
    cdef double[:, :, ::1] storage = prices.storage
    cdef double[::1] flex = prices.flex
    cdef int R = m.regions, T = m.steps, r, t, k, s
    cdef double v, voll = net.voll
    for r in range(R):
        for t in range(T):
            if m.reach[t * R + r] <= 1e-12 and m.width[m.shed + t * R + r] == 0.0:
                bus[r, t] = voll  # no row there: nothing comes, nothing may go
            else:
                bus[r, t] = y[t * R + r] * m.money / m.dt
        for s in range(kept.shape[1]):
            v = worth[r, s]
            for t in range(T - 1, -1, -1):
                storage[r, s, t] = v
                v = v * kept[r, s]
        flex[r] = voll
        if energy[r] == 0.0:  # nothing is asked: worth no more than the cheapest step of its window
            for t in range(T):
                if flex_max[r, t] > 0.0 and bus[r, t] < flex[r]:
                    flex[r] = bus[r, t]
    for k in range(m.flexes):
        flex[m.flex_region[k]] = y[T * (R + m.stores) + k] * m.money
    for k in range(m.stores):
        for t in range(T):
            storage[m.store_region[k], m.store_slot[k], t] = (
                -y[T * R + t * m.stores + k] * m.money
            )
    return 0


cdef inline int read_plan(Model* m, double* x, double* y, net, plan, prices, int later) except -1:
    """x and y of an earlier plan and its prices, `later` steps on; its last step stands for more."""
    cdef const double[:, :, ::1] supply = plan["supply"]
    cdef const double[:, ::1] into = plan["import"], out = plan["export"], ren = plan["ren"]
    cdef const double[:, ::1] shed = plan["shed"], flex = plan["flex"], flow = plan["flow"]
    cdef const double[:, :, ::1] charge = plan["charge"], discharge = plan["discharge"]
    cdef const double[:, :, ::1] soc = plan["soc"]
    cdef const double[:, ::1] low = net.storage_soc_min_mwh
    cdef const double[:, ::1] bus = prices.bus
    cdef const double[:, :, ::1] storage = prices.storage
    cdef const double[::1] worth = prices.flex
    cdef int R = m.regions, T = m.steps, N = R * T, r, t, k, s, i, u
    cdef double v = 1.0 / m.mw, w = 1.0 / m.money
    for t in range(T):
        u = t + later if t + later < T else T - 1
        for r in range(R):
            i = t * R + r
            for k in range(m.units):
                x[k * N + i] = supply[r, k, u] * v
            x[m.into + i], x[m.out + i] = into[r, u] * v, out[r, u] * v
            x[m.ren + i], x[m.shed + i] = ren[r, u] * v, shed[r, u] * v
            x[m.flex + i] = flex[r, u] * v
            y[i] = bus[r, u] * m.dt * w
        for k in range(m.stores):
            r, s, i = m.store_region[k], m.store_slot[k], t * m.stores + k
            x[m.charge + i], x[m.discharge + i] = charge[r, s, u] * v, discharge[r, s, u] * v
            x[m.soc + i] = (soc[r, s, u] - low[r, s]) * v
            y[N + i] = -storage[r, s, u] * w
        for k in range(m.links):
            x[m.flow + t * m.links + k] = flow[k, u] * v
    for k in range(m.flexes):
        x[m.unmet + k] = 0.0
        y[N + T * m.stores + k] = worth[m.flex_region[k]] * w
    return 0
