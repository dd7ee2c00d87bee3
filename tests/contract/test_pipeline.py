"""The promises end to end on a real Kafka; the agents are processes, and killed for real."""

import asyncio
import subprocess
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

import streams.agents  # noqa: F401  (registers the stages)
from schemas import DEAD_LETTER, SETTLEMENT, USAGE, partition_of
from schemas.codec import NDJSON
from schemas.registry import (
    Account,
    AnyEntry,
    Band,
    Condition,
    Contract,
    Meter,
    Site,
    Tariff,
    format_entry,
)
from streams.agent import STAGES
from streams.client import producer
from streams.ingest.bridge import ingest_counts
from streams.journal import saved_counts
from streams.lag import watch
from streams.report import newest
from streams.rows import read_rows
from streams.settings import Settings
from streams.topics import create_topics
from streams.worker import spawn, stop_children
from tests.fault.feed import MALFORMED, STEP_MS, T0, line

pytestmark = pytest.mark.kafka

METERS = 100
BATCH = 100


def reading(number: int) -> dict[str, Any]:
    """The number-th reading: every meter in turn, a minute each."""
    step, meter = divmod(number, METERS)
    return {
        "meter_id": f"m{meter}",
        "register": "it.energy",
        "kind": "delta",
        "start_ms": T0 + step * STEP_MS,
        "end_ms": T0 + (step + 1) * STEP_MS,
        "quantity": 1_000 + number % 977,
        "unit": "mJ",
    }


def entries() -> list[AnyEntry]:
    columns = ("line_id", "revision", "quantity_mj", "amount_micro", "account_id")
    return [
        Site(id="s0", hub_id="h"),
        Site(id="s1", hub_id="h"),
        Tariff(id="t", bands=(Band(0, 8, 300_000), Band(8, 24, 700_000))),
        Account(id="a0", tariff_id="t"),
        Account(id="a1", tariff_id="t"),
        *(Meter(id=f"m{n}", site_id=f"s{n % 2}", account_id=f"a{n % 2}") for n in range(METERS)),
        Contract(
            id="bill",
            subscriber="a0",
            topic=SETTLEMENT.name,
            columns=columns,
            where=(Condition("account_id", "eq", "a0"),),
        ),
    ]


@asynccontextmanager
async def cluster(broker: str) -> AsyncIterator[Settings]:
    """Topics and registry in a namespace of their own."""
    settings = Settings(brokers=broker, namespace=f"p{uuid.uuid4().hex[:8]}.")
    await create_topics(settings)
    await create_topics(settings, ["out.bill"])
    async with producer(settings) as client:
        for entry in entries():
            await client.send_and_wait(
                settings.topic("registry"), format_entry(entry), key=entry.key.encode()
            )
    yield settings


async def send(settings: Settings, lines: list[bytes], pause_s: float = 0.0) -> None:
    """NDJSON messages of 100 lines, by site's partition, received as their minute ends."""
    async with producer(settings, linger_ms=5) as client:
        for start in range(0, len(lines), BATCH):
            await client.send(
                settings.topic("telemetry.in"),
                b"\n".join(lines[start : start + BATCH]),
                partition=partition_of("s0", 4),
                timestamp_ms=T0 + (start // METERS + 1) * STEP_MS,
                headers=[("content-type", NDJSON.encode())],
            )
            if pause_s:
                await asyncio.sleep(pause_s)
        await client.flush()


async def until_read(settings: Settings, *agents: str) -> None:
    """Until these agents have saved everything, one after the other."""
    async with asyncio.timeout(120), watch(settings) as watching:
        for agent in agents:
            while (await watching.now()).lags[agent].behind:
                await asyncio.sleep(0.3)


async def usage(settings: Settings) -> Counter[tuple[str, int]]:
    """(meter, end) -> mJ of the highest revision."""
    rows = [row async for row in read_rows(settings, USAGE.name)]
    return Counter({(r["meter_id"], r["end_ms"]): r["quantity"] for r in newest(rows, USAGE.key)})


def expected(count: int) -> Counter[tuple[str, int]]:
    rows = map(reading, range(count))
    return Counter({(r["meter_id"], r["end_ms"]): r["quantity"] for r in rows})


def start(settings: Settings, *agents: str) -> dict[str, "subprocess.Popen[bytes]"]:
    return {agent: spawn(agent, settings, stderr=subprocess.DEVNULL) for agent in agents}


@pytest.mark.timeout(240)
async def test_bad_input_of_every_kind_is_dead_lettered_and_changes_no_total(broker: str) -> None:
    good = [line(reading(n)) for n in range(100_000)]
    lines, injected = [], Counter[str]()
    for number, sound in enumerate(good):
        lines.append(sound)
        if number % 400 == 7:
            reason = list(MALFORMED)[number // 400 % len(MALFORMED)]
            lines.append(MALFORMED[reason](reading(number)))
            injected[reason] += 1
    assert len(injected) == 12

    async with cluster(broker) as settings:
        children = start(settings, "ingest", "meter")
        try:
            await send(settings, lines)
            await until_read(settings, "ingest", "meter")
        finally:
            stop_children(list(children.values()))
        letters = [row async for row in read_rows(settings, DEAD_LETTER.name)]
        assert Counter(row["reason"] for row in letters) == injected
        assert {row["agent"] for row in letters} == {"ingest"}
        sent = set(lines) - set(good)
        assert {row["original"] for row in letters} == sent
        assert await usage(settings) == expected(len(good))
        counts = (await ingest_counts(settings))["telemetry.in"]
        assert counts.consumed == len(lines)
        assert counts.accepted == len(good)
        assert counts.dead_lettered == len(lines) - len(good)


@pytest.mark.timeout(240)
async def test_killed_agents_lose_nothing_and_count_nothing_twice(broker: str) -> None:
    count = 30_000
    async with cluster(broker) as settings:
        children = start(settings, "ingest", "meter")
        try:
            sending = asyncio.create_task(
                send(settings, [line(reading(n)) for n in range(count)], pause_s=0.04)
            )
            for victim in ("meter", "ingest", "meter"):
                await asyncio.sleep(3.7)
                children[victim].kill()
                children[victim].wait()
                children |= start(settings, victim)
            await sending
            await until_read(settings, "ingest", "meter")
        finally:
            stop_children(list(children.values()))
        assert await usage(settings) == expected(count)
        counts = await saved_counts(settings, STAGES["meter.readings"])
        counts.check()
        assert counts.accepted == count  # what came again is a duplicate
        assert counts.dead_lettered == 0


@pytest.mark.timeout(120)
async def test_sigterm_ends_every_agent_with_code_0_and_everything_saved(broker: str) -> None:
    async with cluster(broker) as settings:
        children = start(settings, "ingest", "meter", "settle")
        try:
            await send(settings, [line(reading(n)) for n in range(12_000)])
            await until_read(settings, "ingest", "meter", "settle")
        finally:
            stop_children(list(children.values()))
        assert {agent: child.returncode for agent, child in children.items()} == {
            "ingest": 0,
            "meter": 0,
            "settle": 0,
        }
        assert (await saved_counts(settings, STAGES["meter.readings"])).accepted == 12_000


@pytest.mark.timeout(120)
async def test_a_plain_consumer_adds_up_the_bill_from_json(broker: str) -> None:
    async with cluster(broker) as settings:
        children = start(settings, "ingest", "meter", "settle", "deliver")
        try:
            await send(settings, [line(reading(n)) for n in range(24_000)])
            await until_read(settings, "ingest", "meter", "settle", "deliver")
        finally:
            stop_children(list(children.values()))
        rows = [row async for row in read_rows(settings, SETTLEMENT.name)]
        billed = [r for r in newest(rows, ("line_id",)) if r["account_id"] == "a0"]

        topic = TopicPartition(settings.topic("out.bill"), 0)
        consumer = AIOKafkaConsumer(bootstrap_servers=broker)
        await consumer.start()
        try:
            consumer.assign([topic])
            await consumer.seek_to_beginning(topic)
            end = (await consumer.end_offsets([topic]))[topic]
            lines: dict[str, dict[str, Any]] = {}
            while await consumer.position(topic) < end:
                for messages in (await consumer.getmany(timeout_ms=500)).values():
                    for message in messages:
                        row = orjson.loads(message.value)
                        known = lines.get(row["line_id"])
                        if known is None or row["revision"] > known["revision"]:
                            lines[row["line_id"]] = row
        finally:
            await consumer.stop()
        assert len(lines) == len(billed) == 4 * METERS // 2
        for column in ("amount_micro", "quantity_mj"):
            assert sum(r[column] for r in lines.values()) == sum(r[column] for r in billed) > 0
