"""Dispatch: a tick of a town of two sites, worked out by hand."""

import pytest

from tests.unit.dispatch_cases import (
    GRID,
    HOUR_MS,
    MICRO,
    MWH_MJ,
    SITES,
    T0,
    Town,
    at,
    job,
    outage,
    outcome,
    path,
    region,
    site,
    tick,
)

NORTH = {"region": "north"}


def test_a_placed_job_and_the_load_are_bought_at_the_price_of_their_region():
    rows = Town().send(*GRID, *SITES, job("j"), tick())

    (placed,) = rows["placements"]
    assert (placed["state"], placed["site_id"], placed["reason"]) == ("placed", "n1", "PLACED")
    assert (placed["start_ms"], placed["end_ms"]) == (T0, T0 + HOUR_MS)
    assert placed["cost_micro"] == 10 * MICRO  # 0.1 MWh at 100
    (now,), (then,) = at(rows, "dispatch", 0, **NORTH), at(rows, "dispatch", 1, **NORTH)
    assert (now["load_mj"], now["compute_mj"]) == (MWH_MJ, MWH_MJ // 10)
    assert (now["import_mj"], then["import_mj"]) == (MWH_MJ * 11 // 10, MWH_MJ)
    assert [row["price_micro"] for row in at(rows, "prices", product="energy")] == [
        100 * MICRO,
        300 * MICRO,
    ]


def test_every_decision_carries_its_proof():
    rows = Town().send(*GRID, *SITES, job("j"), tick())

    for row in rows["dispatch"]:
        assert row["objective"] == pytest.approx(1.1 * 100 + 100 + 2 * 300)
        assert row["lower_bound"] == pytest.approx(row["objective"])
        assert 0 <= abs(row["gap_rel"]) <= 1e-9
        assert (row["status"], row["shed_mj"]) == ("OK", 0)
    (placed,) = rows["placements"]
    assert placed["objective"] == pytest.approx(10)
    assert placed["lower_bound"] <= placed["objective"] + 1e-9


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ({"reject_cost": 9.0}, "REJECTED_COST"),
        ({"cores_milli": 10_001}, "REJECTED_TOO_LARGE"),
        ({"site_id": "nowhere"}, "REJECTED_AFFINITY"),
        ({"site_id": "s1"}, "REJECTED_LATENCY"),
        ({"residency": "south"}, "REJECTED_LATENCY"),
        ({"residency": "south", "max_rtt_ms": 9.0}, "REJECTED_LATENCY"),
        ({"end_ms": T0 + HOUR_MS - 1}, "REJECTED_DEADLINE"),
        ({"class": "super"}, "REJECTED_CLASS"),
    ],
)
def test_a_job_that_cannot_be_placed_says_why(asked, reason):
    sites = [site("n1", "north", classes="general"), site("s1", "south", classes="general")]
    paths = [path()] if "max_rtt_ms" in asked else []

    rows = Town().send(*GRID, *sites, *paths, job("j", **asked), job("other"), tick())

    assert outcome(rows)["j"] == ("rejected", None, reason)
    assert outcome(rows)["other"] == ("placed", "n1", "PLACED")


def test_over_a_path_a_job_goes_where_energy_is_cheaper():
    rows = Town().send(*GRID, *SITES, path(), job("j", region="south", max_rtt_ms=10.0), tick())

    assert outcome(rows)["j"] == ("placed", "n1", "PLACED")


def test_cores_are_full_and_the_next_job_is_planned_for_the_next_hour():
    rows = Town().send(*GRID, *SITES, *(job(f"j{n}") for n in range(5)), tick())

    states = sorted(state for state, _, _ in outcome(rows).values())
    assert states == ["placed", "placed", "planned", "planned", "rejected"]
    (left,) = [row for row in rows["placements"] if row["state"] == "rejected"]
    assert (left["reason"], left["detail"]) == ("REJECTED_CAPACITY", "cores_milli at n1")
    (now,), (then,) = at(rows, "dispatch", 0, **NORTH), at(rows, "dispatch", 1, **NORTH)
    assert now["compute_mj"] == then["compute_mj"] == MWH_MJ // 5


@pytest.mark.parametrize(
    ("import_max_mw", "pue_ppm", "placed"),
    [(1.35, None, 3), (1.3, None, 3), (1.29, None, 2), (1.3, 1_500_000, 2), (1.0, None, 0)],
)
def test_jobs_are_placed_as_far_as_the_grid_has_power_left(import_max_mw, pue_ppm, placed):
    grid = [region("north", 100, import_max_mw=import_max_mw), GRID[1]]
    jobs = [job(f"j{n}", cores_milli=1_000) for n in range(4)]

    rows = Town(steps=1).send(*grid, site("n1", "north", pue_ppm=pue_ppm), *jobs, tick())

    assert [state for state, _, _ in outcome(rows).values()].count("placed") == placed
    (now,) = at(rows, "dispatch", **NORTH)
    assert now["import_mj"] <= import_max_mw * MWH_MJ
    assert now["shed_mj"] == 0


def test_two_sites_of_a_region_share_its_power_by_what_they_offer():
    grid = [region("north", 100, import_max_mw=1.5), GRID[1]]  # 0.5 MW: 0.375 and 0.125
    sites = [site("n1", "north", power_w=3_000_000), site("n2", "north")]
    jobs = [job(f"j{n}", cores_milli=1_000) for n in range(6)]

    found = outcome(Town(steps=1).send(*grid, *sites, *jobs, tick()))

    assert sorted(s for _, s, _ in found.values() if s) == ["n1", "n1", "n1", "n2"]


def test_a_grid_without_a_limit_is_no_reason_to_place_nothing():
    grid = [region("north", 100, import_max_mw=1e308), GRID[1]]

    assert outcome(Town().send(*grid, *SITES, job("j"), tick()))["j"][0] == "placed"


def test_a_site_whose_region_is_not_known_takes_no_job():
    ghost = site("ghost", "nowhere", power_w=10**9)
    unbound = [job("a"), job("b", residency="north"), job("c", site_id="ghost")]

    rows = Town().send(*GRID, ghost, *unbound, tick())

    assert {state for state, _, _ in outcome(rows).values()} == {"rejected"}


def test_a_region_that_the_balance_refuses_takes_no_job_and_the_other_does_not_notice():
    broken = {"kind": "storage", "id": "b", "region": "north", "charge_max_mw": 1.0}
    broken |= {"discharge_max_mw": 1.0, "soc_mwh": 0.0, "soc_max_mwh": 1.0, "eta_charge": 0.0}
    jobs = [job("j"), job("k", region="south")]

    rows = Town().send(*GRID, *SITES, broken, *jobs, tick())
    well = Town().send(*GRID, *SITES, *jobs, tick())

    assert outcome(rows)["j"][0] == "rejected"
    assert outcome(rows)["k"] == ("placed", "s1", "PLACED")
    (alert,) = rows["alerts"]
    assert (alert["kind"], alert["id"]) == ("BAD_INPUT", "north")
    assert "eta" in alert["detail"]
    south = [at(found, "dispatch", region="south")[0] for found in (rows, well)]
    assert south[0]["import_mj"] == south[1]["import_mj"] == MWH_MJ * 11 // 10
    assert outcome(well)["j"][0] == "placed"


def test_a_site_that_is_down_takes_no_job_and_the_alert_begins_and_ends():
    town = Town()
    jobs = [job("j", site_id="n1"), job("k")]
    down = town.send(*GRID, *SITES, outage("n1"), *jobs, tick())
    still = town.send(outage("n1", hours=2), tick(1))
    back = town.send(tick(2))

    for rows in (down, still):
        assert outcome(rows)["j"] == ("rejected", None, "REJECTED_SITE_DOWN")
        assert outcome(rows)["k"][0] == "rejected"
    assert outcome(back) == dict.fromkeys("jk", ("placed", "n1", "PLACED"))
    (raised,), (cleared,) = down["alerts"], back["alerts"]
    assert still["alerts"] == []
    assert (raised["kind"], raised["id"], raised["cleared_ms"]) == ("OUTAGE", "n1", None)
    assert (cleared["raised_ms"], cleared["cleared_ms"]) == (T0, T0 + 2 * HOUR_MS)


def test_load_that_nothing_can_serve_is_shed_and_raises_an_alert():
    grid = [region("north", 100, load_mw=3.0), GRID[1]]

    rows = Town(steps=1).send(*grid, *SITES, job("j"), tick())

    (now,) = at(rows, "dispatch", **NORTH)
    assert (now["shed_mj"], now["import_mj"]) == (MWH_MJ, 2 * MWH_MJ)
    assert outcome(rows)["j"][0] == "rejected"
    assert [(a["kind"], a["id"]) for a in rows["alerts"]] == [("SHED", "north")]


def test_wind_is_used_curtailed_and_signalled_to_the_last_unit():
    windy = region("north", 100, ren_avail_mw=1.3)

    rows = Town(steps=1).send(windy, GRID[1], SITES[0], job("j"), tick())

    (now,), (signal,) = at(rows, "dispatch", **NORTH), at(rows, "signals", **NORTH)
    assert (now["ren_used_mj"], now["curtailed_mj"]) == (MWH_MJ * 11 // 10, MWH_MJ * 2 // 10)
    assert (signal["green_surplus_mj"], signal["curtailed_mj"]) == (MWH_MJ // 5, MWH_MJ // 5)
    assert (signal["ren_share_ppm"], signal["stale_inputs"]) == (MICRO, False)
    assert rows["placements"][0]["cost_micro"] == 0  # wind that is there costs nothing


def test_storage_is_charged_where_wind_is_left_and_holds_it_until_the_next_tick():
    store = {"kind": "storage", "id": "b", "region": "north", "charge_max_mw": 1.0}
    store |= {"discharge_max_mw": 1.0, "soc_mwh": 0.0, "soc_max_mwh": 1.0}
    windy, calm = region("north", 100, hours=1, ren_avail_mw=2.0), region("north", 100, hour=1)
    town = Town()

    first = town.send(windy, calm, GRID[1], store, tick())
    second = town.send(tick(1))

    (now,), (then,) = at(first, "dispatch", 0, **NORTH), at(first, "dispatch", 1, **NORTH)
    assert (now["charge_mj"], now["soc_mj"], now["curtailed_mj"]) == (MWH_MJ, MWH_MJ, 0)
    assert (then["discharge_mj"], then["soc_mj"], then["import_mj"]) == (MWH_MJ, 0, 0)
    both = at(second, "dispatch", 1, **NORTH) + at(second, "dispatch", 2, **NORTH)
    assert sum(row["discharge_mj"] for row in both) == MWH_MJ
    assert sum(row["import_mj"] for row in both) == MWH_MJ


def test_flexible_load_is_served_in_its_cheapest_hour_and_only_once():
    wish = {"kind": "request", "id": "q", "region": "north", "energy_mwh": 0.5}
    wish |= {"power_max_mw": 1.0, "start_ms": T0, "end_ms": T0 + 4 * HOUR_MS}
    prices = [region("north", price, hour) for hour, price in enumerate((100, 50, 80))]
    town = Town()

    first = town.send(*prices, GRID[1], wish, tick())
    second = town.send(tick(1))
    third = town.send(tick(2))

    flexible = [
        [row["flex_mj"] for row in rows["dispatch"] if row["region"] == "north"]
        for rows in (first, second, third)
    ]
    assert flexible == [[0, MWH_MJ // 2], [MWH_MJ // 2, 0], [0, 0]]
    assert at(first, "signals", **NORTH)[0]["flex_deadline_ms"] == T0 + 4 * HOUR_MS
