"""A process that was away for longer than its session and comes back: late writes must not count.

The verdict reads the journal and `readings` in log order; late writes are told on standard error.
"""

import signal
import time

from tests.fault.scenario import SESSION_S, scenario
from tests.fault.world import World


@scenario(
    "worker-zombie",
    "SIGSTOP of one of two workers past its session, then SIGCONT, twice a run",
    runs=10,
    quick=True,
)
async def worker_zombie(world: World) -> None:
    await world.flow("ingest", "meter", "meter2")
    for victim in ("meter", "meter2"):
        await _away(world, victim, "usage")


@scenario(
    "bridge-zombie",
    "SIGSTOP of one of two bridges past its session, then SIGCONT, twice a run",
    runs=10,
)
async def bridge_zombie(world: World) -> None:
    await world.flow("ingest", "ingest2", "meter")
    for victim in ("ingest", "ingest2"):
        await _away(world, victim, "readings")


async def _away(world: World, victim: str, output: str) -> None:
    """Stopped until the other has taken over and gone on; then it wakes up with its old state."""
    await world.load(2.0, 5.0)
    worker = world.workers.by_name[victim]
    worker.signal(signal.SIGSTOP)
    stopped_s = time.monotonic()
    world.fault()
    try:
        await world.load(SESSION_S + 1.0, SESSION_S + 5.0)
        await world.recovered(stopped_s, output, counted=False)
    finally:
        worker.signal(signal.SIGCONT)
    await world.recovered(time.monotonic(), output)
    await world.load(3.0, 6.0)
