# What a site's solve reads and writes: see _sites.pyx.

cdef extern from *:
    """
    #define LABEL 1e-13
    #define SOC_LABEL 1e-12
    #define LIMIT_LABEL 1e-12
    #define SLIVER 1e-15
    #define POSITION_SLIVER 1e-14
    #define TIE 1e-14
    #define TANGENTS_MAX 80
    #define FIRST_STEP 0.03
    #define WARM_STEP 0.015
    """
    const double LABEL      # of a position: closer to a breakpoint is at it
    const double SOC_LABEL  # of the storage's size: the same, for what is stored
    const double LIMIT_LABEL   # of a limit: closer to none or to all of it is there
    const double SLIVER     # of the storage's size: narrower segments are rounding
    const double POSITION_SLIVER   # of the supply's size: the same, for what serves a step
    const double TIE        # of the cost: tangents that are this close meet
    const int TANGENTS_MAX
    const double FIRST_STEP # of a price, in search of the first bracket; four times as far each time
    const double WARM_STEP  # the same beside the last tick's price

cdef enum Kind:
    REN = 0
    EXPORT = 1
    UNIT = 2      # unit k is UNIT + k
    IMPORT = -3
    FLEX = -2
    SHED = -1

cdef enum Move:
    LESS_CHARGE = 0
    MORE_DISCHARGE = 1
    MORE_OF_BOTH = 2

cdef enum Full:
    FULL_CHARGE = 1      # h_t begins at the charging limit, not at the end of the supply
    FULL_DISCHARGE = 2   # h_t ends at the discharging limit, not at full export

cdef enum Limit:
    AT_LOW = 1
    AT_HIGH = 2
cdef struct Site:
    int steps, units
    double hours, voll
    double charge, discharge, eta_c, eta_d, retain, soc0, low, high, wear, worth
    double per_eta_c, per_eta_d
    double burn_price, burn_value    # below this bus price charging and discharging at once pays
    bint burns          # in the solve at hand
    bint burns_always   # by the site's own prices
    const double* load
    const double* ren
    const double* import_max
    const double* export_max
    const double* import_cost
    const double* export_price
    const double* flex_max
    const double* unit_cap
    const double* unit_cost
    double flex_energy, mu
    int storage, flex   # which of the site's is the one solved for; -1 = none
    bint clamped, short   # its state of charge; its grid connection, for the reserve asked

cdef struct Work:
    int steps, units, wide, tall
    # the stack of a step: what can serve, by rising price; the deferrable load is put in each time
    double* price
    double* width
    int* kind
    int* stacked
    double* base_price
    double* base_width
    int* base_kind
    int* base_stacked
    # h_t, by falling value
    double* h_value
    double* h_width
    int* h_move
    int* h_count
    int* h_charging
    int* h_full
    double* h_top
    # V_1..V_T in one arena
    double* v_value
    double* v_width
    Py_ssize_t v_room
    Py_ssize_t* v_first
    int* v_count
    double* v_start
    # what a solve found: amounts in MWh at the bus, intervals of prices
    double* charged
    double* discharged
    double* flexed
    double* value_low
    double* value_high
    double* price_low
    double* price_high
    int* limit
    int* state         # of charge and discharge: 0 none, 1 between, 2 full, as c + 3 d
    double* low_side   # charged, discharged, flexed of the tangent below
    double* high_side
    double* order
    double* value
    double* bus
    # the site's own: carbon in the costs, zeros where it has nothing
    double* import_cost
    double* unit_cost
    double* import_max    # what reserves leave of the limits
    double* export_max
    double* nothing


cdef inline double least(double a, double b) noexcept nogil:
    return a if a < b else b


cdef inline double most(double a, double b) noexcept nogil:
    return a if a > b else b
