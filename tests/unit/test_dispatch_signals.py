"""The green signal, field by field: figures by pencil, an hour of one MW of load in the north."""

import pytest
from dispatch_cases import GRID, HOUR_MS, MWH_MJ, SITES, T0, Town, at, job, region, tick

from schemas import SIGNALS

NORTH = {"region": "north"}
MW_TENTH = MWH_MJ // 10


def signal(*rows, **domain):
    """The north's signal of the first step, after these rows and the first tick."""
    found = Town(steps=1, **domain).send(*rows, GRID[1], tick(0))
    return at(found, "signals", 0, **NORTH)[0]


def test_every_field_of_the_green_signal_is_there():
    assert {column.name for column in SIGNALS.columns} == {
        *("tick_ms", "domain", "region", "revision", "start_ms", "end_ms"),
        *("green_surplus_mj", "curtailed_mj", "curtailment_avoided_mj"),
        *("ren_share_ppm", "cfe_hourly_ppm", "price_micro"),
        *("ci_average_mg_per_kwh", "ci_marginal_mg_per_kwh"),
        *("flex_min_mj", "flex_max_mj", "flex_deadline_ms"),
        *("gap_rel", "status", "stale_inputs"),
    }
    assert set(SIGNALS.key) == {"domain", "region", "tick_ms", "start_ms"}


def test_average_and_marginal_carbon_are_apart():
    found = signal(region("north", 100, ren_avail_mw=0.75, ci_kg_per_kwh=0.8))

    assert found["ci_average_mg_per_kwh"] == 200_000  # a quarter is imported
    assert found["ci_marginal_mg_per_kwh"] == 800_000  # one more kWh is imported whole


def test_one_more_kwh_costs_no_carbon_where_wind_is_curtailed():
    found = signal(region("north", 100, ren_avail_mw=1.5, ci_kg_per_kwh=0.8))

    assert found["ci_marginal_mg_per_kwh"] == found["ci_average_mg_per_kwh"] == 0
    assert found["green_surplus_mj"] == found["curtailed_mj"] == 5 * MW_TENTH
    assert found["ren_share_ppm"] == 1_000_000


UNITS = [
    {"kind": "supply", "id": "hydro", "region": "north", "cap_mw": 0.2, "ci_kg_per_kwh": 0.0},
    {"kind": "supply", "id": "other", "region": "north", "cap_mw": 0.1},
]


@pytest.mark.parametrize(("grid_cfe_ppm", "share_ppm"), [(None, 500_000), (250_000, 600_000)])
def test_the_carbon_free_share_counts_clean_units_and_the_clean_share_of_imports(
    grid_cfe_ppm, share_ppm
):
    # 1 MW of load: 0.3 of wind, 0.2 of a hydro unit, 0.1 of a unit of unknown carbon, 0.4 imported
    cheap = [unit | {"cost_per_mwh": 10.0} for unit in UNITS]
    found = signal(region("north", 100, ren_avail_mw=0.3, grid_cfe_ppm=grid_cfe_ppm), *cheap)

    assert found["ren_share_ppm"] == 300_000
    assert found["cfe_hourly_ppm"] == share_ppm


def test_imports_beyond_the_load_make_no_load_carbon_free():
    # 0.9 of wind serve the load; imports fill a battery beside the last 0.1
    store = {"kind": "storage", "id": "b", "region": "north", "charge_max_mw": 1.0, "soc_mwh": 0.0}
    store |= {"discharge_max_mw": 1.0, "soc_max_mwh": 1.0, "terminal_value_per_mwh": 500.0}
    found = signal(region("north", 100, ren_avail_mw=0.9, grid_cfe_ppm=1_000_000), store)

    assert found["cfe_hourly_ppm"] == 1_000_000


def test_the_carbon_free_share_is_of_the_hour_and_not_of_the_step():
    quarter = HOUR_MS // 4
    hours = [0.0, 0.4, 1.0, 5.0, 0.5, 0.5, 0.5, 0.5]  # wind, quarter by quarter; load 1 MW
    windy = [
        region("north", 100, ren_avail_mw=mw, grid_cfe_ppm=100_000)
        | {"start_ms": T0 + q * quarter, "end_ms": T0 + (q + 1) * quarter}
        for q, mw in enumerate(hours)
    ]

    rows = Town(steps=8, tick_ms=quarter).send(*windy, GRID[1], tick(0))

    shares = [row["cfe_hourly_ppm"] for row in rows["signals"] if row["region"] == "north"]
    first = (0.0 + 0.4 + 1.0 + 1.0 + 0.1 * (1.0 + 0.6)) / 4
    assert shares == [round(first * 1e6)] * 4 + [550_000] * 4


STORE = {"kind": "storage", "id": "b", "region": "north", "charge_max_mw": 0.3, "soc_mwh": 0.0}
STORE |= {"discharge_max_mw": 0.3, "soc_max_mwh": 5.0, "terminal_value_per_mwh": 1.0}
WISH = {"kind": "request", "id": "q", "region": "north", "energy_mwh": 0.2, "power_max_mw": 1.0}
WISH |= {"start_ms": T0, "end_ms": T0 + HOUR_MS}


@pytest.mark.parametrize(
    ("others", "avoided", "curtailed"),
    [
        ([], 0, 10),
        ([STORE], 3, 7),
        ([STORE, WISH], 5, 5),
        ([*SITES, job("j")], 1, 9),
    ],
    ids=["nothing", "storage", "storage and request", "job"],
)
def test_curtailment_avoided_is_what_storage_requests_and_jobs_take(others, avoided, curtailed):
    found = signal(region("north", 100, ren_avail_mw=2.0), *others)

    assert found["curtailment_avoided_mj"] == avoided * MW_TENTH
    assert found["curtailed_mj"] == curtailed * MW_TENTH


def test_exports_that_pay_avoid_no_curtailment_and_those_that_cost_do_not_count():
    export = {"export_max_mw": 0.4, "reserve_down_mw": 0.1}
    paid = signal(region("north", 100, ren_avail_mw=2.0, export_price_per_mwh=9.0, **export), STORE)
    free = signal(region("north", 100, ren_avail_mw=2.0, export_price_per_mwh=-9.0, **export))

    # 2 MW less 1 of load and 0.3 that may be sold: 0.7 would be curtailed, the storage takes 0.3
    assert (paid["curtailment_avoided_mj"], paid["curtailed_mj"]) == (3 * MW_TENTH, 4 * MW_TENTH)
    assert (free["curtailment_avoided_mj"], free["curtailed_mj"]) == (0, 10 * MW_TENTH)


def test_a_request_is_named_with_its_least_its_most_and_its_deadline():
    found = signal(region("north", 100, ren_avail_mw=2.0), WISH)

    assert (found["flex_min_mj"], found["flex_max_mj"]) == (2 * MW_TENTH, MWH_MJ)
    assert found["flex_deadline_ms"] == T0 + HOUR_MS
    assert abs(found["gap_rel"]) <= 1e-7
    assert (found["status"], found["stale_inputs"]) == ("OK", False)
