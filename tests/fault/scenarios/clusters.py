"""A cluster of three with acks=all and min.insync.replicas 2: one node down, two nodes down."""

import asyncio
import time

from streams.client import admin
from tests.fault.cluster import NODES
from tests.fault.scenario import BROKER_LIMIT_S, scenario
from tests.fault.world import TOPICS, FaultError, World

_IN_SYNC_S = 120.0


@scenario(
    "one-of-three",
    "kill -9 of one broker of three, each in turn; restarted when rows flow again",
    runs=4,
    ground="secured",
    limit_s=BROKER_LIMIT_S,
)
async def one_of_three(world: World) -> None:
    cluster = world.ground.broken
    await world.flow("ingest", "meter")
    for node in world.random.sample(NODES, len(NODES)):
        await world.load(1.0, 4.0)
        await _in_sync(world)
        await asyncio.to_thread(cluster.kill, node)
        killed_s = time.monotonic()
        world.fault()
        await world.recovered(killed_s)
        await world.load(0.0, 4.0)
        await asyncio.to_thread(cluster.start, node)
    await _in_sync(world)


@scenario(
    "two-of-three",
    "two brokers of three are down for 5 to 10 s: nothing is written, nothing lost",
    runs=4,
    ground="secured",
)
async def two_of_three(world: World) -> None:
    cluster = world.ground.broken
    await world.flow("ingest", "meter")
    await world.load(1.0, 4.0)
    await _in_sync(world)
    nodes = world.random.sample(NODES, 2)
    for node in nodes:
        await asyncio.to_thread(cluster.kill, node)
        world.fault()
    await world.load(5.0, 10.0)
    for node in nodes:
        await asyncio.to_thread(cluster.start, node)
    await world.recovered(time.monotonic())
    await _in_sync(world)


async def _in_sync(world: World) -> None:
    """Wait until every replica of the run's topics is in step: one fault at a time."""
    names = [world.settings.topic(name) for name in TOPICS]
    deadline_s = time.monotonic() + _IN_SYNC_S
    while time.monotonic() < deadline_s:
        async with admin(world.settings) as client:
            topics = await client.describe_topics(names)
        behind = [t for t in topics for p in t["partitions"] if len(p["isr"]) < len(NODES)]
        if topics and not behind:
            return
        await asyncio.sleep(0.3)
    raise FaultError(f"replicas were not in step after {_IN_SYNC_S:.0f} s")
