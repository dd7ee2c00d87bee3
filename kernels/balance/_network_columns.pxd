# A network's columns as pointers: what columns.py names, in its shapes, without its checks.

cimport numpy as cnp


cdef struct Columns:
    int regions, steps, units, storages, links
    double dt, carbon, voll
    const double* load            # [R, T]
    const double* ren
    const double* into
    const double* out
    const double* into_price
    const double* out_price
    const double* ci
    const double* flex
    const double* up
    const double* down
    const double* energy          # [R]
    const double* cap             # [R, K]
    const double* unit_cost
    const double* unit_ci
    const double* charge          # [R, S]
    const double* discharge
    const double* eta_c
    const double* eta_d
    const double* retain
    const double* soc0
    const double* low
    const double* high
    const double* wear
    const double* worth
    const long long* link_from    # [L]
    const long long* link_to
    const double* link_cap
    const double* loss
    const double* tariff


cdef inline void* data(cnp.ndarray column, int kind, Py_ssize_t size, str name) except? NULL:
    """Where a column's numbers are; one of another type, layout or size is refused."""
    if (
        cnp.PyArray_TYPE(column) != kind
        or not cnp.PyArray_IS_C_CONTIGUOUS(column)
        or cnp.PyArray_SIZE(column) != size
    ):
        raise ValueError(f"{name} is no column of its shape in one piece: use Network.of")
    return cnp.PyArray_DATA(column)


cdef inline double* reals(cnp.ndarray column, Py_ssize_t size, str name) except? NULL:
    return <double*> data(column, cnp.NPY_DOUBLE, size, name)


cdef inline int columns_of(net, Columns* c) except -1:
    """The columns of a Network. They belong to it: keep it for as long as the pointers."""
    cdef cnp.ndarray load = net.load_mw, cap = net.supply_cap_mw, power = net.storage_charge_mw
    cdef cnp.ndarray links = net.link_cap_mw
    c.regions, c.steps = cnp.PyArray_DIM(load, 0), cnp.PyArray_DIM(load, 1)
    c.units, c.storages = cnp.PyArray_DIM(cap, 1), cnp.PyArray_DIM(power, 1)
    c.links = cnp.PyArray_DIM(links, 0)
    c.dt, c.carbon, c.voll = net.dt_h, net.carbon_price, net.voll
    cdef Py_ssize_t R = c.regions, some = R * c.steps, K = R * c.units, S = R * c.storages
    c.load, c.ren = reals(load, some, "load_mw"), reals(net.ren_avail_mw, some, "ren_avail_mw")
    c.into = reals(net.import_max_mw, some, "import_max_mw")
    c.out = reals(net.export_max_mw, some, "export_max_mw")
    c.into_price = reals(net.import_price, some, "import_price")
    c.out_price = reals(net.export_price, some, "export_price")
    c.ci, c.flex = reals(net.grid_ci, some, "grid_ci"), reals(net.flex_max_mw, some, "flex_max_mw")
    c.up = reals(net.reserve_up_mw, some, "reserve_up_mw")
    c.down = reals(net.reserve_down_mw, some, "reserve_down_mw")
    c.energy = reals(net.flex_energy_mwh, R, "flex_energy_mwh")
    c.cap, c.unit_cost = reals(cap, K, "supply_cap_mw"), reals(net.supply_cost, K, "supply_cost")
    c.unit_ci = reals(net.supply_ci, K, "supply_ci")
    c.charge = reals(power, S, "storage_charge_mw")
    c.discharge = reals(net.storage_discharge_mw, S, "storage_discharge_mw")
    c.eta_c = reals(net.storage_eta_c, S, "storage_eta_c")
    c.eta_d = reals(net.storage_eta_d, S, "storage_eta_d")
    c.retain = reals(net.storage_retain, S, "storage_retain")
    c.soc0 = reals(net.storage_soc0_mwh, S, "storage_soc0_mwh")
    c.low = reals(net.storage_soc_min_mwh, S, "storage_soc_min_mwh")
    c.high = reals(net.storage_soc_max_mwh, S, "storage_soc_max_mwh")
    c.wear = reals(net.storage_wear, S, "storage_wear")
    c.worth = reals(net.storage_terminal_value, S, "storage_terminal_value")
    c.link_from = <long long*> data(net.link_from, cnp.NPY_INT64, c.links, "link_from")
    c.link_to = <long long*> data(net.link_to, cnp.NPY_INT64, c.links, "link_to")
    c.link_cap = reals(links, c.links, "link_cap_mw")
    c.loss = reals(net.link_loss, c.links, "link_loss")
    c.tariff = reals(net.link_tariff, c.links, "link_tariff")
    return 0
