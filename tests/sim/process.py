"""One simulated worker process: the real StageRunner and Journal, everything around them faked."""

import asyncio
from collections import defaultdict, deque
from random import Random
from types import SimpleNamespace
from typing import Any

from faust.types import TP

from schemas import USAGE
from streams.agent import Emit
from streams.counts import Counts
from streams.emit import Record as Output
from streams.gather import Message
from streams.journal import Journal
from streams.runs import RUN_BYTES, RUN_ROW_BYTES, runs_of
from streams.runtime import StageRunner
from streams.settings import Settings
from tests.sim.broker import Broker, Gate, Producer, reader
from tests.sim.stage import STAGE, UNREADABLE, step

SETTINGS = Settings(brokers="sim", save_ms=50, save_messages=3, log_level="critical")
PART_ROWS = 6
DEAD = "dead"  # the output of a message whose step failed


class SimRunner(StageRunner):
    """The runner, without Arrow: a message's value is its rows."""

    async def _decode(self, tp: TP, message: Message) -> Any:
        await self.app.gate.wait(0.002)
        return _batch(tp, [message]), (DEAD if _unreadable(message) else None)

    async def _joined(self, tp: TP, group: list[Message]) -> Any:
        await self.app.gate.wait(0.002)
        stamps = {message.registry_offset for message in group}
        assert len(stamps) == 1, "messages of several registry offsets in one batch"
        return None if any(map(_unreadable, group)) else _batch(tp, group)

    def _step(self, batch: Any, cut: Any) -> Any:
        changed, rows = step(cut.state, batch.given), len(batch.given)
        emit = Emit([SimpleNamespace(rows=changed)], accepted=rows)  # type: ignore[list-item]
        return emit, Counts(consumed=rows, accepted=rows)

    def _records(self, batch: Any, emit: Emit) -> list[Output]:
        return [Output(USAGE.name, 0, batch.key, output.rows, []) for output in emit.outputs]

    def _dead(self, *_: Any) -> Any:
        return DEAD

    def _measure(self, *_: Any) -> None:
        pass

    def _count_lost(self, tp: TP, work: Any, first: int) -> None:
        super()._count_lost(tp, work, first)
        self.app.alarms.add(tp.partition)

    def _saved(self, tp: TP, work: Any, size: int, took_s: float) -> None:
        work.saved_offset, work.borrowed = work.cut.offset, False


def _unreadable(message: Message) -> bool:
    return any(amount == UNREADABLE for _, amount in message.record.value)


def _batch(tp: TP, group: list[Message]) -> Any:
    """What the runner asks of a Batch; its output names the first and the last message."""
    given = [(message.offset, *row) for message in group for row in message.record.value]
    key = f"{tp.partition}/{group[0].offset}/{group[-1].offset}".encode()
    return SimpleNamespace(rows=SimpleNamespace(num_rows=len(given)), key=key, given=given)


class Consumer:
    """What the runner asks of Faust's consumer."""

    def __init__(self, process: "Process") -> None:
        self._process = process
        self.holes: defaultdict[TP, set[tuple[int, int]]] = defaultdict(set)

    async def seek(self, tp: TP, offset: int) -> None:
        await self._process.gate.wait(0.002)
        self._process.jump(tp, offset)

    async def restart(self, tp: TP, offset: int) -> None:
        await self._process.gate.wait(0.002)
        self._process.jump(tp, offset, restart=True)

    async def earliest_offsets(self, tp: TP) -> dict[TP, int]:
        await self._process.gate.wait(0.002)
        return {tp: self._process.broker.start[tp.topic, tp.partition]}


class Process:
    """A worker: fetches, delivers to the runner, commits; learns late of what the group decided."""

    runner_type = SimRunner

    def __init__(self, broker: Broker, random: Random, misdelivery: float) -> None:
        self.broker, self.random = broker, random
        self.misdelivery = misdelivery  # share of fetches from the wrong place while faults are on
        self.gate = Gate(random)
        self.consumer = Consumer(self)
        self.consumer_generation_id = -1
        self.rebalancing = False
        self.position: dict[TP, int] = {}
        self.early_acks: list[tuple[int, int]] = []  # acknowledged before they were saved
        self.alarms: set[int] = set()  # partitions of which it has reported a loss
        self._sent: dict[TP, deque[tuple[int, int]]] = {}  # first and last offset of each run
        self._acked: dict[TP, set[int]] = {}
        self._joined = -1
        producer = Producer(broker, self.gate)
        journal = Journal(SETTINGS, STAGE, producer, reader(broker, self.gate), PART_ROWS)
        registry: Any = None
        self.runner = self.runner_type(self, STAGE, SETTINGS, producer, registry, journal)  # type: ignore[arg-type]

    def jump(self, tp: TP, offset: int, restart: bool = False) -> None:
        if tp in self.position:
            self.position[tp] = offset
            sent = self._sent[tp]
            while sent and (restart or sent[-1][0] >= offset):
                sent.pop()

    async def assign(self, generation: int, tps: set[TP], committed: dict[TP, int]) -> None:
        """A new assignment, as the transport carries it out."""
        self.rebalancing = True
        self.position = {}
        self._joined = max(self._joined, generation)
        await self.gate.wait()
        if generation < self._joined:
            return  # there is a newer assignment already
        self.consumer_generation_id = generation
        self.rebalancing = False
        asked = await self.runner.load(tps)
        if generation < self._joined:
            return
        self._sent = {tp: deque() for tp in tps}
        self._acked = {tp: set() for tp in tps}
        self.consumer.holes.clear()
        self.position = {tp: asked.get(tp, committed.get(tp, 0)) for tp in tps}

    async def deliver(self) -> None:
        """The stream: one run after the other, from any partition that has one."""
        while True:
            await self.gate.alive()
            ready = [tp for tp in sorted(self.position) if self._next(tp) is not None]
            if not ready:
                await asyncio.sleep(0.04 + 0.04 * self.random.random())
                continue
            tp = self.random.choice(ready)
            generation = self.consumer_generation_id
            for run in runs_of(self._fetch(tp)):
                if generation != self._joined or self.position.get(tp) != run[0].offset:
                    break  # of another assignment, or somebody sought elsewhere
                self.position[tp] = run[-1].offset + 1
                self._sent[tp].append((run[0].offset, run[-1].offset))
                message = SimpleNamespace(tp=tp, run=run, generation_id=generation)
                ack = self._ack(tp, run[0].offset, run[-1].offset)
                await self.runner.handle(SimpleNamespace(message=message, ack=ack))
                await self.gate.wait(0.002)
            await self.gate.wait()

    def _next(self, tp: TP) -> Any:
        records = self.broker.records((tp.topic, tp.partition))
        return next((r for r in records if r.offset >= self.position[tp]), None)

    def _fetch(self, tp: TP) -> list[Any]:
        """Up to six messages; now and then from a place where nobody wanted to read."""
        if self.random.random() < self.misdelivery:
            self.position[tp] = max(0, self.position[tp] + self.random.choice((-2, -1, 1, 2)))
        records = self.broker.records((tp.topic, tp.partition))
        fetched = [r for r in records if r.offset >= self.position[tp]][: self.random.randint(1, 6)]
        if fetched and self.position[tp] < fetched[0].offset:
            self.consumer.holes[tp].add((self.position[tp], fetched[0].offset))
            self.position[tp] = fetched[0].offset
        sizes = (0, RUN_ROW_BYTES // 3, RUN_BYTES)
        return [
            SimpleNamespace(**record._asdict(), serialized_value_size=self.random.choice(sizes))
            for record in fetched
        ]

    def _ack(self, tp: TP, first: int, last: int) -> Any:
        def ack() -> None:
            if last > self.broker.saved_offset(tp.partition):
                self.early_acks.append((tp.partition, last))
            if tp in self._acked:
                self._acked[tp].add(first)

        return ack

    def commits(self) -> dict[TP, int]:
        """Partition -> the offset after the last run with none before it unacknowledged."""
        offsets = {}
        for tp, sent in self._sent.items():
            while sent and sent[0][0] in self._acked[tp]:
                offsets[tp] = sent.popleft()[1] + 1
        return offsets

    async def save_due(self) -> None:
        while True:
            await asyncio.sleep(0.04 + 0.04 * self.random.random())
            await self.gate.alive()
            await self.runner.save_due()
