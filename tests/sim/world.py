"""One schedule: a group of workers, a log, chaos for a while, then peace until all is saved."""

import asyncio
from random import Random
from typing import Any

from faust.types import TP

from schemas import READINGS, USAGE
from schemas.codec import REGISTRY_OFFSET
from streams.journal import Cut, Journal
from tests.sim.broker import Broker, Gate, reader
from tests.sim.process import PART_ROWS, SETTINGS, Process
from tests.sim.stage import POISON, STAGE, UNREADABLE

SOURCE = SETTINGS.topic(READINGS.name)
OUTPUT = SETTINGS.topic(USAGE.name)
JOURNAL = SETTINGS.topic(STAGE.journal_topic)
_SESSION_S = 0.4
_PEACE_S = 120.0


class World:
    """Everything of one schedule; `run` returns once every message is saved."""

    def __init__(self, seed: int, process: Any = Process) -> None:
        self.random = Random(seed)
        self.broker = Broker(self.random)
        self._new_process = process
        self.tps = [TP(SOURCE, p) for p in range(self.random.randint(1, 2))]
        self.generation = 0
        self.committed: dict[TP, int] = {}
        self.members: list[Process] = []
        self.all: list[Process] = []
        self.misdelivery = 0.0
        self.finished = False
        self._tasks: list[asyncio.Task[None]] = []
        self._group = asyncio.Lock()
        self._write_source()

    def _write_source(self) -> None:
        for tp in self.tps:
            for _ in range(self.random.randint(6, 14)):
                if self.random.random() < 0.05:
                    self.broker.skip((SOURCE, tp.partition))
                size = self.random.randint(1, 4)
                rows = [(self.random.randint(0, 2), self.random.randint(1, 9)) for _ in range(size)]
                if self.random.random() < 0.08:
                    rows.append((0, self.random.choice((POISON, UNREADABLE))))
                stamp = b"1" if self.random.random() < 0.2 else b"0"
                place = (SOURCE, tp.partition)
                self.broker.append(place, None, rows, [(REGISTRY_OFFSET, stamp)])

    def _spawn(self, work: Any) -> None:
        self._tasks.append(asyncio.get_running_loop().create_task(work))

    # -- the group --

    def start_process(self) -> None:
        process = self._new_process(self.broker, self.random, self.misdelivery)
        self.all.append(process)
        self.members.append(process)
        for work in (process.deliver(), process.save_due(), self._commits(process)):
            self._spawn(work)
        self._spawn(self._rebalance())

    def _alive(self) -> list[Process]:
        return [p for p in self.all if not p.gate.dead]

    async def _rebalance(self) -> None:
        """All who answer give up what they had; then each gets its share."""
        async with self._group:
            self.generation += 1
            generation = self.generation
            for member in self.members:
                if not member.gate.frozen:
                    member.rebalancing = True
            await asyncio.sleep(self.random.random() * 0.05)
            shares: dict[int, set[TP]] = {i: set() for i in range(len(self.members))}
            for number, tp in enumerate(self.tps):
                if shares:
                    shares[(number + generation) % len(shares)].add(tp)
            for place, member in enumerate(self.members):
                self._spawn(member.assign(generation, shares[place], dict(self.committed)))

    async def _expel(self, process: Process, after_s: float) -> None:
        await asyncio.sleep(after_s)
        if process in self.members and (process.gate.frozen or process.gate.dead):
            self.members.remove(process)
            await self._rebalance()

    async def _commits(self, process: Process) -> None:
        while True:
            await asyncio.sleep(0.1 + 0.05 * self.random.random())
            await process.gate.alive()
            if process in self.members and process.consumer_generation_id == self.generation:
                self.committed |= process.commits()

    # -- chaos --

    async def chaos(self) -> None:
        """Faults at random moments, for a random while."""
        self.broker.fault_rate = self.random.choice((0.0, 0.0, 0.05))
        self.misdelivery = self.random.choice((0.0, 0.05, 0.15))
        self.start_process()
        for _ in range(self.random.randint(1, 5)):
            await asyncio.sleep(self.random.random() * 0.6)
            faults = (self._kill, self._kill, self._freeze, self._freeze, self._join, self._leave)
            faults += (self._compact, self._retain)
            await self.random.choice(faults)()

    def _victim(self) -> Process | None:
        alive = [p for p in self._alive() if not p.gate.frozen]
        return self.random.choice(alive) if alive else None

    async def _kill(self) -> None:
        if victim := self._victim():
            victim.gate.dead = True
            self._spawn(self._expel(victim, _SESSION_S))
            if self.random.random() < 0.8:
                await asyncio.sleep(self.random.random() * 0.3)
                self.start_process()

    async def _freeze(self) -> None:
        if victim := self._victim():
            victim.gate.freeze()
            self._spawn(self._expel(victim, _SESSION_S))
            self._spawn(self._thaw(victim, self.random.random() * 2 * _SESSION_S))
            if self.random.random() < 0.5:
                self.start_process()

    async def _thaw(self, process: Process, after_s: float) -> None:
        """It goes on as if nothing had been; later it learns that it was expelled."""
        await asyncio.sleep(after_s)
        process.gate.thaw()
        await asyncio.sleep(self.random.random() * 0.3)
        if process not in self.members and not process.gate.dead:
            self.members.append(process)
            await self._rebalance()

    async def _join(self) -> None:
        self.start_process()

    async def _leave(self) -> None:
        if victim := self._victim():
            await victim.runner.save_all()
            victim.gate.dead = True
            if victim in self.members:
                self.members.remove(victim)
            self._spawn(self._rebalance())

    async def _compact(self) -> None:
        for tp in self.tps:
            self.broker.compact((JOURNAL, tp.partition))

    async def _retain(self) -> None:
        """Now and then retention removes what may not have been read."""
        if self.random.random() < 0.15:
            place = (SOURCE, self.random.choice(self.tps).partition)
            first = self.random.randint(1, self.broker.end(place) - 1)
            self.broker.start[place] = max(first, self.broker.start[place])

    # -- peace --

    async def run(self) -> None:
        await self.chaos()
        self.broker.fault_rate = self.misdelivery = 0.0
        for process in self.all:
            process.misdelivery = 0.0
        self.start_process()
        ends = {tp.partition: self._last(tp) for tp in self.tps}
        deadline_s = asyncio.get_running_loop().time() + _PEACE_S
        # Polls in which all was saved; a late write of an earlier owner may undo the first.
        calm = 0
        while calm < 3 and asyncio.get_running_loop().time() < deadline_s:
            await asyncio.sleep(0.5)
            cuts = await self.saved()
            all_saved = all(cuts[partition].offset >= last for partition, last in ends.items())
            calm = calm + 1 if all_saved else 0
        self.finished = calm == 3
        for task in self._tasks:
            if task.done():
                task.result()  # raises what a worker died of
            task.cancel()

    async def saved(self) -> dict[int, Cut]:
        """The cut that a new owner of each partition would load."""
        producer: Any = None
        read = reader(self.broker, Gate(Random(0)))
        journal = Journal(SETTINGS, STAGE, producer, read, PART_ROWS)
        return await journal.load({tp.partition for tp in self.tps}, 0)

    def _last(self, tp: TP) -> int:
        return self.broker.records((SOURCE, tp.partition))[-1].offset
