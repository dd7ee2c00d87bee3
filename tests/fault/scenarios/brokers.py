"""The only broker: kill -9 and restart, and SIGSTOP."""

import asyncio
import os
import signal
import time

from tests.fault.scenario import scenario
from tests.fault.world import World


@scenario(
    "broker-kill",
    "kill -9 of the broker under load, twice a run; it starts again 1 to 5 s later",
    runs=10,
    quick=True,
)
async def broker_kill(world: World) -> None:
    broker = world.ground.broken
    await world.flow("ingest", "meter")
    for _ in range(2):
        await world.load(1.0, 4.0)
        await asyncio.to_thread(broker.kill)
        world.fault()
        await world.load(1.0, 5.0)
        await asyncio.to_thread(broker.start)
        await world.recovered(time.monotonic())


@scenario(
    "broker-stop",
    "SIGSTOP of the broker for 5 to 50 s, twice a run: longer than sessions and requests last",
    runs=6,
)
async def broker_stop(world: World) -> None:
    await world.flow("ingest", "meter")
    for low_s, high_s in ((5.0, 12.0), (15.0, 50.0)):
        await world.load(1.0, 4.0)
        pid = world.ground.broken.status().pid
        os.kill(pid, signal.SIGSTOP)
        world.fault()
        try:
            await world.load(low_s, high_s)
        finally:
            os.kill(pid, signal.SIGCONT)
        await world.recovered(time.monotonic())
