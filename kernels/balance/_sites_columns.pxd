# The columns of sites_columns.py as pointers, in the order of its fields.

cimport numpy as cnp

cdef enum:  # Given
    LOAD
    REN_AVAIL
    IMPORT_MAX
    EXPORT_MAX
    IMPORT_PRICE
    EXPORT_PRICE
    GRID_CI
    RESERVE_UP
    RESERVE_DOWN
    FLEX_MAX
    FLEX_ENERGY
    SUPPLY_CAP
    SUPPLY_COST
    SUPPLY_CI
    CHARGE_MAX
    DISCHARGE_MAX
    ETA_C
    ETA_D
    RETAIN
    SOC0
    SOC_MIN
    SOC_MAX
    WEAR
    TERMINAL_VALUE
    HOURS
    CARBON_PRICE
    VOLL
    GIVEN

cdef enum:  # Found
    IMPORT_MW
    EXPORT_MW
    REN_MW
    CURTAILED_MW
    SHED_MW
    FLEX_MW
    SUPPLY_MW
    CHARGE_MW
    DISCHARGE_MW
    SOC_MWH
    BUS_PRICE
    STORAGE_VALUE
    MU
    EMISSIONS_KG
    OBJECTIVE
    LOWER_BOUND
    GAP_REL
    MAX_RESIDUAL
    FOUND

# a column's axes after N: how many numbers a site has
cdef enum:  # Per
    PER_SITE
    PER_STEP
    PER_FLEX_STEP
    PER_FLEX
    PER_UNIT
    PER_UNIT_STEP
    PER_STORAGE
    PER_STORAGE_STEP

cdef struct Shape:
    Py_ssize_t sites, steps, units, storages, flexes
    Py_ssize_t wide[8]   # by Per


cdef inline Shape shape_of(tuple shape) except *:
    """From (N, T, K, S, F)."""
    cdef Shape s
    s.sites, s.steps, s.units, s.storages, s.flexes = shape
    s.wide[PER_SITE], s.wide[PER_STEP] = 1, s.steps
    s.wide[PER_FLEX_STEP], s.wide[PER_FLEX] = s.flexes * s.steps, s.flexes
    s.wide[PER_UNIT], s.wide[PER_UNIT_STEP] = s.units, s.units * s.steps
    s.wide[PER_STORAGE], s.wide[PER_STORAGE_STEP] = s.storages, s.storages * s.steps
    return s


cdef inline int per_given(int column) noexcept nogil:
    if column <= RESERVE_DOWN:
        return PER_STEP
    if column == FLEX_MAX:
        return PER_FLEX_STEP
    if column == FLEX_ENERGY:
        return PER_FLEX
    if column <= SUPPLY_CI:
        return PER_UNIT
    return PER_STORAGE if column <= TERMINAL_VALUE else PER_SITE


cdef inline double kept_free(double limit, double reserve) noexcept nogil:
    """What a reserve leaves of the limit that it is kept from."""
    return limit - reserve if limit > reserve else 0.0


cdef inline int per_found(int column) noexcept nogil:
    if column <= SHED_MW or column == BUS_PRICE or column == EMISSIONS_KG:
        return PER_STEP
    if column == FLEX_MW:
        return PER_FLEX_STEP
    if column == SUPPLY_MW:
        return PER_UNIT_STEP
    if column <= STORAGE_VALUE:
        return PER_STORAGE_STEP
    return PER_FLEX if column == MU else PER_SITE


cdef inline int pointers(tuple columns, double** at, int count, const Shape* s, bint given) except -1:
    """Where each column's numbers are; a column of another type, layout or size is refused."""
    cdef int i
    cdef cnp.ndarray array
    for i in range(count):
        array = columns[i]
        if (
            cnp.PyArray_TYPE(array) != cnp.NPY_DOUBLE
            or not cnp.PyArray_IS_C_CONTIGUOUS(array)
            or cnp.PyArray_SIZE(array)
            != s.sites * s.wide[per_given(i) if given else per_found(i)]
        ):
            raise ValueError(f"column {i} is not a contiguous float64 array of its shape")
        at[i] = <double*>cnp.PyArray_DATA(array)
    return 0
