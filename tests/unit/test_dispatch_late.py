"""Late input that arrives: the open tick is planned again, as a revision, from how it was found."""

import pytest
from dispatch_cases import GRID, HOUR_MS, MWH_MJ, SITES, T0, Town, at, by_topic, job, region, tick

from gridloom import Downstream
from schemas import ALERTS, DISPATCH, PRICES, SIGNALS

BATTERY = {
    "kind": "storage",
    "id": "battery",
    "region": "north",
    "charge_max_mw": 1.0,
    "discharge_max_mw": 1.0,
    "soc_mwh": 1.0,
    "soc_max_mwh": 1.0,
}
WASHING = {
    "kind": "request",
    "id": "washing",
    "region": "north",
    "start_ms": T0,
    "end_ms": T0 + 3 * HOUR_MS,
    "energy_mwh": 1.5,
    "power_max_mw": 1.0,
}
NORTH = {"region": "north"}
ARRIVED_MS = T0 + HOUR_MS + 60_000


def hour(h, price, **given):
    return region("north", price, hour=h, hours=1, **given)


def late(*rows):
    """A town whose north is late at tick 1, after these rows beside its first hour."""
    town = Town(steps=3)
    town.send(hour(0, 100), GRID[1], *rows, tick(0))
    return town, town.send(tick(1))


def without(rows, *names):
    return [{name: row[name] for name in row if name not in names} for row in rows]


def test_late_input_plans_the_open_tick_again_under_the_same_keys():
    town, held = late(BATTERY)

    rows = town.send(hour(1, 900))

    assert rows.keys() == {"dispatch", "prices", "signals", "alerts"}
    for topic in (DISPATCH, PRICES, SIGNALS):
        again = [row for row in held[topic.name] if row.get("product", "energy") == "energy"]
        keys = [
            {tuple(row[name] for name in topic.key) for row in found}
            for found in (again, rows[topic.name])
        ]
        assert keys[0] == keys[1]
        assert {row["revision"] for row in rows[topic.name]} == {1}
    (before,), (now,) = (at(found, "dispatch", 1, **NORTH) for found in (held, rows))
    assert "TIMEOUT_HELD" in before["status"]
    assert now["status"] == "OK"
    assert not at(rows, "signals", 1, **NORTH)[0]["stale_inputs"]


@pytest.mark.parametrize("price", [20, 100, 900])
def test_it_decides_what_the_tick_would_have_decided_in_time_and_so_does_the_next(price):
    given = (BATTERY, WASHING)
    new = hour(1, price, ren_avail_mw=0.4)
    town, _ = late(*given)
    revised = town.send(new)
    after = town.send(hour(2, 300), tick(2))

    punctual = Town(steps=3)
    punctual.send(hour(0, 100), GRID[1], *given, tick(0))
    in_time = punctual.send(new, tick(1))
    then = punctual.send(hour(2, 300), tick(2))

    for name in ("dispatch", "signals"):
        assert without(revised[name], "revision") == without(in_time[name], "revision")
    assert {name: rows for name, rows in after.items() if name != "alerts"} == {
        name: rows for name, rows in then.items() if name != "alerts"
    }


def test_a_second_late_row_begins_where_the_tick_began_and_not_where_the_first_ended():
    town, _ = late(BATTERY, WASHING)
    first = town.send(hour(1, 900))
    second = town.send(hour(1, 10))

    punctual, _ = late(BATTERY, WASHING)
    alone = punctual.send(hour(1, 10))

    assert {row["revision"] for row in first["dispatch"]} == {1}
    assert {row["revision"] for row in second["dispatch"]} == {2}
    assert without(second["dispatch"], "revision") == without(alone["dispatch"], "revision")
    market, other = (t.markets.of("town") for t in (town, punctual))
    assert market.soc_mwh == other.soc_mwh
    assert market.of("request")[0]["energy_mwh"] == other.of("request")[0]["energy_mwh"]


def test_two_late_regions_are_planned_as_if_in_time_once_both_have_come():
    link = {"kind": "link", "id": "l", "region": "north", "to_region": "south", "cap_mw": 0.5}
    south = [region("south", 300, hour=h, hours=1) for h in (0, 1)]
    rows = [hour(1, 20), south[1]]
    town, punctual = Town(steps=3), Town(steps=3)
    for each in (town, punctual):
        each.send(hour(0, 100), south[0], link, BATTERY, WASHING, tick(0))
    town.send(tick(1))
    one, both = [town.send(row) for row in rows]
    in_time = punctual.send(*rows, tick(1))

    (still,) = at(one, "dispatch", 1, region="south")
    assert "TIMEOUT_HELD" in still["status"]
    assert without(both["dispatch"], "revision") == without(in_time["dispatch"], "revision")
    assert {row["revision"] for row in both["dispatch"]} == {2}
    market, other = (t.markets.of("town") for t in (town, punctual))
    assert (market.soc_mwh, market.things, market.planned) == (
        other.soc_mwh,
        other.things,
        other.planned,
    )


def test_what_was_measured_since_the_tick_is_not_overwritten_by_its_revision():
    town, _ = late(BATTERY, WASHING)
    town.send(BATTERY | {"soc_mwh": 0.25}, WASHING | {"energy_mwh": 0.75})

    town.send(hour(1, 900))

    market = town.markets.of("town")
    assert market.soc_mwh == {"battery": 0.25}
    assert market.of("request")[0]["energy_mwh"] == 0.75


def test_jobs_stay_where_they_were_placed_and_their_load_stays_in_the_plan():
    town = Town(steps=3)
    town.send(hour(0, 100), GRID[1], *SITES, tick(0))
    held = town.send(job("j"), tick(1))
    assert [row["state"] for row in held["placements"]] == ["placed"]

    rows = town.send(hour(1, 5_000))

    assert "placements" not in rows
    (row,) = at(rows, "dispatch", 1, **NORTH)
    assert row["compute_mj"] == at(held, "dispatch", 1, **NORTH)[0]["compute_mj"] == MWH_MJ // 10
    assert [running.job_id for running in town.markets.of("town").running] == ["j"]


def test_the_alert_of_stale_input_is_cleared_when_the_input_arrives():
    town, held = late()

    rows = town.send(hour(1, 100) | {"received_ms": ARRIVED_MS})

    found = [
        (alert["kind"], alert["raised_ms"], alert["cleared_ms"])
        for alert in held["alerts"] + rows["alerts"]
    ]
    raised_ms = T0 + HOUR_MS
    assert found == [
        ("STALE_INPUTS", raised_ms, None),
        ("STALE_INPUTS", raised_ms, ARRIVED_MS),
    ]


@pytest.mark.parametrize(
    "row",
    [
        hour(2, 100),  # a forecast: hour 1 is still not known
        hour(0, 90),  # of an hour that is over
        region("south", 90),  # was not late
        region("west", 90),  # was not known
        BATTERY,
    ],
)
def test_any_other_row_behind_the_tick_waits_for_the_next(row):
    town, _ = late()

    assert town.send(row) == {}


def test_a_tick_is_not_planned_again_once_the_next_has_come():
    town, _ = late()
    town.send(hour(1, 100), tick(2))

    assert town.send(hour(1, 50)) == {}


def test_a_late_row_that_comes_again_changes_nothing():
    town, _ = late()
    rows = town.placed(hour(1, 100))

    once, again = town.apply(rows), town.apply(rows)

    assert (once.accepted, again.duplicate, again.outputs) == (1, 1, [])


@pytest.mark.parametrize("topic", [DISPATCH, PRICES, SIGNALS, ALERTS], ids=lambda t: t.name)
def test_a_consumer_holds_the_revision_whatever_the_order(topic):
    town = Town(steps=3)
    emits = [
        town.apply(town.placed(*rows))
        for rows in ([hour(0, 100), GRID[1], tick(0)], [tick(1)], [hour(1, 900)])
    ]
    outputs = [output.rows for emit in emits for output in emit.outputs if output.topic is topic]

    held, reverse = Downstream(topic), Downstream(topic)
    for rows in outputs:
        held.take(rows)
    for rows in reversed(outputs):
        reverse.take(rows)

    assert held.conflicting == reverse.conflicting == 0
    key = topic.key
    last = {tuple(row[n] for n in key): row for row in by_topic(emits)[topic.name]}
    for found in (held, reverse):  # what was sent last counts
        assert {tuple(row[n] for n in key): row for row in found} == last
