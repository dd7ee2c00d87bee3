"""What the log itself does: compaction, transactions, and retention of what nobody has read."""

import asyncio
from collections.abc import Mapping

from aiokafka import TopicPartition
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from streams.client import MAX_MESSAGE_BYTES, admin, consumer
from tests.fault.feed import Source
from tests.fault.scenario import PROCESS_LIMIT_S, scenario
from tests.fault.scenarios.kills import killed
from tests.fault.watch import PARTITIONS
from tests.fault.world import FaultError, World

_REMOVED_S = 60.0
_KEPT = {"cleanup.policy": "delete", "max.message.bytes": str(MAX_MESSAGE_BYTES)}
_SHORT = {"retention.ms": "1000", "segment.ms": "1000"}


@scenario(
    "compacted-source",
    "a compacted source: kill -9 of the worker, which comes back to a log with holes, twice",
    runs=5,
    source=Source("readings", keyed=True),
)
async def compacted_source(world: World) -> None:
    await world.flow("meter")
    for _ in range(2):
        await world.load(2.0, 4.0)
        world.workers.by_name["meter"].kill()
        world.fault()
        await world.load(8.0, 10.0)  # the cleaner goes over what was not read
        world.workers.by_name["meter"].start()
        await world.recovered(world.now_s())
    if not world.workers.logged("hole"):
        raise FaultError("compaction left no hole in what the worker had to read")


@scenario(
    "transactional-source",
    "a source written in transactions: kill -9 of the worker, twice",
    runs=5,
    source=Source("readings", transactions=True),
    limit_s=PROCESS_LIMIT_S,
)
async def transactional_source(world: World) -> None:
    await world.flow("meter")
    for _ in range(2):
        await world.load(2.0, 4.0)
        await killed(world, "meter", "usage")


@scenario(
    "transactional-input",
    "devices that write in transactions, every fifth taken back: kill -9 of the bridge, twice",
    runs=5,
    source=Source(transactions=True),
    limit_s=PROCESS_LIMIT_S,
)
async def transactional_input(world: World) -> None:
    await world.flow("ingest", "meter")
    for _ in range(2):
        await world.load(2.0, 4.0)
        await killed(world, "ingest", "readings")


@scenario(
    "retention-source",
    "retention removes readings that the worker had not read: lost, and reported",
    runs=5,
    quick=True,
)
async def retention_source(world: World) -> None:
    await _removed(world, "meter", "readings", _KEPT)


@scenario(
    "retention-input",
    "retention removes device events that the bridge had not read: lost, and reported",
    runs=5,
)
async def retention_input(world: World) -> None:
    await _removed(world, "ingest", "telemetry.in", _KEPT | {"retention.ms": "-1"})


async def _removed(world: World, reader: str, topic: str, configs: Mapping[str, str]) -> None:
    """The reader is dead for a while, and what comes meanwhile is removed by retention."""
    await world.flow("ingest", "meter")
    await world.load(2.0, 4.0)
    world.workers.by_name[reader].kill()
    world.fault()
    await world.load(2.0, 5.0)
    await world.feed.pause()
    await world.bridge_idle(unless=reader)
    unread = await world.keep_earlier()
    read_until = unread["journal" if reader == "meter" else "committed"]
    await _configure(world, topic, dict(configs) | _SHORT)
    first_kept = await _first_kept(world, topic, read_until)
    await _configure(world, topic, dict(configs))
    world.removed[topic] = {p: (read_until[p], first_kept[p]) for p in first_kept}
    world.workers.by_name[reader].start()
    restarted_s = world.now_s()
    world.feed.resume()
    await world.recovered(restarted_s)
    if not world.workers.logged("lost"):
        raise FaultError(f"what retention removed of {topic} was not reported as lost")


async def _configure(world: World, topic: str, configs: dict[str, str]) -> None:
    name = world.settings.topic(topic)
    async with admin(world.settings) as client:
        await client.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, configs)])


async def _first_kept(world: World, topic: str, read_until: dict[int, int]) -> dict[int, int]:
    """The start of each partition's log, once retention has removed unread messages of all."""
    tps = [TopicPartition(world.settings.topic(topic), p) for p in range(PARTITIONS)]
    async with asyncio.timeout(_REMOVED_S), consumer(world.settings) as client:
        while True:
            starts = await client.beginning_offsets(tps)
            ends = await client.end_offsets(tps)
            if all(starts[tp] == ends[tp] > read_until[tp.partition] for tp in tps):
                return {tp.partition: starts[tp] for tp in tps}
            await asyncio.sleep(0.2)
