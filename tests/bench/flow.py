"""Events on the wire to revised usage on Kafka: bridge and meter as in production, under open load.

What the latency and the soak suites share: the two processes, the load, and a consumer of usage
that knows when each of its rows was due and what it must say.
"""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from aiokafka import TopicPartition

from schemas import REGISTRY, TELEMETRY_IN, USAGE
from schemas.codec import decode, header_map
from schemas.errors import GridloomError
from schemas.registry import Account, AnyEntry, Band, Meter, Site, Tariff, format_entry
from streams.client import consumer, producer
from streams.settings import Settings
from tests.bench import ours
from tests.bench.cluster import create_pipeline
from tests.bench.load import METERS, QUANTA_PER_KWH, meter_id, quanta
from tests.bench.metered import FIRST_MS, QUARTER_MS
from tests.bench.readings import MJ_PER_QUANTUM, WrongResultError

_SITES, _ACCOUNTS = 20, 50
_DRAIN_S = 120.0


@dataclass(frozen=True, slots=True)
class Passed:
    """One load that went through.

    latency_ms: of each event in order, from when it was due until its usage row was in the
    consumer's hands. late_ms: how late the generator itself was at worst. behind: the most events
    that were due and not yet usage.
    """

    latency_ms: np.ndarray
    late_ms: float
    behind: int


class Flow:
    """The running system; loads go through it one after another."""

    def __init__(self, settings: Settings, reader: Any, pids: dict[str, int]) -> None:
        self.settings, self.pids = settings, pids
        self._reader = reader
        self._next = 0

    async def load(self, rate: int, seconds: float) -> Passed:
        """Send for so long, wait for the last row; raises WrongResultError unless all is exact."""
        first, count = self._next, round(rate * seconds)
        self._next = -(-(first + count) // METERS) * METERS
        arguments = [self.settings.brokers, self.settings.topic(TELEMETRY_IN.name)]
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.bench.load",
            *arguments,
            *map(str, (first, count, rate)),
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        began_s = orjson.loads(await process.stdout.readline())["began_s"]
        latency_ms, behind = await self._follow(first, count, rate, began_s)
        late_s = orjson.loads(await process.stdout.readline())["late_s"]
        if await process.wait():
            raise GridloomError("the load ended early")
        return Passed(latency_ms, late_s * 1000, behind)

    async def _follow(
        self, first: int, count: int, rate: int, began_s: float
    ) -> tuple[np.ndarray, int]:
        latency_ms = np.full(count, -1.0)
        seen = total_mj = behind = 0
        ends_s = began_s + count / rate + _DRAIN_S
        while seen < count:
            polled = await self._reader.getmany(timeout_ms=200)
            now_s = time.monotonic()
            for record in [record for records in polled.values() for record in records]:
                events, quantity_mj = _read(record)
                place = events - first
                if place.min() < 0 or place.max() >= count or (latency_ms[place] >= 0).any():
                    raise WrongResultError("usage has a row that was not sent, or has one twice")
                latency_ms[place] = (now_s - began_s - place / rate) * 1000
                seen += len(place)
                total_mj += int(quantity_mj.sum())
            due = min(count, max(0, int((now_s - began_s) * rate)))
            behind = max(behind, due - seen)
            if now_s > ends_s:
                raise GridloomError(f"{count - seen:,} of {count:,} events are not in usage")
        sent_mj = MJ_PER_QUANTUM * int(quanta(np.arange(first, first + count)).sum())
        if total_mj != sent_mj:
            raise WrongResultError(f"usage has {total_mj} mJ, {sent_mj} were sent")
        return latency_ms, behind


def _read(record: Any) -> tuple[np.ndarray, np.ndarray]:
    """Event numbers and mJ of a message of usage."""
    rows = decode(USAGE, record.value, header_map(record.headers))
    meters = rows.column("meter_id")
    number = np.array([int(text[6:]) for text in meters.dictionary.to_pylist()])
    meter = number[meters.indices.to_numpy()]
    quarter = (rows.column("end_ms").to_numpy() - FIRST_MS) // QUARTER_MS - 1
    return quarter * METERS + meter, rows.column("quantity").to_numpy()


@asynccontextmanager
async def flow(settings: Settings, folder: Path) -> AsyncIterator[Flow]:
    """Topics, registry, bridge and meter; all of it ends with the context."""
    await _prepare(settings)
    usage = settings.topic(USAGE.name)
    with ExitStack() as stack:
        logs = {name: ours.start(name, settings, folder, stack) for name in ("meter", "ingest")}
        logs["meter"].wait_for(lambda: bool(logs["meter"].times("loaded")))
        logs["ingest"].wait_for(lambda: bool(logs["ingest"].times("assigned")))
        async with consumer(settings) as reader:
            reader.assign([TopicPartition(usage, p) for p in range(USAGE.partitions)])
            yield Flow(settings, reader, {name: log.pid for name, log in logs.items()})


async def _prepare(settings: Settings) -> None:
    await create_pipeline(settings, [])
    topic = settings.topic(REGISTRY.name)
    async with producer(settings, linger_ms=5) as client:
        sends: list[Awaitable[Any]] = [
            await client.send(topic, format_entry(entry), key=entry.key.encode())
            for entry in _entries()
        ]
        await asyncio.gather(*sends)


def _entries() -> list[AnyEntry]:
    return [
        Tariff(id="flat", bands=(Band(0, 24, 500_000),)),
        *(Account(id=f"account-{n:03d}", tariff_id="flat") for n in range(_ACCOUNTS)),
        *(Site(id=f"site-{n:03d}", hub_id="hub-0") for n in range(_SITES)),
        *(
            Meter(
                id=meter_id(n),
                site_id=f"site-{n % _SITES:03d}",
                rack_id=f"rack-{n:05d}",
                account_id=f"account-{n % _ACCOUNTS:03d}",
            )
            for n in range(METERS)
        ),
    ]


assert MJ_PER_QUANTUM * QUANTA_PER_KWH == 3_600_000_000
