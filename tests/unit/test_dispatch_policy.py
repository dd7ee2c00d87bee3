"""Dispatch under a policy of the registry: valid at the tick, as of the batch's offset."""

import json

import pytest

from schemas.registry import parse_entry
from tests.unit.dispatch_cases import (
    GRID,
    HOUR_MS,
    MICRO,
    SITES,
    T0,
    Town,
    at,
    job,
    path,
    tick,
)

CHEAP = {"cores_milli": 1_000, "power_w": 10_000}


def town(*policies, **domain):
    """A town whose registry holds the policies at offsets 1, 2, ..."""
    made = Town(**domain)
    for offset, policy in enumerate(policies, 1):
        entry = {"kind": "policy", "id": "town"} | policy
        made.registry.put(parse_entry(json.dumps(entry).encode()), offset)
    return made


def states(rows):
    return {row["job_id"]: (row["state"], row["reason"]) for row in rows["placements"]}


def test_a_class_rule_sends_a_class_west_and_no_other():
    dearer = {"rules": [{"job_class": "super", "regions": ["north"], "factor_ppm": 9_000_000}]}
    jobs = [job("g", **CHEAP), job("s", **CHEAP) | {"class": "super"}]
    rows = town(dearer).send(*GRID, *SITES, path(), *jobs, tick(), offset=1)
    assert {row["job_id"]: row["site_id"] for row in rows["placements"]} == {"g": "n1", "s": "s1"}


def test_a_quota_holds_over_what_runs_already():
    quota = {"quotas": [{"id": "q", "account_id": "tenant", "limits": {"cores_milli": 1_500}}]}
    made = town(quota)
    long = CHEAP | {"duration_ms": 2 * HOUR_MS}
    first = made.send(*GRID, *SITES, job("a", **long), tick(0), offset=1)
    assert states(first) == {"a": ("placed", "PLACED")}
    second = made.send(
        job("b", **CHEAP), job("c", **CHEAP) | {"account_id": "x"}, tick(1), offset=1
    )
    assert states(second)["c"] == ("placed", "PLACED")
    assert states(second)["b"][0] == "planned"  # as soon as the quota is free again
    (waits,) = [row for row in second["placements"] if row["job_id"] == "b"]
    assert waits["start_ms"] == T0 + 2 * HOUR_MS


def test_what_a_quota_rejects_names_it_and_it_has_a_price():
    quota = {"quotas": [{"id": "q", "account_id": "tenant", "limits": {"jobs": 1}}]}
    jobs = [job("a", **CHEAP), job("b", reject_cost=50.0, **CHEAP)]
    rows = town(quota, steps=1).send(*GRID, *SITES, *jobs, tick(), offset=1)
    (rejected,) = [row for row in rows["placements"] if row["state"] == "rejected"]
    assert (rejected["job_id"], rejected["reason"]) == ("b", "REJECTED_QUOTA")
    assert rejected["detail"] == "jobs of quota q at n1"
    (price,) = at(rows, "prices", product="quota_jobs")
    assert price["id"] == "q"
    # one more job of the quota saves the 50 of b less the 1 that it costs
    assert 49 * MICRO - 1 <= price["price_micro"] <= 999 * MICRO


def test_no_account_exceeds_its_share_of_what_is_offered():
    fair = {"fairness": {"max_share_ppm": 100_000, "weights": {"vip": 2}}}
    jobs = [
        job(f"{who}{k}", account_id=who, **CHEAP) for who in ("vip", "tenant") for k in "abcdef"
    ]
    rows = town(fair, steps=1).send(*GRID, *SITES, path(), *jobs, tick(), offset=1)
    placed = [name for name, (state, _) in states(rows).items() if state == "placed"]
    # 20 cores are offered: a tenth of them to each account, a fifth to one of weight 2
    assert len([name for name in placed if name.startswith("vip")]) == 4
    assert len([name for name in placed if name.startswith("tenant")]) == 2


def test_what_is_reserved_for_a_region_waits_for_it():
    kept = {"id": "k", "pairing": "south", "regions": ["north"], "limits": {"cores_milli": 9_500}}
    policy = {"quotas": [kept | {"reserved": True}]}
    rows = town(policy, steps=1).send(
        *GRID,
        SITES[0],
        path(),
        job("a", **CHEAP),
        job("b", region="south", **CHEAP),
        tick(),
        offset=1,
    )
    assert states(rows)["a"][1] == "REJECTED_QUOTA"
    assert states(rows)["b"] == ("placed", "PLACED")


def test_groups_apart_hold_over_what_runs_already():
    made = town(steps=1)
    long = CHEAP | {"duration_ms": 2 * HOUR_MS, "apart": "db"}
    first = made.send(*GRID, *SITES, path(), job("a", **long), tick(0))
    second = made.send(job("b", **long), tick(1))
    assert [row["site_id"] for row in first["placements"]] == ["n1"]
    assert [row["site_id"] for row in second["placements"]] == ["s1"]


@pytest.mark.parametrize(("offset", "placed"), [(0, True), (1, False), (2, True)])
def test_the_policy_is_the_one_known_at_the_batch_and_valid_at_the_tick(offset, placed):
    none = {"quotas": [{"id": "q", "limits": {"jobs": 0}}]}
    lifted = {"quotas": []}
    later = {"quotas": [{"id": "q", "limits": {"jobs": 0}}], "valid_from_ms": T0 + HOUR_MS}
    made = town(none, lifted, later, steps=1)
    rows = made.send(*GRID, *SITES, job("a", **CHEAP), tick(), offset=offset)
    assert (states(rows)["a"] == ("placed", "PLACED")) is placed


def test_the_policys_weights_replace_the_domains():
    green = {"weights": {"energy_ppm": 500_000, "carbon_price_per_t": 0}}
    rows = town(green, carbon_price_per_t=1_000.0).send(*GRID, *SITES, job("j"), tick(), offset=1)
    assert rows["placements"][0]["cost_micro"] == 5 * MICRO  # half of 0.1 MWh at 100


def test_a_group_that_runs_together_waits_for_a_site_that_holds_all_of_it():
    jobs = [job(name, together="g") for name in "abc"]  # 12 cores of the 10 that a site has
    rows = town(steps=1).send(*GRID, *SITES, path(), *jobs, tick())
    assert {state for state, _ in states(rows).values()} == {"rejected"}
    rows = town(steps=1).send(*GRID, *SITES, path(), *jobs[:2], job("d", **CHEAP), tick())
    assert {row["job_id"]: row["site_id"] for row in rows["placements"]} == dict.fromkeys(
        "abd", "n1"
    )


def test_a_job_that_comes_late_joins_its_group_where_that_runs():
    made = town(steps=1)
    long = CHEAP | {"duration_ms": 2 * HOUR_MS, "together": "g"}
    first = made.send(*GRID, SITES[1], path(), job("a", **long), tick(0))
    assert [row["site_id"] for row in first["placements"]] == ["s1"]
    second = made.send(SITES[0], job("b", **long), job("c", **CHEAP), tick(1))
    assert {row["job_id"]: row["site_id"] for row in second["placements"]} == {"b": "s1", "c": "n1"}


def test_a_limit_that_changes_with_time_binds_the_slots_that_it_covers():
    night = {"jobs": [[0, 1], [T0 + HOUR_MS, 0], [T0 + 2 * HOUR_MS, 3]]}
    quota = {"quotas": [{"id": "q", "account_id": "tenant", "limits": night}]}
    made = town(quota, steps=3)
    jobs = [job(name, **CHEAP) for name in "abcd"]
    rows = made.send(*GRID, *SITES, *jobs, tick(), offset=1)
    starts = sorted((row["start_ms"] - T0) // HOUR_MS for row in rows["placements"])
    assert starts == [0, 2, 2, 2]


def test_the_last_slot_has_the_lowest_limit_while_the_longest_job_may_run_on():
    later = {"jobs": [[0, 1], [T0 + 3 * HOUR_MS, 0]]}
    quota = {"quotas": [{"id": "q", "account_id": "tenant", "limits": later}]}
    for hours, placed in ((1, True), (2, True), (3, False)):  # it might start in the last slot
        made = town(quota, steps=2)
        some = job("a", **CHEAP) | {"duration_ms": hours * HOUR_MS}
        rows = made.send(*GRID, *SITES, some, tick(), offset=1)
        assert (states(rows)["a"][0] == "placed") is placed
