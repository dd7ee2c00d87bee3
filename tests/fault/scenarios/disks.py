"""A full disk at the broker: it stops; once there is room it starts again."""

import asyncio
import time

from tests.fault import apart
from tests.fault.scenario import scenario
from tests.fault.world import FaultError, World

_FULL_S = 90.0


@scenario(
    "disk-full",
    "the broker's disk (a small tmpfs) runs full and it stops; it starts again once there is room",
    runs=3,
    ground="small-disk",
    needs=apart.why_no_mount,
)
async def disk_full(world: World) -> None:
    disk = world.ground.broken
    await world.flow("ingest", "meter")
    await world.load(1.0, 3.0)
    disk.fill()
    world.fault()
    full_s = time.monotonic()
    while disk.broker.status().running:
        if time.monotonic() - full_s > _FULL_S:
            raise FaultError(f"the broker did not stop within {_FULL_S:.0f} s on a full disk")
        await asyncio.sleep(0.2)
    await world.load(1.0, 4.0)
    disk.free()
    await asyncio.to_thread(disk.broker.restart)
    await world.recovered(time.monotonic())
