"""Real series through meter and rollup: a day's energy is the source's, to the last mJ."""

from collections import defaultdict
from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from kernels.meter import Slots
from kernels.rollup import Merge, Windows
from schemas import READINGS, ROLLUPS, USAGE

pytestmark = pytest.mark.data

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
MJ_PER_KWH, MJ_PER_MWH = Decimal("3.6e9"), Decimal("3.6e12")


def reading(site_id: str, meter_id: str, start_ms: int, length_ms: int, mj: int):
    return {
        "meter_id": meter_id,
        "register": "it.energy",
        "kind": "delta",
        "start_ms": start_ms,
        "end_ms": start_ms + length_ms,
        "quantity": mj,
        "unit": "mJ",
        "revision": 0,
        "quality": "ACTUAL",
        "epoch": 0,
        "site_id": site_id,
        "rack_id": meter_id,
        "hub_id": "hub",
        "account_id": "account",
        "source": "file",
        "source_partition": 0,
        "source_offset": 0,
        "source_row": 0,
        "received_ms": start_ms + length_ms,
        "registry_offset": 0,
    }


def first_day(table, column: str = "interval_start"):
    """Rows of the first whole day of a table, with start_ms."""
    start_ms = pc.cast(pc.cast(table.column(column), "timestamp[ms]"), "int64")
    day = -(-pc.min(start_ms).as_py() // DAY_MS)
    table = table.append_column("start_ms", start_ms)
    return table.filter(pc.equal(pc.divide(start_ms, DAY_MS), day)).to_pylist()


def citylearn(data_dir: Path):
    """17 buildings, hourly kWh; a building is a site."""
    for row in first_day(pq.read_table(data_dir / "citylearn-2022" / "buildings_hourly.parquet")):
        kwh = Decimal(repr(row["non_shiftable_load_kwh"]))
        mj = int((kwh * MJ_PER_KWH).to_integral_value(ROUND_HALF_EVEN))
        building = f"building-{row['building']}"
        yield reading(building, f"load-of-{building}", row["start_ms"], HOUR_MS, mj)


def rts_gmlc(data_dir: Path):
    """Three utilities of one site, 5-minute mean MW."""
    table = pq.read_table(data_dir / "rts-gmlc" / "load_utility_real_time.parquet")
    for row in first_day(table):
        for utility in ("aps_mw", "nevp_mw", "ldwp_mw"):
            exact = Decimal(repr(row[utility])) * MJ_PER_MWH / 12
            mj = int(exact.to_integral_value(ROUND_HALF_EVEN))
            yield reading("utilities", utility, row["start_ms"], 300_000, mj)


def energy(topic, batches, place: str, amount: str):
    """Sum of the highest revisions, by place."""
    best = {}
    for batch in batches:
        for row in batch.to_pylist():
            key = tuple(row[name] for name in topic.key)
            best[key] = max(best.get(key, row), row, key=lambda r: r["revision"])
    total = defaultdict(int)
    for row in best.values():
        total[row.get("level", ""), row[place]] += row[amount]
    return total


@pytest.mark.parametrize("source", [citylearn, rts_gmlc])
def test_a_day_s_energy_is_the_source_s_to_the_last_millijoule(data_dir: Path, source):
    rows = list(source(data_dir))
    assert len(rows) >= 17 * 24
    exact = defaultdict(int)
    for row in rows:
        exact["rack", f"{row['site_id']}/{row['rack_id']}"] += row["quantity"]
        exact["site", row["site_id"]] += row["quantity"]
        exact["hub", row["hub_id"]] += row["quantity"]
    assert exact["hub", "hub"] > 0
    # each row twice, the second time in the next batch
    batches = [READINGS.rows(rows[max(0, n - 50) : n + 100]) for n in range(0, len(rows), 100)]
    slots, windows, merge = Slots(), Windows(), Merge()
    usage = [slots.apply(batch).changed for batch in batches]
    applied = [windows.apply(batch, 0) for batch in batches]
    finished = [a.rollups for a in applied] + [merge.apply(a.partials).rollups for a in applied]
    assert energy(ROLLUPS, finished, "id", "energy_mj") == exact
    metered = energy(USAGE, usage, "site_id", "quantity")
    assert metered == {("", place): mj for (level, place), mj in exact.items() if level == "site"}
