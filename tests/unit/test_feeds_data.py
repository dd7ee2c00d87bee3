"""The data sets as feeds: their figures recomputed from the files, by other means."""

import csv
from collections import Counter, defaultdict
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq
import pytest

from schemas.registry import Account, Meter, Tariff, format_entry, parse_entry
from streams.feeds import CityLearn, Gaia, OpenB, RtsGmlc
from streams.feeds.feed import Feed
from streams.feeds.rts_units import unit_steps
from streams.registry import Registry

HOUR_MS = 3_600_000
MJ_PER_MWH = Decimal("3.6e12")
Rows = list[dict[str, Any]]

pytestmark = pytest.mark.data


def rows_of(feed: Feed, topic: str) -> Rows:
    return [
        orjson.loads(line)
        for event in feed.events()
        if event.topic == topic
        for line in event.value.split(b"\n")
    ]


def of_kind(rows: Rows, kind: str) -> Rows:
    return [row for row in rows if row["kind"] == kind]


def half_even(amount: Decimal) -> int:
    return int(amount.to_integral_value(ROUND_HALF_EVEN))


# RTS-GMLC


def test_rts_energy_by_area_is_the_files_to_the_last_mj(data_dir: Path) -> None:
    start_day = 182
    rts = data_dir / "rts-gmlc"
    expected: Counter[tuple[str, str]] = Counter()
    with localcontext(prec=60):
        for area, utility, peak in (("1", "aps", 8084), ("2", "nevp", 6353), ("3", "ldwp", 6322)):
            column = pq.read_table(rts / "load_utility_real_time.parquet")[f"{utility}_mw"]
            for mw in column.to_pylist()[start_day * 288 : start_day * 288 + 288]:
                exact = Decimal(repr(mw * 2850.0 / peak)) * MJ_PER_MWH / 12
                expected[f"area-{area}", "load.energy"] += half_even(exact)
        files = (
            ("wind_real_time", "wind", 12),
            ("pv_day_ahead", "pv", 1),
            ("rtpv_day_ahead", "rtpv", 1),
            ("hydro_day_ahead", "hydro", 1),
        )
        for file, register, per_hour in files:
            table = pq.read_table(rts / f"{file}.parquet")
            first, last = start_day * 24 * per_hour, (start_day + 1) * 24 * per_hour
            for unit in table.column_names[1:]:
                for mw in table[unit].to_pylist()[first:last]:
                    exact = Decimal(repr(mw)) * MJ_PER_MWH / per_hour
                    expected[f"area-{unit[0]}", f"{register}.energy"] += half_even(exact)

    feed = RtsGmlc(data_dir, days=1, start_day=start_day)
    area_of = {e.id: e.site_id for e in feed.entries() if isinstance(e, Meter)}
    played: Counter[tuple[str, str]] = Counter()
    for row in rows_of(feed, "telemetry.in"):
        assert row["unit"] == "mJ"
        assert type(row["quantity"]) is int
        played[area_of[row["meter_id"]], row["register"]] += row["quantity"]
    assert played == expected
    assert len(played) == 3 + 2 + 3 * 3  # wind stands in areas 1 and 3 only


def test_rts_five_minute_load_adds_up_to_the_hourly_load_of_the_areas(data_dir: Path) -> None:
    feed = RtsGmlc(data_dir, days=2, start_day=10)
    energy: Counter[tuple[str, int]] = Counter()
    for row in rows_of(feed, "telemetry.in"):
        if row["register"] == "load.energy":
            energy[row["meter_id"], row["start_ms"] // HOUR_MS] += row["quantity"]
    hourly = pq.read_table(data_dir / "rts-gmlc/load_day_ahead.parquet").slice(240, 48).to_pylist()
    assert len(energy) == 3 * 48
    for number, row in enumerate(hourly):
        for area in (1, 2, 3):
            hour = feed.start_ms // HOUR_MS + number
            mwh = energy[f"area-{area}-load", hour] / float(MJ_PER_MWH)
            # the hourly series is of whole MW of the utility
            assert mwh == pytest.approx(row[f"area_{area}"], abs=0.5)


def test_rts_intervals_cover_the_days_without_gap_or_overlap(data_dir: Path) -> None:
    spans: dict[str, list[tuple[int, int]]] = defaultdict(list)
    feed = RtsGmlc(data_dir, days=1)
    for row in rows_of(feed, "telemetry.in"):
        spans[row["meter_id"]].append((row["start_ms"], row["end_ms"]))
    assert len(spans) == 3 + 4 + 25 + 31 + 20
    for intervals in spans.values():
        starts, ends = zip(*intervals, strict=True)
        assert starts == (feed.start_ms, *ends[:-1])
        assert ends[-1] == feed.start_ms + 24 * HOUR_MS


def test_rts_supply_blocks_hold_every_thermal_mw_cheapest_first(data_dir: Path) -> None:
    supplies = of_kind(rows_of(RtsGmlc(data_dir, days=1), "market.in"), "supply")
    with (data_dir / "rts-gmlc/gen.csv").open() as opened:
        units = list(csv.DictReader(opened))
    for area in "123":
        blocks = [row for row in supplies if row["region"] == f"area-{area}"]
        thermal = sum(
            float(unit["PMax MW"])
            for unit in units
            if unit["GEN UID"][0] == area and float(unit["Fuel Price $/MMBTU"]) > 0
        )
        assert len(blocks) <= 8
        assert sum(row["cap_mw"] for row in blocks) == pytest.approx(thermal, abs=1e-3)
        costs = [row["cost_per_mwh"] for row in blocks]
        assert costs == sorted(costs)


def test_a_units_steps_cost_heat_rate_times_fuel(data_dir: Path) -> None:
    with (data_dir / "rts-gmlc/gen.csv").open() as opened:
        unit = next(u for u in csv.DictReader(opened) if u["GEN UID"] == "101_CT_1")
    first, second = list(unit_steps(unit))[:2]
    assert first == pytest.approx((8.0, 13.114 * 10.3494, 160 * 13.114 * 0.000453592))
    assert second == pytest.approx((4.0, 9.456 * 10.3494, 160 * 9.456 * 0.000453592))


def test_rts_links_add_up_the_branches_between_areas(data_dir: Path) -> None:
    links = of_kind(rows_of(RtsGmlc(data_dir, days=1), "market.in"), "link")
    caps = {(row["region"], row["to_region"]): row["cap_mw"] for row in links}
    either_way = {("1", "2"): 1175.0, ("1", "3"): 600.0, ("2", "3"): 500.0}
    assert caps == {
        (f"area-{x}", f"area-{y}"): mw
        for (a, b), mw in either_way.items()
        for x, y in ((a, b), (b, a))
    }


def test_rts_wind_forecast_is_replaced_by_what_came(data_dir: Path) -> None:
    market = rows_of(RtsGmlc(data_dir, days=1, start_day=40), "market.in")
    seen: dict[tuple[str, int], list[float]] = defaultdict(list)
    for row in of_kind(market, "region"):
        seen[row["region"], row["start_ms"]].append(row["ren_avail_mw"])
    table = pq.read_table(data_dir / "rts-gmlc/wind_real_time.parquet")
    ahead = pq.read_table(data_dir / "rts-gmlc/wind_day_ahead.parquet")
    at = 40 * 24 + 12
    came = sum(table["122_WIND_1"].to_pylist()[at * 12 : at * 12 + 12]) / 12
    forecast = ahead["122_WIND_1"].to_pylist()[at]
    first, last = seen["area-1", 1_577_836_800_000 + at * HOUR_MS]
    assert last - first == pytest.approx(came - forecast, abs=1e-5)
    assert abs(last - first) > 1


# CityLearn


def test_citylearn_tariff_is_the_sources_price_in_every_hour(data_dir: Path) -> None:
    feed = CityLearn(data_dir, days=364)
    registry = Registry()
    for offset, entry in enumerate(feed.entries()):
        registry.put(parse_entry(format_entry(entry)), offset)
    view = registry.at(registry.offset)
    account = view.find(Account, "building-01", feed.start_ms)
    assert account is not None
    prices = pq.read_table(data_dir / "citylearn-2022/pricing_hourly.parquet")
    column = prices["electricity_pricing"].to_pylist()
    for hour in range(364 * 24):
        at_ms = feed.start_ms + hour * HOUR_MS
        tariff = view.find(Tariff, account.tariff_id, at_ms)
        assert tariff is not None
        assert tariff.price_micro_per_kwh(at_ms) == round(column[hour + 1] * 1_000_000)


def test_citylearn_readings_are_the_rows_of_the_file(data_dir: Path) -> None:
    feed = CityLearn(data_dir, days=1, start_day=1)
    played = {(r["meter_id"], r["start_ms"]): r["quantity"] for r in rows_of(feed, "telemetry.in")}
    assert len(played) == 2 * 17 * 24
    table = pq.read_table(data_dir / "citylearn-2022/buildings_hourly.parquet").to_pylist()
    noon_ms = 1_470_009_600_000 + 36 * HOUR_MS  # 2016-08-02 12:00
    found = 0
    for row in table:
        if row["interval_start"].isoformat() == "2016-08-02T12:00:00":
            name = f"building-{row['building']:02d}"
            assert played[f"{name}-load", noon_ms] == row["non_shiftable_load_kwh"]
            found += 1
    first = next(
        r
        for r in table
        if r["building"] == 1 and r["interval_start"].isoformat() == "2016-08-02T12:00:00"
    )
    pv_kwh = 4.0 * first["solar_generation_w_per_kw"] / 1000
    assert played["building-01-pv", noon_ms] == pytest.approx(pv_kwh)
    assert found == 17


def test_citylearn_balances_seventeen_regions_without_links(data_dir: Path) -> None:
    market = rows_of(CityLearn(data_dir, days=1), "market.in")
    assert len({row["region"] for row in of_kind(market, "region")}) == 17
    assert not of_kind(market, "link")
    batteries = of_kind(market, "storage")
    assert {row["soc_max_mwh"] for row in batteries} == {0.0064}
    assert {row["charge_max_mw"] for row in batteries} == {0.005}
    assert all(b["eta_charge"] * b["eta_discharge"] == pytest.approx(0.9) for b in batteries)


# openb


def test_openb_asks_for_every_pod_and_offers_every_node(data_dir: Path) -> None:
    market = rows_of(OpenB(data_dir), "market.in")
    jobs, offers = of_kind(market, "job"), of_kind(market, "offer")
    assert len({job["id"] for job in jobs}) == len(jobs) == 8_152
    assert sum(job["accel_milli"] for job in jobs) == 6_086_800
    assert sum(offer["accel_milli"] for offer in offers) == 6_212_000
    assert sum(job["cores_milli"] for job in jobs) == 85_436_012
    with (data_dir / "openb/openb_node_list_all_node.csv").open() as opened:
        cores = sum(int(node["cpu_milli"]) for node in csv.DictReader(opened))
    assert sum(offer["cores_milli"] for offer in offers) == cores
    assert len(offers) == 8


def test_openb_power_is_never_short_where_cores_and_gpus_are_not(data_dir: Path) -> None:
    market = rows_of(OpenB(data_dir), "market.in")
    for offer in of_kind(market, "offer"):
        assert offer["power_w"] == offer["cores_milli"] * 5 // 1000 + offer["accel_milli"] * 3 // 10
    for job in of_kind(market, "job"):
        full_w = Decimal(job["cores_milli"] * 5 + job["accel_milli"] * 300) / 1000
        assert job["power_w"] <= full_w < job["power_w"] + 1


# GAIA


@pytest.mark.parametrize("trace", ["azure", "pai", "mustang"])
def test_gaia_jobs_are_the_traces_core_hours(trace: str, data_dir: Path) -> None:
    jobs = of_kind(rows_of(Gaia(data_dir, trace=trace, days=2, start_day=30), "market.in"), "job")
    table = pq.read_table(data_dir / f"gaia/{trace}.parquet").to_pylist()
    played = [row for row in table if 720 <= row["arrival_time"] < 768]
    assert len(jobs) == len(played) > 0
    milli_ms = sum(round(row["length"] * HOUR_MS) * int(row["cpus"]) * 1000 for row in played)
    assert sum(job["duration_ms"] * job["cores_milli"] for job in jobs) == milli_ms


def test_gaia_leaves_every_job_three_hours_at_least(data_dir: Path) -> None:
    jobs = of_kind(rows_of(Gaia(data_dir, days=2), "market.in"), "job")
    assert all(j["end_ms"] - j["start_ms"] - j["duration_ms"] >= 3 * HOUR_MS for j in jobs)
    assert len({job["region"] for job in jobs}) == 8
