"""Real data through the whole pipeline on a real Kafka: every agent a process, nothing mocked."""

import uuid
from collections import Counter
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from schemas import PLACEMENTS, ROLLUPS, USAGE
from streams.demo import Workers, create_topics, flow
from streams.feeds import Feed, OpenB, RtsGmlc
from streams.report import identities, newest
from streams.rows import read_rows
from streams.settings import Settings

pytestmark = [pytest.mark.kafka, pytest.mark.data]

MJ_PER_MWH = Decimal("3.6e12")
Rows = list[dict[str, Any]]


async def pipeline(broker: str, feed: Feed, logs: Path) -> Settings:
    """The settings of a namespace of its own, once every agent has taken in the whole feed."""
    settings = Settings(brokers=broker, namespace=f"t{uuid.uuid4().hex[:8]}.")
    await create_topics(settings)
    workers = Workers(settings, logs)
    try:
        await flow(settings, feed, workers, on_rows=lambda _: None, on_moment=lambda _: None)
    finally:
        workers.stop()
    assert {child.returncode for child in workers.children.values()} == {0}
    return settings


async def rows_of(settings: Settings, topic: str) -> Rows:
    return [row async for row in read_rows(settings, topic)]


def week_by_area(data: Path) -> Counter[str]:
    """Energy of every series of the first week, by area, straight from the files, in mJ."""
    expected: Counter[str] = Counter()
    rts = data / "rts-gmlc"

    def add(area: str, mw: float, per_hour: int) -> None:
        exact = Decimal(repr(mw)) * MJ_PER_MWH / per_hour
        expected[f"area-{area}"] += int(exact.to_integral_value(ROUND_HALF_EVEN))

    with localcontext(prec=60):
        for area, utility, peak in (("1", "aps", 8084), ("2", "nevp", 6353), ("3", "ldwp", 6322)):
            column = pq.read_table(rts / "load_utility_real_time.parquet")[f"{utility}_mw"]
            for mw in column.to_pylist()[: 7 * 288]:
                add(area, mw * 2850.0 / peak, 12)
        for file, per_hour in (
            ("wind_real_time", 12),
            ("pv_day_ahead", 1),
            ("rtpv_day_ahead", 1),
            ("hydro_day_ahead", 1),
        ):
            table = pq.read_table(rts / f"{file}.parquet")
            for unit in table.column_names[1:]:
                for mw in table[unit].to_pylist()[: 7 * 24 * per_hour]:
                    add(unit[0], mw, per_hour)
    return expected


def assert_identity(identity: dict[str, dict[str, int]]) -> None:
    for stage, counts in identity.items():
        parts = sum(count for term, count in counts.items() if term != "consumed")
        assert counts["consumed"] == parts, stage


@pytest.mark.timeout(240)
async def test_a_week_of_rts_gmlc_keeps_every_mj(
    broker: str, data_dir: Path, tmp_path: Path
) -> None:
    feed = RtsGmlc(data_dir, days=7)
    settings = await pipeline(broker, feed, tmp_path)
    expected = week_by_area(data_dir)

    usage = newest(await rows_of(settings, USAGE.name), USAGE.key)
    metered: Counter[str] = Counter()
    for row in usage:
        metered[row["hub_id"]] += row["quantity"]
    assert metered == expected

    windows = newest(await rows_of(settings, ROLLUPS.name), ROLLUPS.key)
    rolled: Counter[str] = Counter()
    for row in windows:
        if row["level"] == "hub":
            rolled[row["id"]] += row["energy_mj"]
    assert rolled == expected

    identity = await identities(settings)
    assert identity["ingest.telemetry.in"]["consumed"] == feed.readings
    assert identity["meter.readings"]["accepted"] == feed.readings
    assert_identity(identity)
    dispatched = await rows_of(settings, "dispatch")
    assert len({row["tick_ms"] for row in dispatched}) == 7 * 24
    assert max(row["gap_rel"] for row in dispatched) <= 1e-7
    for row in dispatched:
        assert row["ren_used_mj"] + row["curtailed_mj"] == row["ren_avail_mj"]


@pytest.mark.timeout(240)
async def test_every_pod_of_openb_is_placed_or_rejected_with_a_reason(
    broker: str, data_dir: Path, tmp_path: Path
) -> None:
    feed = OpenB(data_dir)
    settings = await pipeline(broker, feed, tmp_path)

    pods = newest(await rows_of(settings, PLACEMENTS.name), PLACEMENTS.key)
    assert len(pods) == 8152
    assert {row["state"] for row in pods} <= {"placed", "rejected"}
    for row in pods:
        assert (row["state"] == "placed") == (row["reason"] == "PLACED")
        assert (row["state"] == "placed") == ("site_id" in row)
    assert max(row["gap_rel"] for row in pods) < 0.05
    assert_identity(await identities(settings))
