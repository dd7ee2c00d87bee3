"""Ingest: events/s from telemetry.in (JSON, written beforehand) to Arrow batches, beside peers.

The same work for everyone: read, decode, check, resolve the meter's place, convert to mJ, pack
2,000 rows of the same columns a partition as Arrow IPC (lz4), send with acks=all and idempotence.
The number of rows and the sum of their mJ must be the input's, else the case fails.

Measured as in the pipeline suite: to the broker's own date on the last batch. CPU seconds are those
of the contestant and of the broker in that time: where both cores are busy, they are the measure.
Ours does more: dead letters, revisions of the registry, exact decimals, offsets with counts.
"""

import asyncio
import os
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pyarrow as pa

from schemas import READINGS, REGISTRY, TELEMETRY_IN
from schemas.codec import NDJSON
from schemas.registry import format_entry
from streams.client import producer, read_all
from streams.settings import Settings
from streams.worker import INGEST
from tests.bench import ours
from tests.bench.case import Case, say, suite
from tests.bench.cluster import create_pipeline, embedded, last_written_ms, write_input
from tests.bench.contest import Contestant, Took, cases, race
from tests.bench.peers import Job
from tests.bench.peers.arrow_places import ROWS
from tests.bench.readings import MJ_PER_QUANTUM, PARTITIONS, Input, WrongResultError
from tests.bench.usage import Used

_ROWS, _ROWS_QUICK = 1_000_000, 100_000
_ROWS_WARM = 50_000
_LINES = 100
_NOTE = "ours also: dead letters, dated registry, exact decimals, committed counts"
PEERS = (
    Contestant("aiokafka+orjson", "ingest_aiokafka", ("aiokafka", "orjson")),
    Contestant("confluent-kafka+polars", "ingest_polars", ("confluent-kafka", "polars")),
)


@suite("ingest", "events/s from telemetry.in (JSON) to Arrow batches, beside two peers")
def ingest(quick: bool) -> Iterator[Case]:
    """Events/s and CPU seconds per million events, for messages of one and of 100 events."""
    given = Input(_ROWS_QUICK if quick else _ROWS)
    os.environ["GRIDLOOM_BATCH_ROWS"] = str(ROWS)  # as the peers
    with embedded() as kafka:
        bootstrap, pid, folder = kafka
        warm = Settings(brokers=bootstrap, namespace="warm.")  # the broker's own code, for whoever
        asyncio.run(prepare(warm, Input(_ROWS_WARM), 1))  # runs first
        _ours(warm, Input(_ROWS_WARM), folder, pid)
        for case, lines in (("single-events", 1), ("lines-of-100", _LINES)):
            settings = Settings(brokers=bootstrap, namespace=f"{case}.")
            messages = asyncio.run(prepare(settings, given, lines))
            took: dict[str, Took | None] = {"gridloom": _ours(settings, given, folder, pid)}
            for peer in PEERS:
                job = Job(
                    brokers=bootstrap,
                    source=settings.topic(TELEMETRY_IN.name),
                    results=settings.topic(f"results.{peer.module}"),
                    messages=messages,
                    partitions=PARTITIONS,
                    window_ms=0,
                    folder=str(folder / (case + peer.module)),
                    lines=lines > 1,
                )
                took[peer.name] = race(peer, settings, job, given.rows, pid)
                if took[peer.name] is not None:
                    asyncio.run(_check(peer.name, settings, job.results, given))
            yield from cases("ingest", case, took, _NOTE)


async def prepare(settings: Settings, given: Input, lines: int) -> int:
    """Topics, registry and input; returns the number of messages."""
    await create_pipeline(settings, [READINGS.name])
    async with producer(settings) as client:
        for entry in ours.entries():
            await client.send(
                settings.topic(REGISTRY.name), format_entry(entry), key=entry.key.encode()
            )
    say(f"writing {given.rows:,} events, {lines} a message")
    topic = settings.topic(TELEMETRY_IN.name)
    if lines == 1:
        await write_input(settings, topic, given)
        return given.messages
    return await _write_lines(settings, topic, given, lines)


async def _write_lines(settings: Settings, topic: str, given: Input, lines: int) -> int:
    open_, sent = defaultdict(list), 0
    headers = [("content-type", NDJSON.encode())]
    async with producer(settings, linger_ms=20, max_batch_size=1 << 18) as client:

        async def send(partition: int) -> None:
            rows = open_.pop(partition)
            value = b"\n".join(row.event for row in rows)
            ms = rows[-1].end_ms
            await client.send(topic, value, partition=partition, timestamp_ms=ms, headers=headers)

        for row in given.readings():
            open_[row.partition].append(row)
            if len(open_[row.partition]) == lines:
                await send(row.partition)
                sent += 1
        for partition in list(open_):
            await send(partition)
            sent += 1
    return sent


def _ours(settings: Settings, given: Input, folder: Path, broker_pid: int) -> Took:
    """The bridge as a process, from its first assignment to the last batch."""
    with ExitStack() as stack:
        launched_ms = time.time() * 1000
        log = ours.start(INGEST, settings, folder, stack)
        used = stack.enter_context(Used([log.pid, broker_pid]))
        log.wait_for(lambda: bool(log.times("assigned")))
        asyncio.run(ours.until_read(settings, [INGEST], [log]))
        started_ms = log.times("assigned")[0]
    readings = settings.topic(READINGS.name)
    ended_ms = asyncio.run(last_written_ms(settings, [readings]))
    own_s, broker_s = used.between(started_ms, ended_ms)
    asyncio.run(_check("gridloom", settings, readings, given))
    wall_s, start_s = (ended_ms - started_ms) / 1000, (started_ms - launched_ms) / 1000
    return Took(given.rows, wall_s, own_s, broker_s, start_s)


async def _check(name: str, settings: Settings, topic: str, given: Input) -> None:
    """Raises WrongResultError unless every reading is there once, in mJ."""
    rows = total = 0
    async for record in read_all(settings, topic):
        for batch in pa.ipc.open_stream(pa.py_buffer(record.value)):
            quantity = batch.column("quantity").to_numpy()
            rows += int(np.count_nonzero(quantity))  # the closing ones are 0
            total += int(quantity.sum())
    sent = MJ_PER_QUANTUM * sum(reading.quanta for reading in given.readings())
    if (rows, total) != (given.rows, sent):
        raise WrongResultError(f"{name} made {rows} rows of {total} mJ, not {given.rows} of {sent}")
