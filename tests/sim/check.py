"""What must hold after a schedule, recomputed from the source log alone."""

import asyncio
from collections import defaultdict
from typing import Any

from tests.sim.loop import StuckError, VirtualLoop
from tests.sim.process import DEAD, Process
from tests.sim.stage import BAD
from tests.sim.world import OUTPUT, SOURCE, World


def violations(seed: int, process: Any = Process) -> list[str]:
    """Run the schedule of this seed; what it broke, nothing if it kept every promise."""
    loop = VirtualLoop()
    loop.set_exception_handler(lambda *_: None)  # what a worker died of is in its task
    try:
        return loop.run_until_complete(_run(seed, process))
    except StuckError:
        return ["nothing can go on"]
    except Exception as error:
        return [f"a worker died: {error!r}"]
    finally:
        loop.run_until_complete(_put_away())
        loop.close()


async def _put_away() -> None:
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)


async def _run(seed: int, process: Any) -> list[str]:
    world = World(seed, process)
    await world.run()
    found = [f"acknowledged before it was saved: {a}" for p in world.all for a in p.early_acks]
    if not world.finished:
        return [*found, "the log was never read to its end"]
    cuts = await world.saved()
    outputs: defaultdict[int, list[Any]] = defaultdict(list)
    for record in world.broker.logs[OUTPUT, 0]:
        partition, first, last = map(int, (record.key or b"").split(b"/"))
        outputs[partition].append((range(first, last + 1), record.value))
    for tp in world.tps:
        alarmed = any(tp.partition in process.alarms for process in world.all)
        of = tp.partition
        found += _partition(world, of, cuts[of], outputs[of], alarmed)
    return found


def _partition(world: World, partition: int, cut: Any, outputs: Any, alarmed: bool) -> list[str]:
    place = (SOURCE, partition)
    log = {r.offset: r.value for r in world.broker.everything(place)}
    removed = world.broker.start[place]
    sound = {o: rows for o, rows in log.items() if all(amount not in BAD for _, amount in rows)}
    applied = {offset for offset, _, _ in cut.state.rows}
    lost = {o for o in log if o < removed and not (o in applied or _said(outputs, o))}
    lost |= {o for o in sound if o < removed and o not in applied}
    found = []
    wanted = [(o, *row) for o, rows in sound.items() if o not in lost for row in rows]
    if cut.state.rows != wanted:
        found.append(f"partition {partition}: state {cut.state.rows}, should be {wanted}")
    if not len(lost) <= cut.counts.lost_messages <= removed:
        found.append(f"{len(lost)} messages lost, {cut.counts.lost_messages} reported")
    if not cut.counts.lost_messages:
        rows = sum(map(len, log.values()))
        dead = sum(len(log[o]) for o in log if o not in sound)
        if (cut.counts.consumed, cut.counts.dead_lettered) != (rows, dead):
            found.append(f"partition {partition}: {cut.counts}, should be {rows} rows, {dead} dead")
    if not alarmed:
        # An owner that reported a loss has sent outputs without what it missed. The late cut of an
        # earlier owner, who had read it, may yet win: then the state is whole and they are not.
        found += _outputs(partition, log, sound, outputs)
    return found


def _said(outputs: Any, offset: int) -> bool:
    return any(offset in offsets for offsets, _ in outputs)


def _outputs(partition: int, log: Any, sound: Any, outputs: Any) -> list[str]:
    """Each says the totals after its last message of the keys in all of its; none is unsaid."""
    totals: defaultdict[int, int] = defaultdict(int)
    after: dict[int, dict[int, int]] = {}
    for offset, rows in sound.items():
        for key, amount in rows:
            totals[key] += amount
        after[offset] = dict(totals)
    found = [f"no output of {partition}/{o}" for o in log if not _said(outputs, o)]
    for offsets, value in outputs:
        expected: Any = DEAD
        if offsets[-1] in sound:
            keys = {key for offset in offsets for key, _ in sound[offset]}
            expected = {key: after[offsets[-1]][key] for key in keys}
        if value != expected or (value == DEAD and len(offsets) > 1):
            found.append(f"output of {partition}/{offsets} is {value}, should be {expected}")
    return found
