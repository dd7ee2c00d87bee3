"""Bad input: duplicates, disorder, late and malformed rows, while the worker is killed."""

from tests.fault.feed import MALFORMED, Mix
from tests.fault.scenario import PROCESS_LIMIT_S, scenario
from tests.fault.scenarios.kills import killed
from tests.fault.world import FaultError, World


@scenario(
    "disorder",
    "10 % duplicates, 20 % shuffled, 5 % late by 30 to 90 minutes; kill -9 of the worker",
    runs=5,
    mix=Mix(duplicates=0.1, shuffled=0.2, late=0.05),
    limit_s=PROCESS_LIMIT_S,
)
async def disorder(world: World) -> None:
    await _with_kill(world)


@scenario(
    "malformed",
    "1 % malformed rows of twelve kinds among duplicates and disorder; kill -9 of the bridge",
    runs=5,
    quick=True,
    mix=Mix(duplicates=0.1, shuffled=0.2, late=0.05, malformed=0.01),
    limit_s=PROCESS_LIMIT_S,
)
async def malformed(world: World) -> None:
    await _with_kill(world, "ingest", "readings")
    await world.load(2.0, 3.0)
    letters = (await world.verify())["reasons"]
    if letters != len(MALFORMED):
        raise FaultError(f"{letters} kinds of malformed rows were sent, not {len(MALFORMED)}")


async def _with_kill(world: World, victim: str = "meter", output: str = "usage") -> None:
    await world.flow("ingest", "meter")
    world.fault()  # the mix itself
    await world.load(3.0, 6.0)
    await killed(world, victim, output)
    await world.load(3.0, 6.0)
