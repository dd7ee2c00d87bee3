"""The network between workers and broker: cut, slow, without answers, lossy."""

import time

from tests.fault import apart
from tests.fault.scenario import scenario
from tests.fault.world import World


@scenario("network-cut", "worker and bridge are cut off for 30 s", runs=5, ground="proxied")
async def network_cut(world: World) -> None:
    await world.flow("ingest", "meter")
    await _cut(world, 30.0)


@scenario(
    "short-cut",
    "worker and bridge are cut off for 8 s, longer than their session",
    runs=3,
    quick=True,
    ground="proxied",
)
async def short_cut(world: World) -> None:
    await world.flow("ingest", "meter")
    await _cut(world, 8.0)


async def _cut(world: World, for_s: float) -> None:
    await world.load(2.0, 4.0)
    proxy = world.ground.broken
    proxy.cut()
    world.fault()
    try:
        await world.load(for_s, for_s)
    finally:
        proxy.mend()
    await world.recovered(time.monotonic())


@scenario(
    "network-delay",
    "everything between workers and broker comes 200 ms late for 20 s, in each direction",
    runs=3,
    ground="proxied",
)
async def network_delay(world: World) -> None:
    await world.flow("ingest", "meter")
    proxy = world.ground.broken
    proxy.delay(0.2)
    world.fault()
    try:
        await world.load(20.0, 20.0)
    finally:
        proxy.delay(0.0)
    await world.recovered(time.monotonic())


@scenario(
    "acks-lost",
    "requests are done and their answers lost: 0.5 to 2 s, eight times a run",
    runs=4,
    ground="proxied",
)
async def acks_lost(world: World) -> None:
    await world.flow("ingest", "meter")
    proxy = world.ground.broken
    for _ in range(8):
        await world.load(1.0, 3.0)
        proxy.deafen()
        world.fault()
        try:
            await world.load(0.5, 2.0)
        finally:
            proxy.hear()
    await world.recovered(time.monotonic())


@scenario(
    "packet-loss",
    "5 % of all packets are lost for 30 s (netem)",
    runs=3,
    needs=apart.why_no_loss,
)
async def packet_loss(world: World) -> None:
    await world.flow("ingest", "meter")
    apart.lose_packets()
    world.fault()
    try:
        await world.load(30.0, 30.0)
    finally:
        apart.lose_none()
    await world.recovered(time.monotonic())
