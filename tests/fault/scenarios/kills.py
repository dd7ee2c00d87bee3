"""kill -9: of a worker, of one of two, of the bridge, of all at once."""

import time

from tests.fault.scenario import PROCESS_LIMIT_S, scenario
from tests.fault.world import World

_LOAD_S = (1.0, 4.0)


@scenario(
    "worker-kill",
    "kill -9 of the worker, twice a run, at random points",
    runs=15,
    quick=True,
    limit_s=PROCESS_LIMIT_S,
)
async def worker_kill(world: World) -> None:
    await world.flow("ingest", "meter")
    for _ in range(2):
        await world.load(*_LOAD_S)
        await killed(world, "meter", output="usage")


@scenario(
    "one-of-two-kill",
    "kill -9 of one of two workers; the other takes its partitions over",
    runs=12,
    limit_s=PROCESS_LIMIT_S,
)
async def one_of_two_kill(world: World) -> None:
    await world.flow("ingest", "meter", "meter2")
    for victim in world.random.sample(("meter", "meter2"), 2):
        await world.load(*_LOAD_S)
        killed_s = world.workers.by_name[victim].kill()
        world.fault()
        await world.recovered(killed_s)
        joined_s = time.monotonic()
        world.workers.by_name[victim].start()
        await world.load(3.0, 5.0)
        await world.recovered(joined_s, counted=False)


@scenario(
    "bridge-kill",
    "kill -9 of the bridge, twice a run",
    runs=15,
    limit_s=PROCESS_LIMIT_S,
)
async def bridge_kill(world: World) -> None:
    await world.flow("ingest", "meter")
    for _ in range(2):
        await world.load(*_LOAD_S)
        await killed(world, "ingest", output="readings")


@scenario("all-kill", "kill -9 of bridge and worker at once, twice a run", runs=10)
async def all_kill(world: World) -> None:
    await world.flow("ingest", "meter")
    for _ in range(2):
        await world.load(*_LOAD_S)
        killed_s = max(world.workers.by_name[name].kill() for name in ("ingest", "meter"))
        world.fault(2)
        for name in ("ingest", "meter"):
            world.workers.by_name[name].start()
        await world.recovered(killed_s)


async def killed(world: World, name: str, output: str) -> None:
    """Kill it, start it again at once, wait for its first new rows."""
    killed_s = world.workers.by_name[name].kill()
    world.fault()
    world.workers.by_name[name].start()
    await world.recovered(killed_s, output)
