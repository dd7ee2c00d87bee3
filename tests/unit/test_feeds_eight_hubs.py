"""The demo's scenario: consistent energies, a market worth solving, and bad readings that show."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from typing import Any

import orjson
import pytest

from schemas import MARKET_IN, READINGS, TELEMETRY_IN, TOPICS
from schemas.codec import header_map
from schemas.registry import Contract, Meter, format_entry, parse_entry
from schemas.units import to_base
from streams.feeds import EightHubs
from streams.feeds.bad_readings import BAD_READINGS
from streams.ingest.admission import Admitted, Source, admit
from streams.registry import Registry

INTERVAL_MS = 300_000
Rows = list[dict[str, Any]]


def telemetry(feed: EightHubs) -> Rows:
    return [
        orjson.loads(line)
        for event in feed.events()
        if event.topic == TELEMETRY_IN.name
        for line in event.value.split(b"\n")
    ]


def market(feed: EightHubs) -> Rows:
    return [
        orjson.loads(line)
        for event in feed.events()
        if event.topic == MARKET_IN.name
        for line in event.value.split(b"\n")
    ]


def as_taken(feed: EightHubs) -> Iterator[Admitted]:
    """Every message as ingest takes it."""
    registry = Registry()
    for offset, entry in enumerate(feed.entries()):
        registry.put(parse_entry(format_entry(entry)), offset)
    view = registry.at(registry.offset)
    for offset, event in enumerate(feed.events()):
        source = Source(TOPICS[event.topic], event.partition, offset, event.timestamp_ms)
        yield admit(source, event.value, header_map(event.headers), view)


@pytest.fixture(scope="module")
def day() -> Rows:
    """A day with two racks a site and no bad readings."""
    return telemetry(EightHubs(racks=2, bad=False))


@pytest.fixture(scope="module")
def national() -> Rows:
    """The day's market."""
    return market(EightHubs(racks=1, bad=False))


def test_the_demo_plays_more_than_320_000_readings() -> None:
    feed = EightHubs()
    played = [event for event in feed.events() if event.topic == TELEMETRY_IN.name]
    assert sum(event.rows for event in played) == feed.readings >= 320_000
    assert {event.partition for event in played} == {0, 1, 2, 3}


def test_another_seed_is_another_day() -> None:
    one, other = (list(EightHubs(seed, hours=1, racks=1).events()) for seed in (1, 2))
    assert one != other


def energies(rows: Rows) -> dict[tuple[str, int, str], int]:
    """(site, end, register) -> mJ, as the rows say, racks added up."""
    found: dict[tuple[str, int, str], int] = defaultdict(int)
    for row in rows:
        if row["kind"] != "gauge":
            site = row["meter_id"].rpartition("-")[0]
            key = site, row["end_ms"], row["register"]
            found[key] += to_base(row["quantity"], row["unit"])
    return found


def test_facility_energy_is_exactly_it_and_cooling_and_distribution(day: Rows) -> None:
    modulus = 1_000_000 * 3_600_000_000
    found = energies(day)
    facility = {key[:2]: mj for key, mj in found.items() if key[2] == "facility.energy"}
    assert len(facility) == 24 * 288
    for (site, end_ms), mj in facility.items():
        counter = [found[site, at, "cooling.energy"] for at in (end_ms - INTERVAL_MS, end_ms)]
        cooling = (counter[1] - counter[0]) % modulus
        assert mj == (
            found[site, end_ms, "it.energy"] + found[site, end_ms, "distribution.energy"] + cooling
        )


def test_pue_lies_between_1_15_and_1_35_in_every_interval(day: Rows) -> None:
    found = energies(day)
    ratios = [
        Fraction(mj, found[site, end_ms, "it.energy"])
        for (site, end_ms, register), mj in found.items()
        if register == "facility.energy"
    ]
    rounding = Fraction(1, 10_000)
    assert Fraction(115, 100) - rounding <= min(ratios)
    assert max(ratios) <= Fraction(135, 100) + rounding
    assert max(ratios) - min(ratios) > Fraction(1, 20)


def test_one_counter_rolls_over_within_its_registered_modulus(day: Rows) -> None:
    feed = EightHubs(racks=2, bad=False)
    moduli = {e.id: e.register_modulus for e in feed.entries() if isinstance(e, Meter)}
    counters: dict[str, list[int]] = defaultdict(list)
    for row in day:
        if row["kind"] == "register":
            counters[row["meter_id"]].append(to_base(row["quantity"], row["unit"]))
    falls = {meter: sum(b < a for a, b in pairwise(counts)) for meter, counts in counters.items()}
    assert len(counters) == 24
    assert sum(falls.values()) == 1
    assert all(max(counts) < moduli[meter] for meter, counts in counters.items())


def test_devices_write_numbers_and_decimal_strings(day: Rows) -> None:
    assert {type(row["quantity"]) for row in day if row["register"] == "it.energy"} == {float, str}


def test_a_site_is_dark_during_its_outage(day: Rows, national: Rows) -> None:
    outage = next(row for row in national if row["kind"] == "outage")
    assert outage["end_ms"] - outage["start_ms"] == 2 * 3_600_000
    found = energies(day)
    dark = found[outage["id"], outage["end_ms"], "it.energy"]
    after = found[outage["id"], outage["end_ms"] + INTERVAL_MS, "it.energy"]
    assert 0 < 5 * dark < after


def test_every_kind_of_bad_reading_is_refused_for_its_reason() -> None:
    feed = EightHubs(hours=2, racks=2)
    reasons = Counter(r.reason for taken in as_taken(feed) for r in taken.refused)
    found_by_ingest = set(BAD_READINGS) - {"conflict"}
    assert len(found_by_ingest) == 12
    assert set(reasons) == found_by_ingest
    assert reasons.total() == feed.bad_count - 1  # one conflict among twenty


def test_a_conflict_repeats_an_earlier_reading_with_another_quantity() -> None:
    said: dict[tuple[Any, ...], list[Any]] = defaultdict(list)
    for taken in as_taken(EightHubs(hours=2, racks=2)):
        for row in taken.rows:
            if row.topic is READINGS:
                reading = row.fields
                key = tuple(reading[name] for name in ("meter_id", "register", "start_ms"))
                said[key].append(reading["quantity"])
    twice = [quantities for quantities in said.values() if len(quantities) > 1]
    assert len(twice) == 1
    assert len(set(twice[0])) == 2


def test_western_power_is_in_surplus_at_noon_and_the_east_imports(national: Rows) -> None:
    """More sun and wind than load, links, storage and export can take together."""
    at_noon = {
        row["region"]: row
        for row in national
        if row["kind"] == "region" and row["start_ms"] == 1_750_435_200_000 + 13 * 3_600_000
    }
    takes: dict[str, float] = defaultdict(float)
    for row in national:
        if row["kind"] == "link":
            takes[row["region"]] += row["cap_mw"]
        if row["kind"] == "storage":
            takes[row["region"]] += row["charge_max_mw"]
    surplus = {
        region: row["ren_avail_mw"] - row["load_mw"] - row["export_max_mw"] - takes[region]
        for region, row in at_noon.items()
    }
    assert max(surplus.values()) > 0
    assert all(
        at_noon[region]["ren_avail_mw"] < at_noon[region]["load_mw"]
        for region in ("yangtze-delta", "greater-bay-area", "jing-jin-ji")
    )


def test_a_forecast_is_revised_and_ends_as_the_state(national: Rows) -> None:
    seen: dict[tuple[str, int], list[float]] = defaultdict(list)
    for row in national:
        if row["kind"] == "region":
            seen[row["region"], row["start_ms"]].append(row["ren_avail_mw"])
    later = [values for (_, start), values in seen.items() if len(values) > 3]
    assert later
    assert sum(values[0] != values[-1] for values in later) > len(later) / 2


def test_jobs_of_all_classes_arrive_and_some_cannot_run(national: Rows) -> None:
    jobs = [row for row in national if row["kind"] == "job"]
    offers = [row for row in national if row["kind"] == "offer"]
    assert 600 <= len(jobs) <= 1000
    assert {job["class"] for job in jobs} == {"general", "intelligent", "super"}
    assert len({job["account_id"] for job in jobs}) == 12
    largest = max(offer["accel_milli"] for offer in offers)
    too_large = [job for job in jobs if job["accel_milli"] > largest]
    too_late = [job for job in jobs if job["start_ms"] + job["duration_ms"] > job["end_ms"]]
    too_far = [job for job in jobs if job.get("max_rtt_ms") == 3.0]
    assert min(len(too_large), len(too_late), len(too_far)) >= 3
    assert len(too_large) + len(too_late) + len(too_far) < len(jobs) / 20


def test_inference_must_stay_near_and_training_may_go_anywhere(national: Rows) -> None:
    jobs = [row for row in national if row["kind"] == "job" and row["class"] == "intelligent"]
    near = [job for job in jobs if job.get("max_rtt_ms") == 20.0]
    free = [job for job in jobs if "max_rtt_ms" not in job]
    rtt = {
        (row["region"], row["to_region"]): row["rtt_ms"]
        for row in national
        if row["kind"] == "path"
    }
    assert len(rtt) == 28
    assert rtt["yangtze-delta", "gansu"] > 20
    assert len(near) > 100
    assert len(free) > 100


def test_three_contracts_grant_bill_signals_and_hub_rollups() -> None:
    contracts = {e.topic: e for e in EightHubs(hours=1).entries() if isinstance(e, Contract)}
    assert set(contracts) == {"settlement", "signals", "rollups"}
    bill = contracts["settlement"]
    needed = {"line_id", "revision", "quantity_mj", "price_micro_per_kwh", "amount_micro"}
    assert needed <= set(bill.columns)
    assert [(c.column, c.op, c.value) for c in contracts["rollups"].where] == [
        ("level", "eq", "hub")
    ]
    assert all(parse_entry(format_entry(contract)) == contract for contract in contracts.values())
