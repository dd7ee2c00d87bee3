"""A broker in memory: logs, the producer's promises and the failures that they allow."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from random import Random
from typing import Any, NamedTuple

import orjson
from aiokafka.errors import KafkaTimeoutError

from tests.sim.stage import STAGE

Place = tuple[str, int]  # topic, partition


class Record(NamedTuple):
    """A record as a consumer gets it."""

    partition: int
    offset: int
    key: bytes | None
    value: Any
    headers: Any = ()


@dataclass
class Broker:
    """Logs by topic and partition; `start` is the first offset that retention has left."""

    random: Random
    logs: defaultdict[Place, list[Record]] = field(default_factory=lambda: defaultdict(list))
    start: defaultdict[Place, int] = field(default_factory=lambda: defaultdict(int))
    fault_rate: float = 0.0  # share of sends and reads that fail while faults are on

    def append(self, place: Place, key: bytes | None, value: Any, headers: Any = ()) -> None:
        log = self.logs[place]
        offset = log[-1].offset + 1 if log else 0
        log.append(Record(place[1], offset, key, value, headers))

    def skip(self, place: Place) -> None:
        """An offset that no record has: compaction, or a transaction's marker."""
        log = self.logs[place]
        at = log[-1].offset + 1 if log else 0
        log.append(Record(place[1], at, None, _HOLE))

    def records(self, place: Place) -> list[Record]:
        """What a consumer can read."""
        start = self.start[place]
        return [r for r in self.logs[place] if r.value is not _HOLE and r.offset >= start]

    def everything(self, place: Place) -> list[Record]:
        """All that was ever written, what retention removed included."""
        return [r for r in self.logs[place] if r.value is not _HOLE]

    def end(self, place: Place) -> int:
        log = self.logs[place]
        return log[-1].offset + 1 if log else 0

    def saved_offset(self, partition: int) -> int:
        """The highest source offset that any cut in the journal covers."""
        journal = self.logs[STAGE.journal_topic, partition]
        cuts = [
            r.value
            for r in journal
            if r.key and r.key.count(b"/") == 1 and isinstance(r.value, bytes)
        ]
        return max((orjson.loads(v[: v.index(b"\n")])["offset"] for v in cuts), default=-1)

    def compact(self, place: Place) -> None:
        """Keep the last record of each key; a tombstone and what it deleted go."""
        last = {record.key: record.offset for record in self.logs[place]}
        self.logs[place] = [
            record._replace(value=_HOLE)
            if last[record.key] != record.offset or record.value is None
            else record
            for record in self.logs[place]
        ]

    def fails(self) -> bool:
        return self.random.random() < self.fault_rate


_HOLE = object()


class Gate:
    """One process's life: frozen, it goes on later; dead, never."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.dead = False
        self._open = asyncio.Event()
        self._open.set()

    @property
    def frozen(self) -> bool:
        return not self._open.is_set()

    def freeze(self) -> None:
        self._open.clear()

    def thaw(self) -> None:
        self._open.set()

    async def wait(self, longest_s: float = 0.02) -> None:
        """An await at which anything may happen meanwhile."""
        await asyncio.sleep(self.random.random() * longest_s)
        await self.alive()

    async def alive(self) -> None:
        while not self._open.is_set():
            await self._open.wait()
        if self.dead:
            await asyncio.get_running_loop().create_future()  # for ever


class Producer:
    """acks=all and idempotent: in order within a partition, once, or an error that may be wrong."""

    def __init__(self, broker: Broker, gate: Gate) -> None:
        self._broker, self._gate = broker, gate
        self._last: dict[Place, asyncio.Task[None] | None] = defaultdict(lambda: None)
        self._answers: list[asyncio.Task[None]] = []

    async def send(
        self,
        topic: str,
        value: Any,
        key: bytes | None = None,
        partition: int = 0,
        headers: Any = (),
    ) -> "asyncio.Future[None]":
        await self._gate.wait(0.002)
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        place = (topic, partition)
        delivery = self._deliver(place, key, value, headers, done, self._last[place])
        self._last[place] = asyncio.get_running_loop().create_task(delivery)
        return done

    async def _deliver(
        self,
        place: Place,
        key: bytes | None,
        value: Any,
        headers: Any,
        done: "asyncio.Future[None]",
        before: "asyncio.Task[None] | None",
    ) -> None:
        if before is not None:
            await before
        # What has left the process arrives, whatever becomes of the process.
        sent = self._broker.random.random() < 0.5
        if not sent:
            await self._gate.wait()
        await asyncio.sleep(self._broker.random.random() * 0.02)
        failed = self._broker.fails()
        if not failed or self._broker.random.random() < 0.5:
            self._broker.append(place, key, value, headers)
        self._answers.append(asyncio.get_running_loop().create_task(self._answer(done, failed)))

    async def _answer(self, done: "asyncio.Future[None]", failed: bool) -> None:
        await self._gate.wait()
        if done.done():
            return
        if failed:
            done.set_exception(KafkaTimeoutError())
            done.exception()  # seen, even if nobody awaits it any more
        else:
            done.set_result(None)


def reader(broker: Broker, gate: Gate) -> Any:
    """streams.client.read_all over the broker's logs."""

    async def read(_: Any, topic: str, partitions: set[int]) -> AsyncIterator[Record]:
        for partition in sorted(partitions):
            await gate.wait()
            if broker.fails():
                raise KafkaTimeoutError
            for record in broker.records((topic, partition)):
                yield record

    return read
