"""Clocks that are wrong: worker and bridge ten minutes off, one ahead, one behind (libfaketime)."""

from pathlib import Path

from tests.fault.scenario import PROCESS_LIMIT_S, scenario
from tests.fault.scenarios.kills import killed
from tests.fault.world import World

_LIBRARIES = ("/usr/lib/*/faketime/libfaketimeMT.so.1", "/usr/lib*/faketime/libfaketimeMT.so.1")


def _library() -> str:
    root = Path("/")
    found = [str(p) for pattern in _LIBRARIES for p in root.glob(pattern.lstrip("/"))]
    return found[0] if found else ""


def _needs() -> str:
    return "" if _library() else "no libfaketime here (Debian: apt-get install libfaketime)"


@scenario(
    "clocks",
    "clocks 10 minutes off, ahead in the worker and behind in the bridge or the reverse; both are "
    "killed once",
    runs=4,
    limit_s=PROCESS_LIMIT_S,
    needs=_needs,
)
async def clocks(world: World) -> None:
    offsets = ["+10m", "-10m"]
    world.random.shuffle(offsets)
    for name, offset in zip(("ingest", "meter"), offsets, strict=True):
        world.workers.start(
            name, LD_PRELOAD=_library(), FAKETIME=offset, FAKETIME_DONT_FAKE_MONOTONIC="1"
        )
        world.fault()
    await world.flow()
    await world.load(2.0, 4.0)
    await killed(world, "meter", "usage")
    await world.load(2.0, 4.0)
    await killed(world, "ingest", "readings")
