"""A nation, two hubs and three cities on a real Kafka: quotas go down, and are kept each tick."""

import json
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from schemas import MARKET, PLACEMENTS
from schemas.registry import AnyEntry, Domain, parse_entry
from streams.demo import Workers, create_topics, flow
from streams.downstream import Downstream
from streams.feeds.feed import Event, market_events
from streams.rows import read_rows
from streams.settings import Settings
from tests.unit.dispatch_cases import HOUR_MS, T0, job, region, site

pytestmark = pytest.mark.kafka

TREE = {
    "nation": None,
    "east": "nation",
    "west": "nation",
    "port": "east",
    "dock": "east",
    "hill": "west",
}
CITIES = ("port", "dock", "hill")
LOWER_FROM_H = 7  # hour from which the quota is 2 cores instead of 4
Rows = list[dict[str, Any]]


class Hours:
    """A feed of some hours: what is registered, jobs to the nation, and a tick of every domain."""

    name = label = "hierarchy"
    readings = 0

    def __init__(self, first: int, last: int, entries: list[AnyEntry], jobs: Rows) -> None:
        self._entries = entries
        self._rows: list[tuple[int, Rows]] = []
        if first == 0:
            self._rows += [(T0, _standing(name)) for name in TREE]
        if jobs:
            self._rows.append((T0 + first * HOUR_MS + 2, jobs))
        for hour in range(first + 1, last + 1):
            for name in TREE:  # any row after the boundary brings the tick about
                renewed = [_of(name, region("north", 100, hours=100, import_max_mw=1e3))]
                self._rows.append((T0 + hour * HOUR_MS + 1, renewed))

    def entries(self) -> list[AnyEntry]:
        return self._entries

    def count(self) -> int:
        return sum(len(rows) for _, rows in self._rows)

    def events(self) -> Iterator[Event]:
        for at_ms, rows in self._rows:
            yield from market_events(rows, at_ms)


def _of(domain: str, row: dict[str, Any]) -> dict[str, Any]:
    return {"domain": domain} | row


def _standing(name: str) -> Rows:
    """The region, and as sites the children; in a city a site of its own."""
    below = [child for child, parent in TREE.items() if parent == name]
    offers = [site(child, "north", cores_milli=10_000) for child in below]
    offers = offers or [site(f"{name}-site", "north")]
    grid = region("north", 100, hours=100, import_max_mw=1e3)
    return [_of(name, row) for row in (grid, *offers)]


def _jobs(numbers: range, **given: Any) -> Rows:
    given = {"cores_milli": 1_000, "power_w": 1_000, "account_id": "bank"} | given
    return [_of("nation", job(f"j{n:02d}", **given)) for n in numbers]


def _policy(hour: int, cores: int) -> AnyEntry:
    limits = {"cores_milli": cores * 1000}
    entry = {"kind": "policy", "id": "nation", "valid_from_ms": T0 + hour * HOUR_MS}
    entry["quotas"] = [{"id": "bank", "account_id": "bank", "limits": limits}]
    return parse_entry(json.dumps(entry).encode())


async def _read(settings: Settings, topic: str) -> Rows:
    return [row async for row in read_rows(settings, topic)]


@pytest.mark.timeout(300)
async def test_cities_keep_the_nations_quota_and_obey_when_it_is_lowered(
    broker: str, tmp_path: Path
) -> None:
    settings = Settings(brokers=broker, namespace=f"h{uuid.uuid4().hex[:8]}.")
    await create_topics(settings)
    domains = [
        Domain(id=name, partition=number, steps=3, parent=parent)
        for number, (name, parent) in enumerate(TREE.items())
    ]
    entries = [*domains, _policy(0, 4)]
    spans = [Hours(0, 1, entries, []), Hours(1, 2, [], _jobs(range(16)))]
    spans += [Hours(hour, hour + 1, [], []) for hour in range(2, LOWER_FROM_H - 1)]
    lower = [_policy(LOWER_FROM_H, 2)]
    spans += [Hours(LOWER_FROM_H - 1, LOWER_FROM_H, lower, _jobs(range(16, 30)))]
    spans += [Hours(hour, hour + 1, [], []) for hour in range(LOWER_FROM_H, LOWER_FROM_H + 14)]
    workers = Workers(settings, tmp_path)
    try:
        for span in spans:  # everybody is through with an hour before the next begins
            await flow(settings, span, workers, on_rows=lambda _: None, on_moment=lambda _: None)
    finally:
        workers.stop()

    placements = Downstream(PLACEMENTS)
    for batch in [PLACEMENTS.rows(await _read(settings, PLACEMENTS.name))]:
        placements.take(batch)
    assert placements.conflicting == 0
    starts = Counter[int]()
    jobs = Counter[str]()
    for row in placements:
        if row["domain"] in CITIES and row["state"] == "placed":
            starts[(row["start_ms"] - T0) // HOUR_MS] += 1
            jobs[row["job_id"]] += 1
    # every job once, an hour each: what starts in an hour is what runs in it
    assert jobs == Counter(f"nation/j{n:02d}" for n in range(30))
    assert starts[2] > 0
    assert max(starts.values()) <= 4
    assert max(n for hour, n in starts.items() if hour > LOWER_FROM_H) <= 2

    kinds = Counter(row["kind"] for row in await _read(settings, MARKET.name))
    assert kinds["handed"]
    assert kinds["held"]
