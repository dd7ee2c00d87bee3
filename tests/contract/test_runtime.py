"""The runtime on a real Kafka: poison, bytes that cannot be read, journals and their versions."""

import asyncio
import os
import socket
import subprocess
import sys
import urllib.request
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

import streams.agents  # noqa: F401  (registers the stages)
from schemas import DEAD_LETTER, READINGS
from schemas.codec import ARROW, encode, event_headers
from streams.agent import STAGES, Stage
from streams.client import producer
from streams.counts import Counts
from streams.journal import Cut, Journal, saved_counts
from streams.rows import read_rows
from streams.settings import Settings
from streams.topics import create_topics
from tests.contract.poisoned import POISON_MJ, Sum

pytestmark = pytest.mark.kafka

STAGE: Stage = STAGES.pop("poisoned.readings")  # not one of the house's: only of this test


@pytest.fixture
async def settings(broker: str) -> Settings:
    made = Settings(brokers=broker, namespace=f"r{uuid.uuid4().hex[:8]}.")
    STAGES[STAGE.name] = STAGE
    try:
        await create_topics(made)
    finally:
        del STAGES[STAGE.name]
    return made


def reading(quantity: int) -> dict[str, object]:
    text = ("meter_id", "register", "kind", "unit", "quality", "site_id", "rack_id", "hub_id")
    whole = ("start_ms", "end_ms", "revision", "epoch", "source_partition", "source_offset")
    row: dict[str, object] = dict.fromkeys((*text, "account_id", "source"), "x")
    row |= dict.fromkeys((*whole, "source_row", "received_ms"), 0)
    return row | {"quantity": quantity, "registry_offset": -1}


@asynccontextmanager
async def worker(settings: Settings) -> AsyncIterator[int]:
    """A running worker; gives the port of its metrics."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    environment = os.environ | {
        "GRIDLOOM_METRICS_PORT": str(port),
        "GRIDLOOM_BROKERS": settings.brokers,
        "GRIDLOOM_NAMESPACE": settings.namespace,
    }
    command = [sys.executable, "-m", "tests.contract.poisoned"]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    try:
        yield port
    finally:
        process.terminate()
        assert process.wait(30) == 0


async def metrics_of(port: int) -> dict[str, float]:
    """Every sample that Prometheus would see: name and labels -> number."""

    def scrape() -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            text: bytes = answer.read()
        return text.decode()

    lines = (await asyncio.to_thread(scrape)).splitlines()
    samples = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    return {name: float(number) for name, number in samples}


async def saved(settings: Settings, consumed: int) -> Counts:
    async with asyncio.timeout(60):
        while (counts := await saved_counts(settings, STAGE)).consumed < consumed:
            await asyncio.sleep(0.3)
    return counts


async def load(settings: Settings) -> Cut:
    return (await Journal(settings, STAGE, None).load({0}, 9))[0]


@pytest.mark.timeout(120)
async def test_a_step_that_raises_goes_to_dead_letters_and_the_stream_goes_on(
    settings: Settings,
) -> None:
    headers = event_headers(READINGS.event_type, "e", "/test", ARROW)
    batches = [[1, 2, 3], [10, POISON_MJ, 100], [4, 5]]
    async with producer(settings) as client:
        for quantities in batches:
            value = encode(READINGS, READINGS.rows([reading(q) for q in quantities]))
            await client.send_and_wait(
                settings.topic("readings"), value, partition=0, headers=headers
            )
        await client.send_and_wait(settings.topic("readings"), b"\x80\x04N.", partition=0)
        value = encode(READINGS, READINGS.rows([reading(6)]))
        await client.send_and_wait(settings.topic("readings"), value, partition=0, headers=headers)
    async with worker(settings) as port:
        counts = await saved(settings, consumed=10)
        seen = await metrics_of(port)
    # three rows of the poisoned batch, one message that is no batch
    assert counts == Counts(consumed=10, accepted=6, dead_lettered=4)
    cut = await load(settings)
    assert isinstance(cut.state, Sum)
    assert cut.state.energy_mj == 1 + 2 + 3 + 4 + 5 + 6  # nothing of the half-applied step
    at = '{partition="0",stage="poisoned.readings"}'
    assert seen[f"gridloom_journal_bytes{at}"] > 0
    assert 0 <= seen[f"gridloom_journal_lag_seconds{at}"] < 60
    assert seen['gridloom_save_seconds_count{stage="poisoned.readings"}'] >= 1
    assert seen['gridloom_save_seconds_sum{stage="poisoned.readings"}'] > 0
    assert seen['gridloom_restores_total{stage="poisoned.readings"}'] == 2  # each raised attempt
    letters = [row async for row in read_rows(settings, DEAD_LETTER.name)]
    assert [(r["reason"], r["source_offset"]) for r in letters] == [
        ("step_failed", 1),
        ("unsupported", 3),
    ]
    assert "RuntimeError: poison" in letters[0]["message"]
    assert letters[0]["original"] == encode(
        READINGS, READINGS.rows([reading(q) for q in batches[1]])
    )
    assert letters[1]["original"] == b"\x80\x04N."


async def test_the_newest_cut_wins_over_a_late_record_of_an_older_owner(
    settings: Settings,
) -> None:
    def cut(generation: int, offset: int) -> Cut:
        return Cut(0, generation, offset, Sum(offset), Counts(offset, offset))

    async with producer(settings) as client:
        journal = Journal(settings, STAGE, client)
        old = cut(1, 10)
        await journal.save(old)
        new = (await journal.load({0}, 2))[0]
        new.offset, new.state, new.counts = 30, Sum(30), Counts(30, 30)
        await journal.save(new)
        old.offset, old.state = 20, Sum(20)  # the first owner wakes up and writes what it had
        await journal.save(old)
    loaded = await load(settings)
    assert loaded.offset == 30
    assert loaded.state == Sum(30)
    assert loaded.counts == Counts(30, 30)
    assert loaded.keys == {old.key, new.key}


def test_an_identity_that_does_not_hold_stops_the_stage() -> None:
    with pytest.raises(AssertionError, match="identity"):
        Counts(consumed=3, accepted=1, duplicate=1).check()
