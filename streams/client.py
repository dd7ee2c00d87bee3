"""Kafka clients with the settings that keep every promise: acks=all, idempotent, no auto-commit."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaConnectionError

from schemas.errors import GridloomError
from streams.settings import Settings

MAX_MESSAGE_BYTES = 16 << 20
FETCH_BYTES = 4 << 20
# One fetch a broker is under way: a partition whose records were in hand when it left is asked for
# once it is answered, so it must not wait for long where all the others are quiet.
FETCH_WAIT_MS = 50
IDLE_WAIT_MS = 250  # ... unless it asks for all of them: whatever comes ends the wait


class BrokerUnreachableError(GridloomError):
    """No broker answers at the configured address."""


def new_producer(settings: Settings, **options: object) -> AIOKafkaProducer:
    """Idempotent, acks=all; not started."""
    return AIOKafkaProducer(
        **settings.kafka,
        acks="all",
        enable_idempotence=True,
        max_request_size=MAX_MESSAGE_BYTES,
        **options,
    )


def new_consumer(
    settings: Settings,
    *topics: str,
    of: type[AIOKafkaConsumer] = AIOKafkaConsumer,
    **options: Any,
) -> AIOKafkaConsumer:
    """Earliest, no auto-commit; not started. `of`: aiokafka's class or one made from it."""
    return of(
        *topics,
        **settings.kafka,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=FETCH_BYTES,
        fetch_max_bytes=8 * FETCH_BYTES,
        **options,
    )


@asynccontextmanager
async def producer(settings: Settings, **options: object) -> AsyncIterator[AIOKafkaProducer]:
    """A started producer, stopped (flushed) at the end."""
    client = new_producer(settings, **options)
    async with _started(client, settings):
        yield client


@asynccontextmanager
async def consumer(
    settings: Settings, *topics: str, **options: Any
) -> AsyncIterator[AIOKafkaConsumer]:
    """A started consumer, stopped at the end."""
    client = new_consumer(settings, *topics, **options)
    async with _started(client, settings):
        yield client


@asynccontextmanager
async def admin(settings: Settings) -> AsyncIterator[AIOKafkaAdminClient]:
    """A started admin client, closed at the end."""
    client = AIOKafkaAdminClient(**settings.kafka)
    try:
        await _start(client, settings)
        yield client
    finally:
        await client.close()


@asynccontextmanager
async def _started(
    client: AIOKafkaProducer | AIOKafkaConsumer, settings: Settings
) -> AsyncIterator[None]:
    try:
        await _start(client, settings)
        # A consumer without a group that is stopped before its own task ran once raises
        # CancelledError from stop(): let it run.
        await asyncio.sleep(0)
        yield
    finally:
        await client.stop()


async def _start(
    client: AIOKafkaProducer | AIOKafkaConsumer | AIOKafkaAdminClient, settings: Settings
) -> None:
    try:
        await client.start()
    except KafkaConnectionError as error:
        raise BrokerUnreachableError(
            f"no Kafka broker answers at {settings.brokers or '(none given)'}: {error}",
            "start one with `gridloom broker start`, or set GRIDLOOM_BROKERS",
        ) from None


async def partitions_of(settings: Settings, topics: list[str]) -> dict[str, set[int]]:
    """The partitions of each of these topics that exists on the cluster."""
    async with admin(settings) as client:
        described = await client.describe_topics(topics) if topics else []
    return {
        topic["topic"]: {partition["partition"] for partition in topic["partitions"]}
        for topic in described
        if topic["error_code"] == 0
    }


async def read_all(
    settings: Settings, topic: str, partitions: set[int] | None = None
) -> AsyncIterator[Any]:
    """Every record of a topic from its beginning to its end as of now, then stop.

    Records of one partition come in order. The end is the last stable offset a consumer may read,
    so compaction holes and transaction markers do not make it wait for ever.
    """
    if partitions is None:
        partitions = (await partitions_of(settings, [topic])).get(topic)
        if not partitions:
            raise GridloomError(f"topic {topic} does not exist", "run `gridloom topics --create`")
    tps = [TopicPartition(topic, partition) for partition in sorted(partitions)]
    async with consumer(settings) as client:
        client.assign(tps)
        begin = await client.beginning_offsets(tps)
        end = await client.end_offsets(tps)
        for tp in tps:
            client.seek(tp, begin[tp])
        left = {tp for tp in tps if begin[tp] < end[tp]}
        while left:
            for tp, records in (await client.getmany(*left, timeout_ms=500)).items():
                for record in records:
                    if record.offset < end[tp]:
                        yield record
            left = {tp for tp in left if await client.position(tp) < end[tp]}
