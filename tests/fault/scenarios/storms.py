"""Rebalance storms: workers or bridges come and go every 5 s for 3 minutes."""

import signal
import time

from tests.fault.scenario import scenario
from tests.fault.world import World

STORM_S = 180.0
EVERY_S = 5.0


@scenario("worker-storm", "a worker added or removed every 5 s for 3 minutes", runs=3)
async def worker_storm(world: World) -> None:
    await world.flow("ingest", "meter")
    await _storm(world, "meter2", STORM_S)


@scenario("bridge-storm", "a bridge added or removed every 5 s for 3 minutes", runs=2)
async def bridge_storm(world: World) -> None:
    await world.flow("ingest", "meter")
    await _storm(world, "ingest2", STORM_S)


@scenario("short-storm", "a worker and a bridge added or removed every 5 s for 25 s", runs=2)
async def short_storm(world: World) -> None:
    await world.flow("ingest", "meter")
    await _storm(world, "meter2", 25.0, "ingest2")


async def _storm(world: World, guest: str, for_s: float, other: str | None = None) -> None:
    """One stays, the guest joins and leaves, cleanly or by kill -9; where two, in turn."""
    until_s = time.monotonic() + for_s
    guests = [guest] if other is None else [guest, other]
    turn = 0
    while time.monotonic() < until_s:
        name = guests[turn // 2 % len(guests)]
        worker = world.workers.by_name.get(name)
        if worker is None or worker.has_ended:
            world.workers.start(name)
        elif world.random.random() < 0.5:
            worker.kill()
        else:
            worker.kept = False
            worker.signal(signal.SIGTERM)
        world.fault()
        turn += 1
        await world.load(EVERY_S, EVERY_S)
    await world.recovered(time.monotonic())
