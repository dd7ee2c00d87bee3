"""Speeds by precision and where data are: both decide where a job of the tick runs, and how long.

A job draws 0.1 MW: an hour costs 10 in the north (100 a MWh) and 30 in the south (300 a MWh).
"""

import random

import pytest

from kernels.match.checks import RATE_MAX_PPM
from schemas import market
from tests.unit.dispatch_cases import (
    GRID,
    HOUR_MS,
    MICRO,
    SITES,
    T0,
    Town,
    job,
    outcome,
    path,
    region,
    site,
    tick,
)


def placed(*rows):
    """The placement of job j: site, hours, cost in currency; or the reason."""
    (row,) = Town(steps=2).send(*GRID, *rows, tick())["placements"]
    if row["site_id"] is None:
        return row["reason"]
    return row["site_id"], (row["end_ms"] - T0) // HOUR_MS, row["cost_micro"] / MICRO


def test_a_rate_of_a_site_is_at_most_what_the_match_takes():
    assert market.RATE_MAX_PPM == RATE_MAX_PPM


@pytest.mark.parametrize(
    ("north", "asked", "found"),
    [
        ({}, {}, ("n1", 1, 10.0)),
        ({}, {"precision": "fp16"}, ("n1", 1, 10.0)),  # a site that says nothing has rate 1
        ({"rate_fp32_ppm": 0}, {}, ("s1", 1, 30.0)),  # a job that says nothing asks for fp32
        ({"rate_fp16_ppm": 0}, {"precision": "fp16"}, ("s1", 1, 30.0)),
        ({"rate_fp16_ppm": 0}, {"precision": "int8"}, ("n1", 1, 10.0)),
        ({"rate_fp64_ppm": 500_000}, {"precision": "fp64"}, ("n1", 2, 20.0)),
        ({"rate_fp64_ppm": 300_000}, {"precision": "fp64"}, ("s1", 1, 30.0)),  # 4 hours, 40
        ({"rate_int8_ppm": 4_000_000}, {"precision": "int8", "duration_ms": 8 * HOUR_MS},
         ("n1", 2, 20.0)),
    ],
)  # fmt: skip
def test_a_site_runs_a_job_at_its_speed_in_that_precision(north, asked, found):
    assert placed(site("n1", "north", **north), SITES[1], path(), job("j", **asked)) == found


def test_a_precision_that_no_site_has_is_the_reason():
    sites = [site(name, where, rate_fp64_ppm=0) for name, where in (("a", "north"), ("b", "south"))]
    assert placed(*sites, job("j", precision="fp64")) == "REJECTED_PRECISION"


@pytest.mark.parametrize(
    ("way", "data", "found"),
    [
        ({"price_per_gb": 3.0}, {"data_gb": 10.0}, ("s1", 1, 30.0)),  # in the north 10 + 30
        ({"price_per_gb": 1.0}, {"data_gb": 10.0}, ("n1", 1, 20.0)),  # 10 + 10
        ({}, {"data_gb": 10.0}, ("n1", 1, 10.0)),  # a path that says nothing is free
        ({"price_per_gb": 3.0}, {"data_gb": 0.0}, ("n1", 1, 10.0)),
        ({"price_per_gb": 3.0}, {}, ("n1", 1, 10.0)),
        (None, {"data_gb": 0.001}, "REJECTED_LATENCY"),  # nothing leads from users to data
    ],
)
def test_a_job_goes_to_its_data_or_they_to_it_whichever_costs_less(way, data, found):
    paths = [] if way is None else [path() | way]
    assert placed(*SITES, *paths, job("j", data_region="south", **data)) == found


def test_data_where_no_path_leads_from_are_a_reason_for_that_job_alone():
    rows = [job("j", data_region="atlantis", data_gb=1.0), job("k")]
    found = outcome(Town().send(*GRID, *SITES, *rows, tick()))
    assert found == {
        "j": ("rejected", None, "REJECTED_LATENCY"),
        "k": ("placed", "n1", "PLACED"),
    }


def test_a_path_both_ways_with_two_prices_is_as_cheap_as_the_cheaper():
    back = path() | {"id": "q", "region": "south", "to_region": "north", "price_per_gb": 0.5}
    rows = [path() | {"price_per_gb": 9.0}, back, job("j", data_region="south", data_gb=10.0)]
    assert placed(*SITES, *rows) == ("n1", 1, 15.0)


def test_a_column_that_is_of_a_path_says_nothing_of_an_offer():
    offer = site("n1", "north", rtt_ms=5.0, price_per_gb=7.0)
    rows = [offer, path(), job("j", data_region="south", data_gb=10.0)]
    assert placed(*rows) == ("n1", 1, 10.0)


@pytest.mark.parametrize("seed", range(20))
def test_with_room_for_all_every_job_is_where_it_costs_least(seed):
    """Against a search in plain Python; prices are powers of two, so that sums are exact."""
    chance = random.Random(seed)
    regions = [f"r{n}" for n in range(chance.randint(1, 4))]
    price = {name: 2 ** chance.randint(3, 8) for name in regions}
    rows = [region(name, price[name], import_max_mw=1e3) for name in regions]
    sites = []
    for n in range(chance.randint(1, 6)):
        rates = {name: chance.choice((0, 500_000, 2_000_000)) for name in market.RATES}
        rates = {name: rate for name, rate in rates.items() if chance.random() < 0.7}
        given = {"cores_milli": 10**6, "power_w": 10**8} | rates
        sites.append(site(f"s{n}", chance.choice(regions), **given))
    ways = {}
    for n in range(chance.randint(0, 5)):
        a, b = chance.choice(regions), chance.choice([*regions, "sea"])
        per_gb = chance.choice((0.0, 0.25, 2.0, 16.0))
        rows.append(
            path(1.0) | {"id": f"w{n}", "region": a, "to_region": b, "price_per_gb": per_gb}
        )
        for way in ((a, b), (b, a)):
            ways[way] = min(per_gb, ways.get(way, per_gb))
    reached = {name: {name, *(b for a, b in ways if a == name)} for name in regions}
    jobs = []
    for n in range(12):
        asked = {"region": chance.choice(regions), "duration_ms": chance.randint(1, 8) * HOUR_MS}
        asked["precision"] = chance.choice(market.PRECISIONS)
        if chance.random() < 0.7:
            asked["data_gb"] = float(2 ** chance.randint(0, 4))
            asked["data_region"] = chance.choice([*regions, "sea", "atlantis"])
        jobs.append(job(f"j{n:02}", power_w=125_000, **asked))

    found = Town(steps=2).send(*rows, *sites, *jobs, tick())["placements"]

    for asked, row in zip(jobs, found, strict=True):
        costs = {}
        for one in sites:
            rate = one.get(f"rate_{asked['precision']}_ppm", 10**6)
            source, gb = asked.get("data_region"), asked.get("data_gb", 0.0)
            apart = gb and source != one["region"]
            near = one["region"] in reached[asked["region"]]
            if rate and near and (not apart or (source, one["region"]) in ways):
                hours = -(-asked["duration_ms"] * 10**6 // (rate * HOUR_MS))
                moved = gb * ways[source, one["region"]] if apart else 0.0
                costs[one["id"]] = hours, hours * price[one["region"]] / 8 + moved
        best = min((cost for _, cost in costs.values()), default=1_000.0)
        if best >= 1_000.0:
            assert row["state"] == "rejected", asked
            continue
        hours, cost = costs[row["site_id"]]
        assert (cost, row["cost_micro"]) == (best, best * MICRO), asked
        assert row["end_ms"] - row["start_ms"] == hours * HOUR_MS
