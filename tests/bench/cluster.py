"""The suites' side of Kafka: topics whose results the broker itself dates, input, read-out."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from aiokafka import TopicPartition
from aiokafka.admin import NewTopic

from schemas import TELEMETRY_IN
from streams.broker import Broker
from streams.client import admin, consumer, partitions_of, producer
from streams.settings import Settings
from streams.topics import wanted
from tests.bench.case import say
from tests.bench.readings import Input, Reading


class Embedded(NamedTuple):
    """A suite's own broker and a folder, both gone at its end."""

    brokers: str
    pid: int
    folder: Path


@contextmanager
def embedded() -> Iterator[Embedded]:
    """A broker for one suite; processes started meanwhile log JSON, which ours.Log reads."""
    os.environ["GRIDLOOM_LOG_FORMAT"], os.environ["GRIDLOOM_LOG_LEVEL"] = "json", "info"
    broker = Broker(ephemeral=True, on_progress=say)
    with broker as brokers, TemporaryDirectory(prefix="gridloom-bench-") as folder:
        pid = broker.status().pid
        assert pid is not None
        yield Embedded(brokers, pid, Path(folder))


_BROKER_DATED = {"message.timestamp.type": "LogAppendTime"}


async def create_input(settings: Settings, name: str) -> None:
    """A topic like telemetry.in, under a name of its own."""
    like = wanted(settings)[settings.topic(TELEMETRY_IN.name)]
    await _create(settings, name, like.num_partitions, like.topic_configs)


async def create_results(settings: Settings, name: str, partitions: int) -> None:
    """A topic for results, each dated by the broker when it is written."""
    await _create(settings, name, partitions, _BROKER_DATED)


async def create_pipeline(settings: Settings, broker_dated: Iterable[str]) -> None:
    """All topics of gridloom in its namespace; those named are dated by the broker."""
    dated = set(map(settings.topic, broker_dated))
    for name, topic in wanted(settings).items():
        extra = _BROKER_DATED if name in dated else {}
        await _create(settings, name, topic.num_partitions, topic.topic_configs | extra)


async def _create(settings: Settings, name: str, partitions: int, configs: dict[str, str]) -> None:
    async with admin(settings) as client:
        await client.create_topics([NewTopic(name, partitions, 1, topic_configs=dict(configs))])


async def write_input(settings: Settings, topic: str, given: Input) -> None:
    """Every reading as one message, received when its interval ended; then the closing ones."""
    async with producer(settings, linger_ms=20, max_batch_size=1 << 18) as client:

        async def send(reading: Reading) -> None:
            await client.send(
                topic,
                reading.event,
                key=reading.rack.encode(),
                partition=reading.partition,
                timestamp_ms=reading.end_ms,
            )

        for reading in given.readings():
            await send(reading)
        for reading in given.closing():
            await send(reading)


async def last_written_ms(settings: Settings, topics: list[str]) -> int:
    """The newest Kafka timestamp among the last records of all partitions of these topics."""
    present = await partitions_of(settings, topics)
    tps = [TopicPartition(name, number) for name, found in present.items() for number in found]
    async with consumer(settings) as client:
        client.assign(tps)
        begin, end = await client.beginning_offsets(tps), await client.end_offsets(tps)
        written = [tp for tp in tps if begin[tp] < end[tp]]
        for tp in written:
            client.seek(tp, end[tp] - 1)
        return max([(await client.getone(tp)).timestamp for tp in written], default=0)
