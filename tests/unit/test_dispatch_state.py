"""Dispatch: what a domain remembers between ticks; the same rows however the market is cut."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.registry import Domain
from streams.dispatch.matching import WAITING_MAX_MS
from streams.dispatch.state import MEMORY_MS, Markets
from tests.unit.dispatch_cases import (
    GRID,
    HOUR_MS,
    MWH_MJ,
    SITES,
    T0,
    Town,
    at,
    by_topic,
    job,
    outage,
    outcome,
    path,
    region,
    tick,
)

NORTH = {"region": "north"}


def test_nothing_is_decided_before_a_tick_says_so():
    town = Town()

    assert town.send(*GRID, *SITES, job("j"), region("north", 1, hour=50)) == {}
    assert {row["tick_ms"] for row in town.send(tick(3))["dispatch"]} == {T0 + 3 * HOUR_MS}


def test_what_runs_holds_its_place_and_a_job_that_does_not_fit_beside_it_waits():
    town = Town()
    first = town.send(*GRID, *SITES, job("a", cores_milli=6_000, duration_ms=3 * HOUR_MS), tick(0))
    beside = town.send(job("b", cores_milli=6_000), job("c"), tick(1))
    town.send(tick(2))
    after = town.send(tick(3))

    assert outcome(first)["a"][0] == "placed"
    assert outcome(beside)["b"][0] == "rejected"
    assert outcome(beside)["c"][0] == "placed"
    (now,) = at(beside, "dispatch", 1, **NORTH)
    assert now["compute_mj"] == MWH_MJ // 5  # a and c
    assert outcome(after) == {"b": ("placed", "n1", "PLACED")}


def test_a_planned_job_is_matched_again_when_its_hour_has_come():
    town = Town()
    cheap_later = [region("north", 100, hours=1), region("north", 20, hour=1)]
    planned = town.send(*cheap_later, GRID[1], *SITES, job("j"), tick(0))
    placed = town.send(tick(1))
    gone = town.send(tick(2))

    (row,) = planned["placements"]
    assert (row["state"], row["start_ms"], row["cost_micro"]) == (
        "planned",
        T0 + HOUR_MS,
        2_000_000,
    )
    assert outcome(placed)["j"] == ("placed", "n1", "PLACED")
    assert gone["placements"] == []


@pytest.mark.parametrize("released_ms", [0, HOUR_MS, HOUR_MS + 1, 2 * HOUR_MS - 1, 2 * HOUR_MS])
def test_a_job_starts_at_the_first_tick_from_its_release_on(released_ms):
    town = Town()
    rows = [town.send(*GRID, *SITES, job("j", start_ms=T0 + released_ms), tick(0))]
    rows += [town.send(tick(hour)) for hour in range(1, 4)]

    decided = [row for found in rows for row in found["placements"]]
    placed = [row["start_ms"] for row in decided if row["state"] == "placed"]

    assert "rejected" not in {row["state"] for row in decided}
    assert placed == [T0 + -(-released_ms // HOUR_MS) * HOUR_MS]


def test_a_deadline_that_has_passed_is_final_and_other_reasons_are_not():
    town = Town()
    town.send(*GRID, tick(0))
    waiting = [job("late", end_ms=T0 + 2 * HOUR_MS), job("free")]
    without = town.send(*waiting, tick(1))
    with_sites = town.send(*SITES, tick(2))
    later = town.send(tick(3))

    assert {reason for _, _, reason in outcome(without).values()} == {"REJECTED_SITE_DOWN"}
    assert outcome(with_sites) == {
        "late": ("rejected", None, "REJECTED_DEADLINE"),
        "free": ("placed", "n1", "PLACED"),
    }
    assert later["placements"] == []


@pytest.mark.parametrize("given_ms", [{}, {"start_ms": T0 - 10 * WAITING_MAX_MS}])
def test_a_job_that_never_fits_is_given_up_after_a_week_and_known_for_another(given_ms):
    town, never = Town(steps=1), job("j", cores_milli=11_000, **given_ms)
    week_h = WAITING_MAX_MS // HOUR_MS
    forever = [region("north", 100, hours=10_000), region("south", 300, hours=10_000)]

    found = [town.send(*forever, *SITES, never, tick(0))]
    found += [town.send(tick(hour)) for hour in (week_h, week_h + 1, week_h + 2)]
    again = town.apply(town.placed(never))
    town.send(tick(week_h + 2 + MEMORY_MS // HOUR_MS))
    forgotten = town.apply(town.placed(never))

    assert [len(rows["placements"]) for rows in found] == [1, 1, 1, 0]
    assert (again.accepted, again.duplicate, forgotten.accepted) == (0, 1, 1)


def test_rows_that_come_after_their_tick_count_for_the_next_one_only():
    town = Town()
    first = town.send(*GRID, *SITES, tick(0))
    late = town.send(region("north", 100, load_mw=1.5), job("j"))
    again = town.apply(town.placed(tick(0)))
    second = town.send(tick(1))

    assert (late, again.duplicate, again.outputs) == ({}, 1, [])
    assert [row["load_mj"] for row in at(first, "dispatch", 1, **NORTH)] == [MWH_MJ]
    assert [row["load_mj"] for row in at(second, "dispatch", 1, **NORTH)] == [MWH_MJ * 3 // 2]
    assert outcome(second)["j"][0] == "placed"


def test_a_step_takes_the_latest_row_that_began_and_stale_ones_are_flagged():
    town = Town(steps=3)
    hourly = [region("north", 100, hour=h, hours=1, load_mw=1.0 + h / 4) for h in (1, 0)]
    town.send(*hourly, region("north", 100, hours=1, load_mw=0.5), GRID[1])

    fresh, stale = town.send(tick(0)), town.send(tick(2))
    renewed = town.send(region("north", 100, hour=3), tick(3))

    loads = [row["load_mj"] for row in fresh["dispatch"] if row["region"] == "north"]
    assert loads == [MWH_MJ // 2, MWH_MJ * 5 // 4, MWH_MJ * 5 // 4]
    flags = [
        {row["stale_inputs"] for row in rows["signals"] if row["region"] == "north"}
        for rows in (fresh, stale, renewed)
    ]
    assert flags == [{False}, {True}, {False}]
    raised = [(a["kind"], a["id"], a["cleared_ms"]) for a in stale["alerts"] + renewed["alerts"]]
    assert raised == [
        ("STALE_INPUTS", "north", None),
        ("STALE_INPUTS", "north", T0 + 3 * HOUR_MS),
    ]


def test_rows_that_come_again_are_duplicates_by_their_place_and_jobs_also_by_their_id():
    town = Town()
    rows = town.placed(*GRID, *SITES, job("j"))
    other_partition = {**rows[0], "source_partition": 1, "source_offset": 0}

    once = town.apply(rows)
    again = town.apply([*rows[2:], other_partition, *town.placed(job("j"))])

    assert (once.accepted, once.duplicate) == (5, 0)
    assert (again.accepted, again.duplicate) == (1, 4)


def test_a_row_of_an_unregistered_domain_is_refused_alone():
    town = Town()
    rows = town.placed(*GRID, *SITES, job("j"), tick())
    rows.insert(1, {**rows[0], "domain": "village"})

    emit = town.apply(rows)

    (refused,) = emit.refused
    assert (refused.row, refused.reason, refused.field) == (1, "unknown_domain", "domain")
    assert "'village'" in refused.message
    assert outcome(by_topic([emit]))["j"][0] == "placed"


def test_two_domains_of_one_partition_do_not_see_each_other():
    town, alone = Town(), Town()
    town.registry.put(Domain(id="village", partition=0, steps=1), 0)
    other = region("north", 7, import_max_mw=0.0, load_mw=0.0), tick(9)

    rows = town.placed(*GRID, *SITES, job("j"))
    rows += [row | {"domain": "village"} for row in town.placed(*other, job("j"))]
    found = by_topic([town.apply([*rows, *town.placed(tick(0))])])

    mine = {name: [r for r in rows if r["domain"] == "town"] for name, rows in found.items()}
    expected = alone.send(*GRID, *SITES, job("j"), tick(0))
    assert {name: rows for name, rows in mine.items() if rows} == expected
    assert {row["tick_ms"] for row in found["dispatch"]} == {T0, T0 + 9 * HOUR_MS}


def test_what_is_past_is_forgotten():
    town = Town(steps=1)
    sizes = []
    for hour in range(60):
        rows = [region("north", 100, hour=hour, hours=1), outage("n1", hour), job(f"j{hour}")]
        town.send(*rows, *SITES, tick(hour))
        market = town.markets.of("town")
        sizes.append(len(market.regions["north"]) + len(market.running))

    assert max(sizes[30:]) == max(sizes[:30]) <= 6
    assert len(market.of("outage")) == 1


NEWS = [
    *GRID,
    *SITES,
    path(),
    job("a"),
    job("b", cores_milli=6_000, duration_ms=2 * HOUR_MS),
    tick(0),
    job("c", region="south", max_rtt_ms=10.0),
    outage("s1", 1),
    region("north", 90, hour=1, hours=1, ren_avail_mw=1.5),
    {"kind": "storage", "id": "x", "region": "north", "charge_max_mw": 1.0, "soc_mwh": 0.25}
    | {"discharge_max_mw": 1.0, "soc_max_mwh": 1.0, "eta_charge": 0.9},
    job("d", region="south", site_id="s1"),
    tick(1),
    tick(2),  # north is late from here on
    region("south", 70, hour=2),
    region("north", 85, hour=2, hours=1, ren_avail_mw=1.2),
    {"kind": "storage", "id": "x", "region": "north", "charge_max_mw": 1.0, "soc_mwh": 0.5}
    | {"discharge_max_mw": 1.0, "soc_max_mwh": 1.0, "eta_charge": 0.9},
    region("north", 90, hour=2, hours=1, ren_avail_mw=1.4),
    tick(3),
]


def whole():
    town = Town()
    return town, by_topic([town.apply(town.placed(*NEWS))])


@settings(max_examples=12, deadline=None)
@given(st.lists(st.integers(0, len(NEWS)), max_size=6))
def test_any_cut_with_restarts_and_repeats_gives_the_same_rows(cuts):
    (expected_town, expected), town = whole(), Town()
    rows, emits = town.placed(*NEWS), []
    cuts = sorted(cuts)
    for i, j in zip([0, *cuts], [*cuts, len(rows)], strict=True):
        town.markets = Markets.load(town.markets.dump())
        emits.append(town.apply(rows[i:j]))
        assert not town.apply(rows[i:j]).outputs, "the same rows again"

    assert by_topic(emits) == expected
    assert town.markets.dump() == expected_town.markets.dump()
    assert {row["state"] for row in expected["placements"]} >= {"placed", "rejected"}
    assert {row["revision"] for row in expected["dispatch"]} == {0, 1, 2}
