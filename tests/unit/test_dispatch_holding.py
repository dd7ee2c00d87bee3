"""Late input, reserves and requests at the tick: what is held, kept free and served."""

import pytest
from dispatch_cases import GRID, HOUR_MS, MWH_MJ, T0, Town, at, job, region, site, tick

BATTERY = {
    "kind": "storage",
    "id": "battery",
    "region": "north",
    "charge_max_mw": 1.0,
    "discharge_max_mw": 1.0,
    "soc_mwh": 1.0,
    "soc_max_mwh": 1.0,
}
NORTH = {"region": "north"}


def hour(h, price, **given):
    return region("north", price, hour=h, hours=1, **given)


def request(energy_mwh, until, power_max_mw=1.0):
    times = {"start_ms": T0, "end_ms": T0 + until * HOUR_MS}
    row = {"kind": "request", "id": "washing", "region": "north", "energy_mwh": energy_mwh}
    return row | times | {"power_max_mw": power_max_mw}


def planned():
    """A battery that is planned to discharge in hour 2, the dearest of three."""
    town = Town(steps=3)
    rows = town.send(hour(0, 100), hour(1, 100), hour(2, 900), GRID[1], BATTERY, tick(0))
    assert [at(rows, "dispatch", h, **NORTH)[0]["discharge_mj"] for h in range(3)] == [0, 0, MWH_MJ]
    return town


def test_a_region_whose_input_is_late_keeps_its_storages_to_the_last_good_plan():
    town = Town(steps=3)
    # hour 0 is all that is known: the battery waits for nothing, but is worth more at the end
    kept = BATTERY | {"terminal_value_per_mwh": 500.0}
    town.send(hour(0, 100), GRID[1], kept, tick(0))

    rows = town.send(tick(2))

    (row,) = at(rows, "dispatch", 2, **NORTH)
    assert "TIMEOUT_HELD" in row["status"]
    assert (row["discharge_mj"], row["soc_mj"], row["import_mj"]) == (0, MWH_MJ, MWH_MJ)
    (signal,) = at(rows, "signals", 2, **NORTH)
    assert signal["stale_inputs"]
    (other,) = at(rows, "dispatch", 2, region="south")
    assert other["status"] == "OK"


def test_a_held_discharge_is_carried_out_and_the_tick_balances():
    town = planned()
    town.markets.of("town").regions["north"].pop(T0 + 2 * HOUR_MS)  # hour 2 was withdrawn

    rows = town.send(tick(2))

    (row,) = at(rows, "dispatch", 2, **NORTH)
    assert row["status"] == "TIMEOUT_HELD"
    assert (row["discharge_mj"], row["import_mj"], row["soc_mj"]) == (MWH_MJ, 0, 0)
    assert town.markets.of("town").soc_mwh["battery"] == 0.0


def test_the_region_is_planned_anew_when_its_input_arrives():
    town = planned()
    town.markets.of("town").regions["north"].pop(T0 + 2 * HOUR_MS)

    rows = town.send(hour(2, 50), hour(3, 900), tick(2))

    (row,) = at(rows, "dispatch", 2, **NORTH)
    assert row["status"] == "OK"
    assert (row["discharge_mj"], row["import_mj"]) == (0, MWH_MJ)  # it waits for hour 3


def test_a_plan_is_not_held_beyond_its_horizon():
    town = planned()

    rows = town.send(tick(3))

    (row,) = at(rows, "dispatch", 3, **NORTH)
    assert "TIMEOUT_HELD" not in row["status"]
    assert at(rows, "signals", 3, **NORTH)[0]["stale_inputs"]


def test_a_late_region_without_a_plan_goes_by_its_last_known_state():
    town = Town(steps=2)

    rows = town.send(hour(0, 100), GRID[1], tick(1))

    (row,) = at(rows, "dispatch", 1, **NORTH)
    assert row["status"] == "OK"
    assert row["import_mj"] == MWH_MJ


@pytest.mark.parametrize(
    ("asked", "imports"),
    [
        ({"reserve_up_mw": 1.4}, 0.6),
        ({"reserve_up_ppm": 1_200_000}, 0.8),  # 120 % of 1 MW of load
        ({"reserve_up_mw": 0.5, "reserve_up_ppm": 1_000_000}, 0.5),
    ],
)
def test_a_reserve_is_kept_free_of_the_import_limit(asked, imports):
    unit = {"kind": "supply", "id": "u", "region": "north", "cap_mw": 5.0, "cost_per_mwh": 900.0}

    rows = Town(steps=1).send(region("north", 100, **asked), GRID[1], unit, tick(0))

    (row,) = at(rows, "dispatch", 0, **NORTH)
    assert row["import_mj"] == pytest.approx(imports * MWH_MJ)
    assert row["supply_mj"] == pytest.approx((1 - imports) * MWH_MJ)


@pytest.mark.parametrize(("reserve_mw", "places"), [(0.9, 1), (0.95, 0)])
def test_a_reserve_is_not_given_to_jobs(reserve_mw, places):
    # 2 MW of imports less 1 of load and the reserve: a job takes 0.1
    grid = [region("north", 100, reserve_up_mw=reserve_mw)]

    rows = Town(steps=1).send(*grid, site("n1", "north"), job("j"), tick(0))

    (row,) = at(rows, "dispatch", 0, **NORTH)
    assert sum(placed["state"] == "placed" for placed in rows["placements"]) == places
    assert row["compute_mj"] == places * MWH_MJ // 10
    assert row["shed_mj"] == 0


def test_a_margin_of_the_forecast_is_kept_free_of_the_export_limit():
    asked = {"export_max_mw": 3.0, "export_price_per_mwh": 10.0, "reserve_down_ppm": 250_000}

    rows = Town(steps=1).send(region("north", 100, ren_avail_mw=8.0, **asked), GRID[1], tick(0))

    assert at(rows, "dispatch", 0, **NORTH)[0]["export_mj"] == MWH_MJ  # 3 MW less 25 % of 8 MW


def test_a_reserve_beyond_the_connection_is_named_and_alerted_until_it_fits():
    town = Town(steps=1)
    first = town.send(hour(0, 100, reserve_up_mw=9.0), GRID[1], tick(0))
    then = town.send(hour(1, 100), tick(1))

    assert "RESERVE_SHORT" in at(first, "dispatch", 0, **NORTH)[0]["status"]
    alerts = [a for a in first["alerts"] + then["alerts"] if a["kind"] == "RESERVE_SHORT"]
    assert [(a["raised_ms"], a["cleared_ms"]) for a in alerts] == [
        (T0, None),
        (T0, T0 + HOUR_MS),
    ]


def test_a_request_that_cannot_be_served_raises_an_alert_and_one_served_clears_it():
    town = Town(steps=2)
    first = town.send(*GRID, request(3.0, until=2), tick(0))
    then = town.send(request(0.5, until=2), tick(1))

    found = [(a["kind"], a["cleared_ms"]) for a in first["alerts"] + then["alerts"]]
    assert found == [("FLEX_UNMET", None), ("FLEX_UNMET", T0 + HOUR_MS)]
    signal = at(first, "signals", 0, **NORTH)[0]
    assert (signal["flex_min_mj"], signal["flex_max_mj"]) == (MWH_MJ, MWH_MJ)
    assert signal["flex_deadline_ms"] == T0 + 2 * HOUR_MS
